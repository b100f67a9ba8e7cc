import type { Caller, Session } from '../auth/index.ts'
import type { InvokeContext } from '../drivers/index.ts'
import { MeshError } from '../errors.ts'
import type { Decision, Facts, PolicyRequest } from '../policy/index.ts'
import type { Capability, SignedRecord } from '../registry/messages.ts'
import { type Endpoint, isAsyncIterable, type RequestContext } from '../rpc/index.ts'
import { readTraceparent } from '../wire/index.ts'
import { type Admission, admitted, sizeOf } from './admission.ts'
import { noCapability, pickCapability } from './capability.ts'
import { type Checks, checkInput, checkOutput, createChecks, NO_CHECKS } from './checks.ts'
import { CALL, MAX_ROUTES } from './constants.ts'
import { tellFirst } from './first-item.ts'
import type { CallsComponents } from './index.ts'
import { type CallRequest, callRequest, type StreamRequest, streamRequest } from './messages.ts'
import type { Replay } from './replay.ts'
import type { Replays } from './replays.ts'

type ServingComponents = Pick<
  CallsComponents,
  'registry' | 'host' | 'policy' | 'permissions' | 'trust' | 'schemas' | 'emit' | 'health'
>

/** A request as policy is asked about it, with its input. */
interface Asked extends PolicyRequest {
  readonly session: Session
  readonly input: unknown
  readonly trace: string | undefined
}

/** What is the same each time a caller asks for the same: made once, good for as long as `signed` is the agent's record. */
interface Route {
  readonly agent: string
  readonly action: string
  readonly resource: string
  /** What rules may ask about the capability. */
  readonly facts: Facts
  /** The request left the kind open. */
  readonly isGuess: boolean
  /** The record it was made from; undefined when the agent had none. */
  readonly signed: SignedRecord | undefined
  /** What to invoke, or why that can't be. */
  readonly capability: Capability | MeshError
  /** A promise while its schemas are being compiled. */
  checks: Checks | Promise<Checks>
}

/** The one way in to local agents: peers, edges and the node's own calls go through it. */
export function createServing(components: ServingComponents, replays: Replays): Endpoint {
  const { registry, policy } = components
  const routeFor = createRoutes(registry)
  const refuse = createRefusal(components)
  const admit = createAdmit(components, refuse)
  const perform = createPerform(components)

  const handle = (body: unknown, context: RequestContext): unknown => {
    const route = routeFor(body, context.caller)
    const wanted = streamOf(body)
    if (wanted === undefined) return answer(route, body, context)
    const { resource } = route
    const running = replays.find(context.caller.peer, wanted)
    if (running !== undefined) return resume(route, running, body, context).attach(wanted.after, context)
    const begin = (replay: Replay): unknown => answer(route, body, replay.context, replay)
    return replays.begin(wanted, { resource, context }, begin).attach(0, context)
  }

  /** Who may not begin a call any more may not go on with it either. What limits it took it has. */
  const resume = (route: Route, running: Replay, body: unknown, context: RequestContext): Replay => {
    running.of(route.resource)
    const decision = policy.decide(askedOf(route, body, context))
    if (decision.effect === 'allow') return running
    if (isFinal(decision, context.caller) || running.use?.holds() !== true)
      return refuse(route, context.caller, decision.reason)
    return running
  }

  const answer = (route: Route, body: unknown, context: RequestContext, replay?: Replay): unknown => {
    const { caller } = context
    const request = askedOf(route, body, context)
    const decision = policy.decide(request)
    if (decision.effect === 'allow' && decision.limited === undefined) return perform(route, request, context)
    if (isFinal(decision, caller)) return refuse(route, caller, decision.reason)
    const admitting = admit(decision, route, request).then((admission) => {
      if (replay !== undefined) replay.use = admission.use
      return admission
    })
    return admitted(
      admitting,
      () => perform(route, request, context),
      () => context.cost
    )
  }

  return { protocol: CALL, handle }
}

/** Nobody is asked whether there is an exception. */
function isFinal({ effect, rules }: Decision, { trust }: Caller): boolean {
  return effect === 'deny' && (rules.length > 0 || trust === 'blocked')
}

type Refuse = (route: Route, caller: Caller, reason: string, hint?: string) => never

