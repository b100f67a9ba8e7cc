import type { Row, Statement } from '../store/index.ts'
import type { Attempt } from './attempt.ts'
import { BUSY_RETRY_MS } from './constants.ts'
import type { Latest } from './journal.ts'
import type { DeliverResult, Receipt } from './messages.ts'
import { isEnd, number, optionalText, text } from './rows.ts'

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
  readonly latest?: readonly Latest[]
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

/** Of a message that was taken before. */
export function receiptOfRow(row: Row): Receipt {
  const [state, code] = [text(row, 'state') as Receipt['state'] | 'cancelled', optionalText(row, 'code')] // as it was written
  return {
    id: text(row, 'id'),
    // The others are ours to say: cancelled ones were dropped with their peer
    state: state === 'cancelled' ? 'failed' : state,
    at: number(row, 'at'),
    ...(code === undefined || !isEnd(state) ? {} : { code })
  }
}

export function refused(code: string, reason: string): Taken {
  return { result: { state: 'refused', code, reason } }
}

export function busy(reason: string): Taken {
  return { result: { state: 'busy', code: 'BUSY', reason, retryAfterMs: BUSY_RETRY_MS } }
}
