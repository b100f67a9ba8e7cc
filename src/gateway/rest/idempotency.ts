import { createHash } from 'node:crypto'
import { type ErrorCode, MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import { isWhole, type Reply, type WholeReply } from './reply.ts'

/** What a client sent once, and may send again. */
export interface Repeatable {
  readonly caller: string
  /** `Idempotency-Key`. */
  readonly key: string
  readonly method: string
  /** Path and query. */
  readonly url: string
  readonly body: Uint8Array
}

/** After these nothing was done, and the same request may well succeed later. */
const NOTHING_DONE: ReadonlySet<ErrorCode> = new Set([
  'INVALID_ARGUMENT',
  'INVALID_INPUT',
  'UNAUTHENTICATED',
  'FORBIDDEN',
  'PERMISSION_PENDING',
  'LIMIT_EXCEEDED',
  'DEFINITION_CHANGED',
  'NOT_FOUND',
  'AMBIGUOUS',
  'BUSY',
  'UNREACHABLE',
  'AGENT_UNAVAILABLE'
])

/**
 * Does the work once: whoever asks again with the same key gets the same answer, as it was, with `idempotency-replayed`.
 *
 * @param work must not be cut short when the client goes: it will come back for the answer
 * @param problem the answer for what the work throws
 * @throws {MeshError} INVALID_ARGUMENT for a key that isn't one, and as Answers.begin
 */
export async function once(
  answers: Node['edges']['answers'],
  request: Repeatable,
  work: () => Reply | Promise<Reply>,
  problem: (err: unknown) => WholeReply
): Promise<Reply> {
  const key = keyOf(request)
  const kept = await answers.begin(key)
  if (kept !== undefined) {
    const headers = { ...kept.headers, 'idempotency-replayed': 'true' }
    return { status: kept.status, headers, body: kept.body }
  }
  let reply: Reply
  try {
    reply = await work()
  } catch (err) {
    if (NOTHING_DONE.has(MeshError.from(err).code)) {
      await answers.forget(key)
      throw err
    }
    reply = problem(err)
  }
  // Items can't be given again
  if (!isWhole(reply)) {
    await answers.forget(key)
    return reply
  }
  const { status, headers, body } = reply
  // The work is done, whatever the disk says now; asked again, this node knows that it doesn't know
  await answers.keep(key, { status, headers, body: body ?? '' }).catch(() => {})
  return reply
}

function keyOf({ caller, key, method, url, body }: Repeatable) {
  if (!/^[\x21-\x7e]{1,128}$/.test(key))
    throw new MeshError('INVALID_ARGUMENT', 'Idempotency-Key: must be 1 to 128 printable characters without spaces')
  const digest = createHash('sha256').update(`${method} ${url}\n`).update(body).digest('base64url')
  return { caller, key, digest }
}
