import type { Row } from '../store/index.ts'
import type { Envelope } from './messages.ts'
import { number, text } from './rows.ts'

/** A message of the inbox that waits for its handler. */
export interface Waiting {
  readonly message: Envelope
  readonly bytes: number
  readonly tries: number
}

export function readWaiting(row: Row): Waiting {
  return {
    // Written from a parsed envelope
    message: JSON.parse(text(row, 'envelope')) as Envelope,
    bytes: number(row, 'bytes'),
    tries: number(row, 'tries')
  }
}
