import { z } from 'zod'
import { MeshError } from '../errors.ts'
import { agentName, CAPABILITY_KINDS, type Capability, capabilityName, semverVersion } from '../registry/messages.ts'
import type { RequestContext, RequestOptions, Rpc } from '../rpc/index.ts'
import { PERMISSION } from './constants.ts'
import type { PermissionsInit } from './index.ts'

/** A rule's reason names a peer, an action and a resource, each cut at 256 characters. */
const MAX_CHECK_REASON_LENGTH = 1_024

/** Asks whether a capability could be called now; nobody is asked for permission by it. */
export const checkBody = z.object({
  op: z.literal('check'),
  agent: agentName,
  capability: capabilityName,
  /** Needed only when the agent has the name in several kinds. */
  kind: z.enum(CAPABILITY_KINDS).exactOptional()
})
export type CheckBody = z.infer<typeof checkBody>

/** What a call of that capability by this caller, with an empty input, would meet now. */
export const checkAnswer = z.object({
  effect: z.enum(['allow', 'ask', 'deny']),
  /** Why, one sentence; of an `allow` by a grant, that. */
  reason: z.string().max(MAX_CHECK_REASON_LENGTH),
  /** Credential methods that are accepted of the caller at present. */
  proven: z.array(z.string().max(32)).max(16),
  /** Any of them would have let a rule allow it. */
  missingScopes: z.array(z.string().max(256)).max(16).exactOptional(),
  /** What would be called; absent when it is denied. */
  capability: z
    .object({ kind: z.enum(CAPABILITY_KINDS), version: semverVersion, digest: z.string().max(64) })
    .exactOptional()
})
export type CheckAnswer = z.infer<typeof checkAnswer>

/** What {@link answerCheck} looks at: as given to the room. */
export type CheckComponents = Pick<PermissionsInit, 'policy' | 'grants' | 'capabilityOf' | 'tagsOf'>

/**
 * Answers `check` of `permission/1.0.0` from what is in memory: no audit row, no limit, no use of a grant, no request.
 *
 * It tells no more than a call would: who may not call doesn't learn whether there is such a capability.
 *
 * @param body parsed by {@link checkBody}
 * @throws {MeshError} NOT_FOUND, AMBIGUOUS when the rules would let the call through and there is nothing to call
 */
export function answerCheck(
  body: CheckBody,
  { caller, session }: Pick<RequestContext, 'caller' | 'session'>,
  { policy, grants, capabilityOf, tagsOf }: CheckComponents
): CheckAnswer {
  const found = CAPABILITY_KINDS.flatMap((kind) =>
    body.kind === undefined || body.kind === kind ? (capabilityOf(body.agent, body.capability, kind) ?? []) : []
  )
  const [capability] = found.length === 1 ? found : []
  const judge = (definition: Capability | undefined): Pick<CheckAnswer, 'effect' | 'reason' | 'missingScopes'> => {
    const kind = definition?.kind ?? body.kind ?? 'tool'
    const facts = definition && { effects: definition.effects, tags: [...definition.tags, ...tagsOf(body.agent)] }
    // As a call asks the policy, with the smallest input that there is
    const request = {
      caller,
      action: `${kind}.call`,
      resource: `${kind}:${body.agent}/${body.capability}`,
      facts: { ...facts, bytes: () => '{}'.length }
    }
    const { effect, reason, rules, missingScopes } = policy.judge(request)
    // A grant answers what the rules ask or leave open, never what they deny
    const isOpen = effect === 'ask' || (effect === 'deny' && rules.length === 0 && caller.trust !== 'blocked')
    const { action, resource } = request
    const digest = definition === undefined ? {} : { digest: definition.digest }
    // A grant for one input says nothing of others
    if (isOpen && grants.find({ caller, session, action, resource, input: () => '', ...digest }) !== undefined)
      return { effect: 'allow', reason: `a grant allows ${action} on ${resource}` }
    return {
      effect,
      reason: reason.slice(0, MAX_CHECK_REASON_LENGTH),
      ...(missingScopes && { missingScopes: [...missingScopes] })
    }
  }
  const first = judge(capability)
  const isHidden = first.effect === 'deny' && body.kind === undefined && capability?.kind !== 'tool'
  const { effect, ...answer } = isHidden ? judge(undefined) : first
  if (effect !== 'deny' && (capability === undefined || isHidden)) throw nothingToCall(body, found.length)
  const proven = [...new Set(caller.credentials.map(({ method }) => method))]
  if (effect === 'deny' || capability === undefined) return { effect, ...answer, proven }
  const { kind, version, digest } = capability
  return { effect, ...answer, proven, capability: { kind, version, digest } }
}

function nothingToCall({ agent, capability, kind }: CheckBody, count: number): MeshError {
  if (count > 1) return new MeshError('AMBIGUOUS', `agent ${agent} has ${capability} in several kinds`)
  return new MeshError('NOT_FOUND', `agent ${agent} has no ${kind ?? 'capability'} ${capability}`)
}

/** Asks the owner of an agent whether this node may call a capability. */
export type AskCheck = (peer: string, wanted: Omit<CheckBody, 'op'>, options?: RequestOptions) => Promise<CheckAnswer>

/** The asking side. Its function fails as a request does, and with INVALID_MESSAGE for an answer that is none. */
export function createAskCheck(rpc: Pick<Rpc, 'request'>): AskCheck {
  return async (peer, wanted, options) => {
    const body: CheckBody = { op: 'check', ...wanted }
    const { success, data } = checkAnswer.safeParse(await rpc.request(peer, PERMISSION, body, options))
    if (success) return data
    throw new MeshError('INVALID_MESSAGE', `what ${peer} answered to check is no answer to it`)
  }
}
