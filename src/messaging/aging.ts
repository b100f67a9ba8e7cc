import type { Emit } from '../events.ts'
import type { Store } from '../store/index.ts'
import { DELAY_NOTICE_MS, MESSAGE_KEPT_MS, SWEEP_ROWS } from './constants.ts'
import { insertEvent, list, number, text } from './rows.ts'
import type { Settlement } from './settling.ts'

/** Messages of the outbox whose time is over: not delivered by `exp`, or without a word long after it. */
export function overdue(store: Store, now: number): Settlement[] {
  const rows = store.all(
    `SELECT id FROM message_out WHERE state = 'queued' AND exp <= ?1
     UNION ALL SELECT id FROM message_out WHERE state IN ('accepted', 'delivered') AND exp <= ?1 - ${MESSAGE_KEPT_MS} LIMIT ?2`,
    [now, SWEEP_ROWS]
  )
  const reason = 'its time was over'
  return rows.map((row) => ({ id: text(row, 'id'), peer: undefined, state: 'expired', at: now, reason }))
}

/** Says once of each message that it is late. */
export class Delays {
  readonly #store: Store
  readonly #emit: Emit
  /** Up to here they have been looked at, by peer. */
  readonly #looked = new Map<string, number>()

  constructor(store: Store, emit: Emit) {
    this.#store = store
    this.#emit = emit
  }

  async look(peer: string, now: number): Promise<void> {
    const rows = this.#store.all(
      `SELECT n, id, delayed_at FROM message_out WHERE peer = ? AND state = 'queued' AND n > ? AND sent_at <= ? ORDER BY n LIMIT ?`,
      [peer, this.#looked.get(peer) ?? 0, now - DELAY_NOTICE_MS, SWEEP_ROWS]
    )
    const last = rows.at(-1)
    if (last === undefined) return
    this.#looked.set(peer, number(last, 'n'))
    const fresh = rows.filter((row) => row['delayed_at'] === null).map((row) => text(row, 'id'))
    if (fresh.length === 0) return
    for (const id of fresh) this.#emit('message:delayed', { id, peer })
    await this.#store.write([
      {
        sql: 'UPDATE message_out SET delayed_at = ? WHERE id IN (SELECT value FROM json_each(?))',
        params: [now, list(fresh)]
      },
      ...fresh.map((message) => insertEvent({ message, at: now, what: 'delayed' }))
    ])
  }

  /** Nothing waits for it any more. */
  forget(peer: string): void {
    this.#looked.delete(peer)
  }
}
