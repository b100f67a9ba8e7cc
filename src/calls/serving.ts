import type { Caller, Session } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Decision, Facts, PolicyRequest } from '../policy/index.ts'
import type { Capability, SignedRecord } from '../registry/messages.ts'
import type { Endpoint, RequestContext } from '../rpc/index.ts'
import { type Admission, admitted, sizeOf } from './admission.ts'
import { noCapability, pickCapability } from './capability.ts'
import { type Checks, checkInput, checkOutput, createChecks, NO_CHECKS } from './checks.ts'
import { CALL, MAX_ROUTES } from './constants.ts'
import type { CallsComponents } from './index.ts'
import { type CallRequest, callRequest } from './messages.ts'

type ServingComponents = Pick<
  CallsComponents,
  'registry' | 'host' | 'policy' | 'permissions' | 'trust' | 'schemas' | 'emit'
>

/** A request as policy is asked about it, with its input. */
interface Asked extends PolicyRequest {
  readonly session: Session
  readonly input: unknown
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
export function createServing(components: ServingComponents): Endpoint {
  const { registry, policy } = components
  const routeFor = createRoutes(registry)
  const refuse = createRefusal(components)
  const admit = createAdmit(components, refuse)
  const perform = createPerform(components)

  const handle = (body: unknown, context: RequestContext): unknown => {
    const { caller } = context
    const route = routeFor(body, caller)
    const request = askedOf(route, body, context)
    const decision = policy.decide(request)
    if (decision.effect === 'allow' && decision.limited === undefined) return perform(route, request, context)
    if (isFinal(decision, caller)) return refuse(route, caller, decision.reason)
    return admitted(
      admit(decision, route, request),
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
function createAdmit({ host, policy, permissions }: ServingComponents, refuse: Refuse): Admit {
  return async (decision, route, request) => {
    const { caller, session, input } = request
    const { agent, action, resource, capability } = route
    if (decision.effect === 'ask') targetOf(host, route, caller)
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

function createPerform({ host, schemas, trust }: ServingComponents): Perform {
  const checksOf = createChecks(schemas)

  /** A call that came to its end speaks for its caller. */
  const noted = (caller: Caller, result: unknown): unknown => {
    if (caller.trust === 'owner') return result
    if (result instanceof Promise) return result.then((value: unknown) => noted(caller, value))
    trust.note(caller.peer, 'call:completed')
    return result
  }

  return (route, { caller, input }, context) => {
    const capability = targetOf(host, route, caller)
    const run = (checks: Checks): unknown => {
      const invoke = (): unknown =>
        noted(caller, checkOutput(checks, host.invoke(route.agent, capability, input, context)))
      const pending = checkInput(checks, input)
      return pending === undefined ? invoke() : pending.then(invoke)
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

function targetOf(host: ServingComponents['host'], { capability, agent }: Route, caller: Caller): Capability {
  if (!(capability instanceof MeshError)) return capability
  const status = host.status(agent)
  if (status === undefined || status.state === 'up') throw capability
  // Why is the owner's business: it may quote what the agent's process printed
  const why = caller.trust === 'owner' ? `: ${status.reason ?? `it is ${status.state}`}` : ' just now'
  throw new MeshError('AGENT_UNAVAILABLE', `agent ${agent} is not running${why}`)
}

function askedOf({ action, resource, facts }: Route, body: unknown, { caller, session }: RequestContext): Asked {
  const input = (body as CallRequest).input ?? {}
  return { caller, session, action, resource, input, facts: { ...facts, bytes: () => sizeOf(input) } }
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
