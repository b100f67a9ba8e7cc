import type { z } from 'zod'
import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Grants } from '../grants/index.ts'
import type { Decision, Policy } from '../policy/index.ts'
import type { Endpoint, RequestContext } from '../rpc/index.ts'
import type { Asking } from './asking.ts'
import type { Changes } from './changes.ts'
import { answerCheck, checkBody } from './check.ts'
import { MAX_REASON_LENGTH, MAX_WAIT_MS, MAX_WAITS_PER_PEER, PERMISSION } from './constants.ts'
import type { PermissionRequest, PermissionsInit, Question } from './index.ts'
import { type PermissionMessage, permissionMessage, type StatusAnswer } from './messages.ts'

interface EndpointComponents {
  readonly policy: Policy
  readonly grants: Grants
  readonly asking: Asking
  readonly changes: Changes
  readonly capabilityOf: PermissionsInit['capabilityOf']
  readonly tagsOf: PermissionsInit['tagsOf']
  readonly get: (id: string) => PermissionRequest | undefined
  /** Asks the owner ahead. */
  readonly ask: (decision: Decision, question: Ahead) => Promise<StatusAnswer>
  /** Nothing needs to be asked: a request that is allowed already. */
  readonly allowed: () => StatusAnswer
}

/** A question without an input. */
export type Ahead = Omit<Question, 'input'> & { readonly wanted: NonNullable<PermissionRequest['wanted']> }

type Message<Op extends PermissionMessage['op']> = Extract<PermissionMessage, { op: Op }>

/** Answers `permission/1.0.0`. */
export function createEndpoint(components: EndpointComponents): Endpoint {
  const { grants, asking } = components
  const wait = createWaits(components)

  const handle = (body: unknown, context: RequestContext): unknown => {
    const { caller, session } = context
    if (caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'blocked by the owner')
    if ((body as { op?: unknown } | null)?.op === 'check')
      return answerCheck(parse(checkBody, body), context, components)
    const message = parse(permissionMessage, body)
    switch (message.op) {
      case 'request':
        return requestAhead(components, message, context)
      case 'status':
        return statusOf(ownRequest(components, message.id, caller), grants)
      case 'wait':
        return wait(message, context)
      case 'present':
        return grants.present(session, message.chain).then(({ id }) => ({ id }))
      case 'revocations':
        return grants.revocations().then((jws) => ({ jws }))
      case 'decided':
        return asking.decided(caller.peer, message).then(() => ({}))
      case 'revoked':
        return grants.learnRevocations(message.jws).then(() => ({}))
    }
  }

  return { protocol: PERMISSION, handle }
}

function parse<T>(schema: z.ZodType<T>, body: unknown): T {
  const { success, data, error } = schema.safeParse(body)
  if (success) return data
  const at = error.issues[0]?.path.join('.') ?? ''
  throw new MeshError('INVALID_MESSAGE', `not a permission message${at === '' ? '' : `: ${at} is not valid`}`)
}

/** What the asker may know of its request. */
export function statusOf(request: PermissionRequest, grants: Pick<Grants, 'get'>): StatusAnswer {
  const { id, deadline, reason, wanted, grant } = request
  // Until there is a grant, a call would be asked about once more
  const state = request.state === 'allowed' && grant === undefined ? 'pending' : request.state
  // Who asked for a call needs no grant in hand: the owner knows it
  const chain = wanted === undefined || grant === undefined ? undefined : grants.get(grant)?.chain
  return {
    id,
    state,
    deadline,
    ...(reason === undefined ? {} : { reason: reason.slice(0, MAX_REASON_LENGTH) }),
    ...(chain === undefined || chain.length === 0 ? {} : { chain: [...chain] })
  }
}

/** @throws {MeshError} NOT_FOUND, for another's request too */
function ownRequest({ get }: EndpointComponents, id: string, { peer }: Caller): PermissionRequest {
  const request = get(id)
  if (request?.peer === peer) return request
  throw new MeshError('NOT_FOUND', 'there is no such permission request of yours')
}

/** Policy first, then existence; what is allowed or denied already is not asked. */
async function requestAhead(
  { policy, grants, capabilityOf, tagsOf, ask, allowed }: EndpointComponents,
  { agent, capability: name, kind, ...wanted }: Message<'request'>,
  { caller, session }: RequestContext
): Promise<StatusAnswer> {
  const capability = capabilityOf(agent, name, kind)
  const resource = `${kind ?? capability?.kind ?? 'tool'}:${agent}/${name}`
  const may = policy.decide({ caller, action: 'permission.request', resource })
  if (may.effect !== 'allow') {
    throw new MeshError(
      'FORBIDDEN',
      `the owner takes no permission requests about ${agent}/${name} from ${caller.peer}`
    )
  }
  if (capability === undefined) throw new MeshError('NOT_FOUND', `there is no capability ${name} of an agent ${agent}`)
  const action = `${capability.kind}.call`
  const facts = { effects: capability.effects, tags: [...capability.tags, ...tagsOf(agent)] }
  const decision = policy.judge({ caller, action, resource, facts })
  if (decision.effect === 'allow') return allowed()
  if (decision.effect === 'deny' && decision.rules.length > 0) throw new MeshError('FORBIDDEN', decision.reason)
  // A grant for one input doesn't answer a request for any
  const use = grants.find({ caller, session, action, resource, input: () => '', digest: capability.digest })
  if (use !== undefined) return allowed()
  const { op: _op, ...terms } = wanted
  return ask(decision, { caller, session, action, resource, agent, capability, wanted: terms })
}

/** Answers when the request is answered, or with what is known at the end of the wait; the asker asks again. */
function createWaits(components: EndpointComponents) {
  const { changes, grants } = components
  const waits = new Map<string, number>()
  return async ({ id, forMs = MAX_WAIT_MS }: Message<'wait'>, { caller, signal }: RequestContext) => {
    const { peer } = caller
    const running = waits.get(peer) ?? 0
    const request = ownRequest(components, id, caller)
    if (request.state !== 'pending' || running >= MAX_WAITS_PER_PEER) return statusOf(request, grants)
    waits.set(peer, running + 1)
    try {
      await changes.next(id, forMs, signal)
    } finally {
      const left = (waits.get(peer) ?? 1) - 1
      if (left === 0) waits.delete(peer)
      else waits.set(peer, left)
    }
    return statusOf(ownRequest(components, id, caller), grants)
  }
}
