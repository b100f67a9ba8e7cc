import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { MeshError } from '../../errors.ts'
import { readTraceparent } from '../../wire/index.ts'
import { DEFAULT_CALL_TIMEOUT_MS } from '../constants.ts'
import { callBody } from '../messages.ts'
import { type Operation, operation } from './operation.ts'
import { jsonOnce } from './reply.ts'
import { sse } from './sse.ts'

const stream = z
  .strictObject({ id: z.string().regex(/^[\w-]{22}$/), after: z.int().min(0) })
  .describe(
    'makes the answer a stream that can be taken up again: 128 random bits, and how many items are there already'
  )

const call = operation({
  id: 'call',
  method: 'post',
  path: '/v1/calls',
  tag: 'calls',
  summary: 'Call a capability of an agent, of this node or of another',
  description:
    'Answers JSON; server-sent events when the capability streams, or when they are asked for (`Accept: text/event-stream`). ' +
    'Events `item` have ids, from which `Last-Event-ID` goes on after a broken connection with the same body; `end` or `error` is the last one.',
  body: callBody.omit({ wait: true }).extend({ stream: stream.optional() }),
  answers: {
    200: { description: 'The result, or its items', schema: z.looseObject({ result: z.unknown() }) }
  },
  isRepeatable: true,
  async handle({ node, session, body, signal, leave, header }) {
    const { timeoutMs = DEFAULT_CALL_TIMEOUT_MS, stream: given, ...invocation } = body
    const isStreaming = given !== undefined || wantsEvents(header('accept'))
    const wanted = isStreaming ? (given ?? resumed(header('last-event-id'))) : undefined
    const trace = readTraceparent(header('traceparent'))
    const result = await node.edges.invoke(
      session,
      { ...invocation, ...(wanted && { stream: wanted }), ...(trace !== undefined && { trace }) },
      { signal, timeoutMs }
    )
    if (isIterable(result)) return sse(result, { signal, leave, stream: wanted })
    if (isStreaming) return sse(only(result), { signal, leave })
    return jsonOnce({ result: result ?? null })
  }
})

export const CALL_OPERATIONS: readonly Operation[] = [call]

/** Whether the client rather has events than JSON. */
export function wantsEvents(accept = ''): boolean {
  return /(?:^|,) *text\/event-stream\b/i.test(accept)
}

/** Where a stream goes on: after an event whose id is `<stream id>:<n>`, else at the beginning of a new one. */
function resumed(lastEventId: string | undefined): { readonly id: string; readonly after: number } {
  if (lastEventId === undefined) return { id: randomBytes(16).toString('base64url'), after: 0 }
  const [, id, after] = /^([\w-]{22}):(\d{1,15})$/.exec(lastEventId) ?? []
  if (id === undefined) throw new MeshError('INVALID_ARGUMENT', 'Last-Event-ID is not the id of an event of this node')
  return { id, after: Number(after) }
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

async function* only(item: unknown): AsyncGenerator<unknown> {
  yield item
}
