import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Session } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import type { EdgeAuth } from '../edge/auth.ts'
import { hasContent, jsonOf, readBody } from '../edge/body.ts'
import type { EdgeLimits } from '../edge/constants.ts'
import type { Hosts } from '../edge/hosts.ts'
import { problem } from '../edge/problems.ts'
import type { Tracing } from '../edge/tracing.ts'
import { wantsEvents } from './calls.ts'
import { once } from './idempotency.ts'
import type { EdgeMetrics } from './metrics.ts'
import type { Operation, RawRequest } from './operation.ts'
import { type Reply, unlessKnown, type WholeReply } from './reply.ts'

export interface RestInit {
  readonly node: Node
  readonly auth: EdgeAuth
  readonly hosts: Hosts
  readonly limits: EdgeLimits
  /** Aborted when the edge closes. */
  readonly closing: AbortSignal
  readonly isTls: boolean
  readonly tracing: Tracing | undefined
  readonly onDefect: ((cause: unknown) => void) | undefined
}

export interface AnsweringInit extends RestInit {
  readonly metrics: EdgeMetrics
}

/** A request on its way, and what whoever routed it has read from its URL. */
interface Exchange {
  readonly incoming: IncomingMessage
  readonly outgoing: ServerResponse
  readonly params: unknown
  readonly query: unknown
}

export interface Answering {
  /** Does what an operation says for a request whose host and origin are good. Never rejects. */
  answer(operation: Operation, exchange: Exchange): Promise<Reply>
  /** The answer for what was thrown. */
  fail(err: unknown, incoming: IncomingMessage): WholeReply
}

/** What stands between a route and its operation: who asks, the body, idempotency, and how that is counted. */
export function createAnswering(init: AnsweringInit): Answering {
  const { node, metrics, tracing, closing, hosts, onDefect } = init
  const signals = createSignals(closing)

  const fail = (err: unknown, incoming: IncomingMessage): WholeReply =>
    problem(err, { challenge: (error) => challengeOf(hosts, incoming, error), onDefect })

  const run = async (operation: Operation, exchange: Exchange): Promise<Reply> => {
    const { incoming } = exchange
    const { session, bytes } = await enter(operation, incoming, init)
    const request = requestOf(operation, exchange, { session, bytes, node, signals })
    const key = request.header('idempotency-key')
    if (operation.isRepeatable !== true || key === undefined || wantsEvents(incoming.headers.accept))
      return unlessKnown(await operation.run(request), incoming.headers['if-none-match'])
    const { method = '', url = '' } = incoming
    return await once(
      node.edges.answers,
      { caller: request.caller.peer, key, method, url, body: bytes },
      // The client may be gone when it is done, and come back for the answer
      () => operation.run({ ...request, signal: closing }),
      (err) => fail(err, incoming)
    )
  }

  return {
    fail,
    async answer(operation, exchange) {
      const began = performance.now()
      const over = tracing?.begin(operation, exchange.incoming)
      let reply: Reply
      try {
        reply = await run(operation, exchange)
      } catch (err) {
        reply = fail(err, exchange.incoming)
      }
      metrics.answered(operation.id, reply.status, (performance.now() - began) / 1_000)
      over?.(reply.status)
      return reply
    }
  }
}

interface Entered {
  readonly session: Session
  readonly bytes: Uint8Array
}

const NOTHING = new Uint8Array()

/** Who asks, before anything is read of them but what a signature covers. */
async function enter(
  { body }: Operation,
  incoming: IncomingMessage,
  { auth, limits, closing }: RestInit
): Promise<Entered> {
  const hasBody = body !== undefined || hasContent(incoming)
  const isSigned = incoming.headers['signature-input'] !== undefined
  const early = isSigned && hasBody ? await readBody(incoming, limits) : undefined
  const session = await auth.authenticate(incoming, { signal: closing, ...(early && { body: early }) })
  if (session.caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'blocked by the owner')
  const bytes = early ?? (body === undefined ? NOTHING : await readBody(incoming, limits))
  return { session, bytes }
}

function requestOf(
  { body }: Operation,
  { incoming, outgoing, params, query }: Exchange,
  { session, bytes, node, signals }: Entered & { readonly node: Node; readonly signals: Signals }
): RawRequest {
  const { gone, done } = signals.open()
  // As of a peer: a stream that can be taken up again waits for that, where a cancelled one ends
  const leave = (): void => gone.abort(new MeshError('CONNECTION_LOST', 'the client is gone'))
  const close = (): void => {
    done()
    if (!outgoing.writableFinished) leave()
  }
  // It may have gone while its credentials were checked
  if (outgoing.closed) close()
  else outgoing.once('close', close)
  const { caller } = session
  return {
    node,
    session,
    caller,
    params,
    query,
    body: body === undefined ? undefined : jsonOf(incoming, bytes),
    incoming,
    signal: gone.signal,
    leave,
    allow: (action, resource) => node.edges.allow(session, action, resource),
    may: (action, resource) => node.edges.may(session, action, resource),
    header(name) {
      const value = incoming.headers[name]
      return Array.isArray(value) ? value.join(', ') : value
    }
  }
}

interface Signals {
  /** @returns what is aborted when the edge closes, until it is done */
  open(): { readonly gone: AbortController; readonly done: () => void }
}

/** One listener on the edge's closing for all requests: each of its own would cost more than most requests do. */
function createSignals(closing: AbortSignal): Signals {
  const open = new Set<AbortController>()
  const stop = (): void => {
    for (const each of open) each.abort(closing.reason)
  }
  closing.addEventListener('abort', stop, { once: true })
  return {
    open() {
      const gone = new AbortController()
      open.add(gone)
      if (closing.aborted) stop()
      return { gone, done: () => open.delete(gone) }
    }
  }
}

export const DPOP_ALGORITHMS = ['Ed25519', 'EdDSA', 'ES256']

/** RFC 9110 §11.6.1: the ways to say who one is; RFC 9728 §5.1 tells where tokens are had. */
function challengeOf(hosts: Hosts, incoming: IncomingMessage, error: string | undefined): string {
  const origin = hosts.originOf(incoming)
  const metadata = origin === undefined ? '' : `, resource_metadata="${origin}/.well-known/oauth-protected-resource"`
  const wrong = error === undefined ? '' : `, error="${error}"`
  return `DPoP algs="${DPOP_ALGORITHMS.join(' ')}"${metadata}${wrong}, Bearer realm="pryx-mesh"${metadata}${wrong}`
}
