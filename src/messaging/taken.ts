import type { Statement } from '../store/index.ts'
import type { Attempt } from './attempt.ts'
import { BUSY_RETRY_MS } from './constants.ts'
import type { DeliverResult, Receipt } from './messages.ts'

/** What is answered for it: a result, and with `kept` its receipt. */
export interface Taken {
  result: DeliverResult
  receipt?: Receipt
}

/** How a message is written. */
export interface Kept {
  readonly state: 'accepted' | 'delivered' | 'processed' | 'failed'
  readonly code?: string | undefined
  readonly reason?: string | undefined
  readonly tries?: number
  readonly drafts?: Attempt['drafts']
  readonly isAnswered?: boolean
  readonly isLate?: boolean
  readonly onWritten?: (isKept: boolean) => void
  readonly statements?: readonly Statement[]
}

export function receiptOf(id: string, at: number, { state, code, reason }: Kept): Receipt {
  return {
    id,
    state,
    at,
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason: reason.slice(0, 200) })
  }
}

export function refused(code: string, reason: string): Taken {
  return { result: { state: 'refused', code, reason } }
}

export function busy(reason: string): Taken {
  return { result: { state: 'busy', code: 'BUSY', reason, retryAfterMs: BUSY_RETRY_MS } }
}
