import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Permissions } from '../permissions/index.ts'
import type { Decision, Policy, PolicyRequest } from '../policy/index.ts'
import { BUSY_RETRY_MS, MAX_REASON_LENGTH } from './constants.ts'
import type { DeliverResult, Envelope } from './messages.ts'

interface AdmissionComponents {
  readonly policy: Policy
  readonly permissions: Pick<Permissions, 'permit'>
}

/** Asks policy, and the owner where it says so. @returns why not; undefined when it may, at once where nothing must be asked */
export type Admit = (
  caller: Caller,
  envelope: Envelope,
  to: { readonly agent: string; readonly bytes: number }
) => Promise<DeliverResult | undefined> | undefined

export function createAdmission({ policy, permissions }: AdmissionComponents): Admit {
  const ask = async (
    decision: Decision,
    request: PolicyRequest,
    { agent, input }: { readonly agent: string; readonly input: unknown }
  ): Promise<DeliverResult | undefined> => {
    const { caller, action, resource } = request
    try {
      if (decision.effect !== 'allow')
        await permissions.permit(decision, { caller, session: { caller }, action, resource, agent, input })
      const reservation = await policy.reserve(decision, request)
      reservation?.settle({ bytes: 0 })
      return undefined
    } catch (err) {
      return refusalOf(MeshError.from(err))
    }
  }

  return (caller, { type, body }, { agent, bytes }) => {
    const facts = { bytes: () => bytes }
    const request = { caller, action: 'message.send', resource: `agent:${agent}`, facts }
    const decision = policy.decide(request)
    if (decision.effect === 'allow' && decision.limited === undefined) return undefined
    if (decision.effect === 'deny' && (decision.rules.length > 0 || caller.trust === 'blocked'))
      return Promise.resolve({ state: 'refused', code: 'FORBIDDEN', reason: cut(decision.reason) })
    return ask(decision, request, { agent, input: { type, body } })
  }
}

function refusalOf({ code, message, data }: MeshError): DeliverResult {
  const reason = cut(message)
  if (code === 'PERMISSION_PENDING') return { state: 'pending', code, reason }
  if (code === 'FORBIDDEN') return { state: 'refused', code, reason }
  return { state: 'busy', code, reason, retryAfterMs: retryAfter(data) }
}

const cut = (message: string): string => message.slice(0, MAX_REASON_LENGTH)

function retryAfter(data: unknown): number {
  const { retryAfterMs } = (data ?? {}) as { retryAfterMs?: unknown }
  return typeof retryAfterMs === 'number' && retryAfterMs >= 0 ? Math.ceil(retryAfterMs) : BUSY_RETRY_MS
}