function createRefusal({ policy, emit }: ServingComponents): Refuse {
  /** Who names no kind and may not call must not learn from the answer that a skill or model of the name exists. */
  const hide = ({ agent, capability, isGuess }: Route, caller: Caller): MeshError | undefined => {
    if (!isGuess || capability instanceof MeshError || capability.kind === 'tool') return undefined
    const { name } = capability
    const decision = policy.judge({ caller, action: 'tool.call', resource: `tool:${agent}/${name}` })
    return decision.effect === 'allow' ? noCapability(agent, name) : new MeshError('FORBIDDEN', decision.reason)
  }
  return (route, caller, reason, hint) => {
    emit('call:denied', { peer: caller.peer, resource: route.resource, reason })
    throw hide(route, caller) ?? new MeshError('FORBIDDEN', reason, hint === undefined ? {} : { hint })
  }
}

type Admit = (decision: Decision, route: Route, request: Asked) => Promise<Admission>

/** Asks whoever policy doesn't speak for, and takes the call from the limits. @returns what is to be settled */
function createAdmit(components: ServingComponents, refuse: Refuse): Admit {
  const { policy, permissions } = components
  return async (decision, route, request) => {
    const { caller, session, input } = request
    const { agent, action, resource, capability } = route
    if (decision.effect === 'ask') targetOf(components, route, caller)
    const question = { caller, session, action, resource, agent, input }
    const use =
      decision.effect === 'allow'
        ? undefined
        : await permissions
            .permit(decision, capability instanceof MeshError ? question : { ...question, capability })
            .catch((err: unknown) => {
              if (err instanceof MeshError && err.code === 'FORBIDDEN')
                return refuse(route, caller, err.message, err.hint)
              throw err
            })
    try {
      return { use, reservation: await policy.reserve(decision, request) }
    } catch (err) {
      await use?.giveBack()
      throw err
    }
  }
}

type Perform = (route: Route, request: Asked, context: RequestContext) => unknown

function createPerform(components: ServingComponents): Perform {
  const { host, schemas, trust, health } = components
  const checksOf = createChecks(schemas)

  /** A call that came to its end speaks for its agent and its caller. */
  const noted = (agent: string, caller: Caller, entered: number, result: unknown): unknown => {
    if (result instanceof Promise) {
      return result.then(
        (value: unknown) => noted(agent, caller, entered, value),
        (err: unknown) => failed(agent, entered, err)
      )
    }
    const isStream = isAsyncIterable(result)
    if (isStream) health?.calls.opened()
    else health?.calls.served(agent, entered)
    if (caller.trust !== 'owner') trust.note(caller.peer, 'call:completed')
    if (!isStream || health === undefined) return result
    const { calls } = health
    return tellFirst(result[Symbol.asyncIterator](), (failure) => calls.answered(agent, entered, failure))
  }

  const failed = (agent: string, entered: number, err: unknown): never => {
    health?.calls.served(agent, entered, err)
    throw err
  }

  return (route, { caller, input, trace }, context) => {
    const { agent } = route
    const capability = targetOf(components, route, caller)
    const invoke = (checks: Checks): unknown => {
      const entered = health?.calls.enter() ?? 0
      let result: unknown
      try {
        result = checkOutput(checks, host.invoke(agent, capability, input, traced(context, trace)))
      } catch (err) {
        failed(agent, entered, err)
      }
      return noted(agent, caller, entered, result)
    }
    const run = (checks: Checks): unknown => {
      const pending = checkInput(checks, input)
      return pending === undefined ? invoke(checks) : pending.then(() => invoke(checks))
    }
    if (route.checks === NO_CHECKS) {
      route.checks = checksOf(capability).then((checks) => {
        route.checks = checks
        return checks
      })
    }
    return route.checks instanceof Promise ? route.checks.then(run) : run(route.checks)
  }
}

