import type { IncomingMessage, ServerResponse } from 'node:http'
import { getRequestListener, type HttpBindings } from '@hono/node-server'
import { type Context, Hono } from 'hono'
import { MeshError } from '../../errors.ts'
import { refusalOf } from '../edge/hosts.ts'
import { HttpError } from '../edge/problems.ts'
import { queryOf } from '../http.ts'
import { AGENT_OPERATIONS } from './agents.ts'
import { type AnsweringInit, createAnswering, DPOP_ALGORITHMS, type RestInit } from './answer.ts'
import { CALL_OPERATIONS } from './calls.ts'
import { createDirect } from './direct.ts'
import { createMetrics } from './metrics.ts'
import { NODE_OPERATIONS } from './node.ts'
import { openApi } from './openapi.ts'
import type { Operation } from './operation.ts'
import { json, toResponse } from './reply.ts'

/** Everything that the edge does over REST. */
export const OPERATIONS: readonly Operation[] = [...AGENT_OPERATIONS, ...CALL_OPERATIONS, ...NODE_OPERATIONS]

type App = Hono<{ Bindings: HttpBindings }>
type Request = Context<{ Bindings: HttpBindings }>

/** Serves the REST operations, behind the checks that hold for all of them. */
export function createRest(init: RestInit): (incoming: IncomingMessage, outgoing: ServerResponse) => void {
  const metrics = createMetrics(init.node)
  const answering = createAnswering({ ...init, metrics })
  const app: App = new Hono()
  const fail = (err: unknown, { env }: Request): Response => toResponse(answering.fail(err, env.incoming))
  const headers = init.isTls ? { ...SECURITY_HEADERS, ...HSTS } : SECURITY_HEADERS
  app.onError(fail)
  app.notFound((context) => fail(missing(context.req.method, context.req.path), context))
  guard(app, init, headers)
  routeOpen(app, { ...init, metrics })
  for (const each of OPERATIONS) {
    app.on(each.method.toUpperCase(), each.path.replace(/\{(\w+)\}/g, ':$1'), async (context) => {
      const { incoming, outgoing } = context.env
      const exchange = { incoming, outgoing, params: context.req.param(), query: queryOf(context) }
      return toResponse(await answering.answer(each, exchange))
    })
  }
  const takeDirectly = createDirect({ ...init, answering, operations: OPERATIONS, headers })
  // Else it would replace Request and Response for the whole process
  const listener = getRequestListener(app.fetch, { overrideGlobalObjects: false })
  return (incoming, outgoing) => {
    if (takeDirectly(incoming, outgoing)) return
    // It answers what it catches; what is left is a connection that is gone
    listener(incoming, outgoing).catch((err: unknown) => init.onDefect?.(err))
  }
}

/** Probes say no more than yes or no, and are asked by machines that know only an address. */
const PROBES: ReadonlySet<string> = new Set(['/healthz', '/readyz'])

/** Host and origin before anything else, and what every answer carries. */
function guard(app: App, { hosts }: RestInit, common: Readonly<Record<string, string>>): void {
  app.use(async (context, next) => {
    await next()
    const { headers } = context.res
    for (const [name, value] of Object.entries(common)) if (!headers.has(name)) headers.set(name, value)
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

const SECURITY_HEADERS = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
  'cross-origin-resource-policy': 'same-origin',
  'referrer-policy': 'no-referrer',
  'x-content-type-options': 'nosniff'
}

const HSTS = { 'strict-transport-security': 'max-age=31536000' }

/** How often an unauthenticated probe may make this node write to its disk. */
const READY_KEPT_MS = 1_000

/** What is about the edge itself: probes and documents need no credentials. */
function routeOpen(app: App, { node, hosts, auth, metrics }: AnsweringInit): void {
  const document = JSON.stringify(openApi(OPERATIONS))
  app.get('/healthz', () => toResponse(json({ status: 'ok' })))
  const ready = kept(async () => {
    if (node.status().startedAt === undefined) throw new MeshError('UNREACHABLE', 'the network is not started')
    await node.edges.checkDisk()
  }, READY_KEPT_MS)
  app.get('/readyz', async () => {
    try {
      await ready()
      return toResponse(json({ status: 'ok' }))
    } catch {
      throw new MeshError('UNREACHABLE', 'the node is not ready')
    }
  })
  app.get('/openapi.json', () => new Response(document, { headers: { 'content-type': 'application/json' } }))
  app.get('/.well-known/oauth-protected-resource', ({ env }) =>
    toResponse(
      json({
        resource: node.edges.oauth.resource,
        authorization_servers: node.edges.oauth.issuers,
        bearer_methods_supported: ['header'],
        dpop_signing_alg_values_supported: DPOP_ALGORITHMS,
        tls_client_certificate_bound_access_tokens: hosts.originOf(env.incoming)?.startsWith('https:') === true
      })
    )
  )
  app.get('/metrics', async ({ env: { incoming } }) => {
    const session = await auth.authenticate(incoming)
    node.edges.allow(session, 'node.read', 'node:metrics')
    return new Response(await metrics.text(), { headers: { 'content-type': metrics.contentType } })
  })
}

function kept(work: () => Promise<void>, forMs: number): () => Promise<void> {
  let last: { readonly at: number; readonly outcome: Promise<void> } | undefined
  return () => {
    if (last === undefined || performance.now() - last.at > forMs) last = { at: performance.now(), outcome: work() }
    return last.outcome
  }
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
