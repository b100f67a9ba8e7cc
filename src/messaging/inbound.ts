import { ownerCaller } from '../auth/index.ts'
import type { AgentState } from './agent-state.ts'
import * as limits from './constants.ts'
import { createCallers, createReceive, type Receive } from './endpoint.ts'
import { Handling } from './handling.ts'
import type { MessagingComponents, MessagingInit } from './index.ts'
import type { Journal } from './journal.ts'
import type { Outcomes } from './outcomes.ts'
import type { Pairs } from './pairs.ts'
import { Receiving } from './receiving.ts'

type Given = Pick<MessagingComponents, 'identity' | 'store' | 'policy' | 'permissions' | 'trust' | 'receiver' | 'emit'>

interface InboundComponents
  extends Given,
    Pick<MessagingComponents, 'blobs'>,
    Required<Pick<MessagingComponents, 'refusal' | 'log' | 'clock' | 'random'>> {
  readonly journal: Journal
  readonly pairs: Pairs
  readonly state: AgentState
  readonly outcomes: Outcomes
  readonly newId: () => string
  readonly mayQueue: (peer: string) => boolean
  readonly onReceipt: (peer: string) => void
  readonly onOutcome: (id: string) => void
}

/** What takes messages, and what handles them. */
export function createInbound(
  components: InboundComponents,
  init: MessagingInit
): { readonly handling: Handling; readonly receive: Receive; readonly conclude: Receiving['conclude'] } {
  const { identity, trust } = components
  const callerOf = createCallers(ownerCaller(identity.id), trust.of)
  const timeoutMs = init.handlerTimeoutMs ?? limits.HANDLER_TIMEOUT_MS
  const handling = new Handling({ ...components, self: identity.id, callerOf, timeoutMs })
  const receiving = new Receiving({
    ...components,
    self: identity.id,
    handling,
    maxUnhandledPerPeer: init.maxUnhandledPerPeer ?? limits.MAX_UNHANDLED_PER_PEER,
    maxUnhandled: init.maxUnhandled ?? limits.MAX_UNHANDLED
  })
  return {
    handling,
    receive: createReceive({ identity, receiving, callerOf, note: trust.note }),
    conclude: (reply, now) => receiving.conclude(reply, now)
  }
}