function targetOf({ host, health }: ServingComponents, { capability, agent }: Route, caller: Caller): Capability {
  const opensAt = health?.asleepUntil(agent)
  if (opensAt !== undefined) throw asleep(agent, opensAt)
  if (!(capability instanceof MeshError)) return capability
  const status = host.status(agent)
  if (status === undefined || status.state === 'up') throw capability
  // Why is the owner's business: it may quote what the agent's process printed
  const why = caller.trust === 'owner' ? `: ${status.reason ?? `it is ${status.state}`}` : ' just now'
  throw new MeshError('AGENT_UNAVAILABLE', `agent ${agent} is not running${why}`)
}

function askedOf({ action, resource, facts }: Route, body: unknown, { caller, session }: RequestContext): Asked {
  const { input = {}, trace } = body as CallRequest
  return {
    caller,
    session,
    action,
    resource,
    input,
    trace: readTraceparent(trace),
    facts: { ...facts, bytes: () => sizeOf(input) }
  }
}

/** What the agent gets: what the call has, and where it belongs. */
function traced(context: RequestContext, trace: string | undefined): InvokeContext {
  if (trace === undefined) return context
  const { caller, charge } = context
  return {
    caller,
    charge,
    trace,
    get signal() {
      return context.signal
    }
  }
}

/** Read each time: requests of one route are of many streams. */
function streamOf(body: unknown): StreamRequest | undefined {
  const { stream } = body as { stream?: unknown }
  if (stream === undefined) return undefined
  const { success, data } = streamRequest.safeParse(stream)
  if (success) return data
  throw new MeshError('INVALID_MESSAGE', 'not a call: stream is not valid', {
    hint: 'its id has 22 base64url characters, and after is the number of items that came'
  })
}

/** Finds the route of a request; kept by caller. */
function createRoutes(registry: ServingComponents['registry']): (body: unknown, caller: Caller) => Route {
  const routesOf = new WeakMap<Caller, Map<string, Route>>()
  return (body, caller) => {
    const routes = routesOf.get(caller) ?? new Map<string, Route>()
    if (routes.size === 0) routesOf.set(caller, routes)
    const key = routeKey(body)
    const known = routes.get(key)
    if (known !== undefined && known.signed === registry.record(known.agent)) return known
    const route = makeRoute(parseRequest(body), registry)
    if (routes.size >= MAX_ROUTES) routes.clear()
    routes.set(key, route)
    return route
  }
}

/** Tells requests apart that may go different ways. Whatever two requests share a key also share its route, policy and all. */
function routeKey(body: unknown): string {
  const { agent, capability, kind, version } = (body ?? {}) as Partial<Record<keyof CallRequest, unknown>>
  return `${keyPart(agent)} ${keyPart(capability)} ${keyPart(kind)} ${keyPart(version)}`
}

const keyPart = (value: unknown): string => (typeof value === 'string' ? value : value === undefined ? '' : '\n')

function parseRequest(body: unknown): CallRequest {
  const { success, data, error } = callRequest.safeParse(body)
  if (success) return data
  const at = error.issues[0]?.path.join('.') ?? ''
  throw new MeshError('INVALID_MESSAGE', `not a call: ${at === '' ? 'it has the wrong shape' : `${at} is not valid`}`, {
    hint: 'a call needs agent and capability; kind, version and input are optional'
  })
}

function makeRoute(request: CallRequest, registry: ServingComponents['registry']): Route {
  const signed = registry.record(request.agent)
  const capability = pickCapability(signed?.record.capabilities ?? [], request)
  const kind = capability instanceof MeshError ? (request.kind ?? 'tool') : capability.kind
  return {
    agent: request.agent,
    action: `${kind}.call`,
    resource: `${kind}:${request.agent}/${request.capability}`,
    facts: capability instanceof MeshError ? {} : { effects: capability.effects, tags: tagsOf(capability, signed) },
    isGuess: request.kind === undefined,
    signed,
    capability,
    checks: NO_CHECKS
  }
}

/** Of the capability and its agent. */
function tagsOf({ tags }: Capability, signed: SignedRecord | undefined): readonly string[] {
  return [...tags, ...(signed?.record.tags ?? [])]
}

function asleep(agent: string, opensAtMs: number): MeshError {
  const opensAt = new Date(opensAtMs).toISOString()
  return new MeshError('AGENT_UNAVAILABLE', `agent ${agent} is asleep until ${opensAt}`, {
    data: { opensAt },
    hint: 'call it again then, or send it a message, which waits'
  })
}
