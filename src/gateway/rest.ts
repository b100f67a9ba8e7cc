import type { IncomingMessage } from 'node:http'
import type { HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import type { Session } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Node } from '../index.ts'
import type { EdgeAuth } from './edge-auth.ts'
import { jsonOf, readBody } from './edge-body.ts'
import type { EdgeLimits } from './edge-constants.ts'
import { type Hosts, refusalOf } from './edge-hosts.ts'
import { queryOf } from './http.ts'
import { once } from './idempotency.ts'
import { createMetrics, type EdgeMetrics } from './metrics.ts'
import { openApi } from './openapi.ts'
import { HttpError, problem } from './problems.ts'
import { AGENT_OPERATIONS } from './rest-agents.ts'
import { CALL_OPERATIONS, wantsEvents } from './rest-calls.ts'
import { NODE_OPERATIONS } from './rest-node.ts'
import { json, type Operation, type RawRequest, unlessKnown } from './rest-operation.ts'
import type { Tracing } from './tracing.ts'

/** Everything that the edge does over REST. */
export const OPERATIONS: readonly Operation[] = [...AGENT_OPERATIONS, ...CALL_OPERATIONS, ...NODE_OPERATIONS]

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

type App = Hono<{ Bindings: HttpBindings }>
type Request = Context<{ Bindings: HttpBindings }>

/** The REST operations, behind the checks that hold for all of them. */
export function createRest(init: RestInit): App {
  const app: App = new Hono()
  const metrics = createMetrics(init.node)
  const fail = (err: unknown, context: Request): Response =>
    problem(err, { challenge: (error) => challengeOf(init, context, error), onDefect: init.onDefect })
  app.onError(fail)
  app.notFound((context) => fail(missing(context.req.method, context.req.path), context))
  guard(app, init)
  routeOpen(app, init)
  app.get('/metrics', async ({ env: { incoming } }) => {
    const session = await init.auth.authenticate(incoming)
    init.node.edges.allow(session, 'node.read', 'node:metrics')
    return new Response(await metrics.text(), { headers: { 'content-type': metrics.contentType } })
  })
  for (const each of OPERATIONS) {
    app.on(each.method.toUpperCase(), each.path.replace(/\{(\w+)\}/g, ':$1'), (context) =>
      measured({ metrics, tracing: init.tracing }, each, context.env.incoming, () =>
        answer(each, context, init, (err) => fail(err, context))
      )
    )
  }
  return app
}

/** Probes say no more than yes or no, and are asked by machines that know only an address. */
const PROBES: ReadonlySet<string> = new Set(['/healthz', '/readyz'])

/** Host and origin before anything else, and what every answer carries. */
function guard(app: App, { hosts, isTls }: RestInit): void {
  app.use(async (context, next) => {
    await next()
    const { headers } = context.res
    for (const [name, value] of SECURITY_HEADERS) if (!headers.has(name)) headers.set(name, value)
    if (isTls) headers.set('strict-transport-security', 'max-age=31536000')
  })
  app.use(async (context, next) => {
    const { incoming } = context.env
    const status = PROBES.has(context.req.path) ? undefined : refusalOf(incoming, hosts)
    if (status === 421) throw new HttpError(421, 'INVALID_ARGUMENT', 'this node is not known by that host')
    if (status === 403) throw new HttpError(403, 'FORBIDDEN', 'pages of that origin may not use this node')
    const { origin } = incoming.headers
    const isForeign = origin !== undefined && hosts.judgeOrigin(origin) === 'other'
    if (isForeign && context.req.method === 'OPTIONS')
      context.res = new Response(null, { status: 204, headers: PREFLIGHT })
    else await next()
    if (!isForeign) return
    const { headers } = context.res
    headers.set('access-control-allow-origin', origin)
    headers.set('access-control-expose-headers', 'etag, link, location, retry-after, www-authenticate')
    headers.append('vary', 'origin')
  })
}

const PREFLIGHT = {
  'access-control-allow-methods': 'GET, POST, PATCH, DELETE',
  'access-control-allow-headers':
    'accept, authorization, content-type, content-digest, dpop, idempotency-key, if-match, if-none-match, last-event-id, signature, signature-input, x-api-key',
  'access-control-max-age': '600'
}

const SECURITY_HEADERS: readonly (readonly [string, string])[] = [
  ['cache-control', 'no-store'],
  ['content-security-policy', "default-src 'none'; frame-ancestors 'none'"],
  ['cross-origin-resource-policy', 'same-origin'],
  ['referrer-policy', 'no-referrer'],
  ['x-content-type-options', 'nosniff']
]

/** How often an unauthenticated probe may make this node write to its disk. */
const READY_KEPT_MS = 1_000

/** What needs no credentials. */
function routeOpen(app: App, { node, hosts }: RestInit): void {
  const document = JSON.stringify(openApi(OPERATIONS))
  app.get('/healthz', () => json({ status: 'ok' }))
  const ready = kept(async () => {
    if (node.status().startedAt === undefined) throw new MeshError('UNREACHABLE', 'the network is not started')
    await node.edges.checkDisk()
  }, READY_KEPT_MS)
  app.get('/readyz', async () => {
    try {
      await ready()
      return json({ status: 'ok' })
    } catch {
      throw new MeshError('UNREACHABLE', 'the node is not ready')
    }
  })
  app.get('/openapi.json', () => new Response(document, { headers: { 'content-type': 'application/json' } }))
  app.get('/.well-known/oauth-protected-resource', ({ env }) =>
    json({
      resource: node.edges.oauth.resource,
      authorization_servers: node.edges.oauth.issuers,
      bearer_methods_supported: ['header'],
      dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
      tls_client_certificate_bound_access_tokens: hosts.originOf(env.incoming)?.startsWith('https:') === true
    })
  )
}

