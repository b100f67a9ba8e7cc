import { Hono } from 'hono'
import { MeshError } from '../errors.ts'
import type { CallOptions, LocalAgent, Node } from '../index.ts'
import { routeBlobs } from './blob-routes.ts'
import { routeCheck } from './check-routes.ts'
import { DEFAULT_CALL_TIMEOUT_MS } from './constants.ts'
import type { ControlInit } from './control.ts'
import { beginFind } from './finding.ts'
import { routeGrants } from './grant-routes.ts'
import { routeHealth } from './health-routes.ts'
import { type App, body, fail, queryOf, type Scope } from './http.ts'
import { routeKeys } from './key-routes.ts'
import { routeLogins } from './login-routes.ts'
import { routeMailboxes } from './mailbox-routes.ts'
import { routeMessages } from './message-routes.ts'
import {
  agentAddBody,
  agentPatchBody,
  callBody,
  connectBody,
  type EventItem,
  eventsQuery,
  explainQuery,
  findQuery,
  listQuery,
  parse
} from './messages.ts'
import { routePairing } from './pair-routes.ts'
import { routePermissions } from './permission-routes.ts'
import { routePins } from './pin-routes.ts'
import { routePolicy } from './policy-routes.ts'
import { ndjson, subscription } from './streams.ts'
import { routeTrust } from './trust-routes.ts'

/**
 * Builds the routes of the control socket; control.ts lists them.
 *
 * @param closing aborted when the control closes
 */
export function createRoutes({ node, onStop, onDefect, now = Date.now }: ControlInit, closing: AbortSignal): App {
  const app: App = new Hono()
  const scope: Scope = { node, onDefect, signalOf: ({ req }) => AbortSignal.any([req.raw.signal, closing]) }
  app.onError((err) => fail(MeshError.from(err), onDefect))
  app.notFound(({ req }) => fail(new MeshError('NOT_FOUND', `no route ${req.method} ${req.path}`)))
  app.get('/v1/status', (context) => context.json(node.status()))
  app.get('/v1/peers', (context) => context.json(node.peers()))
  app.post('/v1/connect', async (context) => {
    const { address } = parse(connectBody, await body(context))
    return context.json({ peer: await node.connect(address, { signal: scope.signalOf(context) }) })
  })
  app.post('/v1/stop', async (context) => {
    await onStop()
    return context.json({ stopped: true })
  })
  routeAgents(app, scope)
  routeFind(app, scope)
  routeCall(app, scope)
  routeCheck(app, scope)
  routeEvents(app, scope, now)
  routeKeys(app, scope)
  routeLogins(app, scope)
  routePairing(app, scope)
  routeTrust(app, scope)
  routePolicy(app, scope)
  routePermissions(app, scope)
  routeGrants(app, scope)
  routePins(app, scope)
  routeBlobs(app, scope)
  routeHealth(app, scope)
  routeMessages(app, scope)
  routeMailboxes(app, scope)
  return app
}

function routeAgents(app: App, { node, signalOf }: Scope): void {
  const { agents } = node
  const local = (target: string): LocalAgent => {
    const agent = agents.get(target)
    if (agent === undefined) throw notOurs(target)
    return agent
  }
  app.get('/v1/agents', (context) => context.json(agents.list(parse(listQuery, queryOf(context)))))
  app.post('/v1/agents', async (context) => {
    return context.json(await agents.add(parse(agentAddBody, await body(context))), 201)
  })
  app.get('/v1/agents/:target', async (context) => {
    const target = context.req.param('target')
    // A short name may be ambiguous across the mesh, so it is not looked up here first
    const own = target.startsWith('@') ? undefined : agents.get(target)
    if (own !== undefined) return context.json({ signed: own.record, local: own })
    if (!/[@/]/.test(target)) throw notOurs(target)
    const signed = await node.resolve(target, { signal: signalOf(context) })
    return context.json({ signed, local: agents.get(signed.record.id) })
  })
  app.patch('/v1/agents/:target', async (context) => {
    const { name } = local(context.req.param('target')).definition
    return context.json(await agents.update(name, parse(agentPatchBody, await body(context))))
  })
  app.delete('/v1/agents/:target', async (context) => {
    const { id, definition } = local(context.req.param('target'))
    await agents.remove(definition.name)
    return context.json({ removed: id })
  })
}

function notOurs(target: string): MeshError {
  return new MeshError('NOT_FOUND', `this node has no agent ${target}`, {
    hint: 'pryx-mesh agents list shows its agents; one of another node is called @name or <PeerId>/<name>'
  })
}

function routeFind(app: App, { node, onDefect, signalOf }: Scope): void {
  app.get('/v1/find', (context) => {
    const signal = signalOf(context)
    const query = parse(explainQuery.extend(findQuery.shape).strict(), queryOf(context))
    const { results, end } = beginFind(node, { ...query, signal })
    return ndjson(results, { signal, onDefect, end })
  })
  app.get('/v1/watch', (context) => {
    const signal = signalOf(context)
    return ndjson(node.watch({ ...parse(listQuery, queryOf(context)), signal }), { signal, onDefect })
  })
}

function routeCall(app: App, { node, onDefect, signalOf }: Scope): void {
  app.post('/v1/call', async (context) => {
    const { target, capability, input, ...rest } = parse(callBody, await body(context))
    const timeoutMs = rest.timeoutMs ?? DEFAULT_CALL_TIMEOUT_MS
    const soon = AbortSignal.any([signalOf(context), AbortSignal.timeout(timeoutMs)])
    // An owner takes longer than a call; each call has its own deadline then
    const signal = rest.wait === true ? signalOf(context) : soon
    const options = { ...rest, timeoutMs, signal }
    if (await streams(node, target, capability, { ...options, signal: soon })) {
      return ndjson(node.stream(target, capability, input, options), { signal, onDefect })
    }
    return context.json({ result: (await node.call(target, capability, input, options)) ?? null })
  })
}

/** Whether the capability says that it streams; of an agent whose record we may not see, nobody knows before its answer. */
async function streams(node: Node, target: string, capability: string, options: CallOptions): Promise<boolean> {
  const { kind, signal } = options
  try {
    const { record } = await node.resolve(target, signal && { signal })
    return record.capabilities.some(
      (each) => each.streaming && each.name === capability && (kind === undefined || kind === each.kind)
    )
  } catch (err) {
    if (err instanceof MeshError && err.code === 'NOT_FOUND') return false
    throw err
  }
}

function routeEvents(app: App, { node, onDefect, signalOf }: Scope, now: () => number): void {
  app.get('/v1/events', (context) => {
    const { types } = parse(eventsQuery, { types: context.req.queries('type') })
    const signal = signalOf(context)
    const subscribe = (put: (item: EventItem) => void) =>
      node.on('*', (detail, event) => {
        if (types === undefined || types.includes(event)) put({ event, at: new Date(now()).toISOString(), detail })
      })
    return ndjson(subscription(subscribe, signal), { signal, onDefect })
  })
}