const DPOP_ALGORITHMS = ['Ed25519', 'EdDSA', 'ES256']

function kept(work: () => Promise<void>, forMs: number): () => Promise<void> {
  let last: { readonly at: number; readonly outcome: Promise<void> } | undefined
  return () => {
    if (last === undefined || performance.now() - last.at > forMs) last = { at: performance.now(), outcome: work() }
    return last.outcome
  }
}

/** RFC 9110 §11.6.1: the ways to say who one is; RFC 9728 §5.1 tells where tokens are had. */
function challengeOf({ hosts }: RestInit, { env }: Request, error: string | undefined): string {
  const origin = hosts.originOf(env.incoming)
  const metadata = origin === undefined ? '' : `, resource_metadata="${origin}/.well-known/oauth-protected-resource"`
  const wrong = error === undefined ? '' : `, error="${error}"`
  return `DPoP algs="${DPOP_ALGORITHMS.join(' ')}"${metadata}${wrong}, Bearer realm="pryx-mesh"${metadata}${wrong}`
}

const PATHS = OPERATIONS.map(({ method, path }) => ({
  method: method.toUpperCase(),
  pattern: new RegExp(`^${path.replace(/\{\w+\}/g, '[^/]+')}$`)
}))

function missing(method: string, path: string): MeshError {
  const methods = PATHS.filter(({ pattern }) => pattern.test(path)).map((each) => each.method)
  if (methods.length === 0) return new MeshError('NOT_FOUND', 'there is no such route; /openapi.json lists them')
  return new HttpError(405, 'INVALID_ARGUMENT', `that path does not take ${method}`, { allow: methods.join(', ') })
}

async function measured(
  { metrics, tracing }: { readonly metrics: EdgeMetrics; readonly tracing: Tracing | undefined },
  operation: Operation,
  incoming: IncomingMessage,
  work: () => Promise<Response>
): Promise<Response> {
  const began = performance.now()
  const over = tracing?.begin(operation, incoming)
  const response = await work()
  metrics.answered(operation.id, response.status, (performance.now() - began) / 1_000)
  over?.(response.status)
  return response
}

async function answer(
  operation: Operation,
  context: Request,
  init: RestInit,
  fail: (err: unknown) => Response
): Promise<Response> {
  try {
    const { incoming } = context.env
    const { session, bytes } = await enter(operation, context, init)
    const request = requestOf(operation, context, { session, bytes, init })
    const key = context.req.header('idempotency-key')
    if (operation.isRepeatable !== true || key === undefined || wantsEvents(incoming.headers.accept))
      return unlessKnown(await operation.run(request), context.req.header('if-none-match'))
    const { method = '', url = '' } = incoming
    return await once(
      init.node.edges.answers,
      { caller: request.caller.peer, key, method, url, body: bytes },
      // The client may be gone when it is done, and come back for the answer
      () => operation.run({ ...request, signal: init.closing }),
      fail
    )
  } catch (err) {
    return fail(err)
  }
}

interface Entered {
  readonly session: Session
  readonly bytes: Uint8Array
}

/** Who asks, before anything is read of them but what a signature covers. */
async function enter(
  { body }: Operation,
  { env: { incoming } }: Request,
  { auth, limits, closing }: RestInit
): Promise<Entered> {
  const hasBody = body !== undefined || hasContent(incoming)
  const isSigned = incoming.headers['signature-input'] !== undefined
  const early = isSigned && hasBody ? await readBody(incoming, limits) : undefined
  const session = await auth.authenticate(incoming, { signal: closing, ...(early && { body: early }) })
  if (session.caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'blocked by the owner')
  const bytes = early ?? (body === undefined ? new Uint8Array() : await readBody(incoming, limits))
  return { session, bytes }
}

function hasContent({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

function requestOf(
  { body }: Operation,
  context: Request,
  { session, bytes, init }: Entered & { readonly init: RestInit }
): RawRequest {
  const { node, closing } = init
  const { incoming, outgoing } = context.env
  const gone = new AbortController()
  const stop = (): void => gone.abort(closing.reason)
  closing.addEventListener('abort', stop, { once: true })
  if (closing.aborted) stop()
  outgoing.once('close', () => closing.removeEventListener('abort', stop))
  // As of a peer: a stream that can be taken up again waits for that, where a cancelled one ends
  const leave = (): void => gone.abort(new MeshError('CONNECTION_LOST', 'the client is gone'))
  context.req.raw.signal.addEventListener('abort', leave, { once: true })
  return {
    node,
    session,
    caller: session.caller,
    params: context.req.param(),
    query: queryOf(context),
    body: body === undefined ? undefined : jsonOf(incoming, bytes),
    incoming,
    signal: gone.signal,
    leave,
    allow: (action, resource) => node.edges.allow(session, action, resource),
    may: (action, resource) => node.edges.may(session, action, resource),
    header: (name) => context.req.header(name)
  }
}
