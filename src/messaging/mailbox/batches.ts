import type { Row, Store } from '../../store/index.ts'
import { MAX_BATCH_BYTES, MAX_BATCH_MESSAGES } from '../constants.ts'
import type { DeliverRequest } from '../messages.ts'
import { list, number, text } from '../rows.ts'
import { MAX_PLAIN_BYTES } from './constants.ts'

/** Messages that are sealed together. */
export interface DepositBatch {
  /** The last of them, in message_out. */
  readonly n: number
  readonly ids: readonly string[]
  /** When the last of them expires, milliseconds since 1970. */
  readonly exp: number
  /** A request to deliver, as JSON of at most MAX_PLAIN_BYTES. */
  readonly plain: string
}

/** Reads what is queued for a peer, in order, as requests to deliver that are small enough to be sealed. */
export class DepositBatches {
  readonly #store: Store
  readonly #peer: string
  readonly #now: number
  #cursor: number
  /** seq of the last that was read or deposited before, by pair: what the next comes after. */
  readonly #last: Map<number, number>

  /** @param cursor of message_out; what is up to there was deposited before */
  constructor(store: Store, peer: string, { cursor, now }: { readonly cursor: number; readonly now: number }) {
    this.#store = store
    this.#peer = peer
    this.#now = now
    this.#cursor = cursor
    const before = store.all(
      "SELECT pair, max(seq) AS seq FROM message_out WHERE peer = ? AND state = 'queued' AND n <= ? AND exp > ? GROUP BY pair",
      [peer, cursor, now]
    )
    this.#last = new Map(before.map((row) => [number(row, 'pair'), number(row, 'seq')]))
  }

  /** The next; undefined when there is no more. */
  next(): DepositBatch | undefined {
    const rows = this.#store.all(
      `SELECT n, id, pair, seq, exp, signature, envelope FROM message_sent
       WHERE peer = ? AND state = 'queued' AND n > ? AND exp > ? ORDER BY n LIMIT ?`,
      [this.#peer, this.#cursor, this.#now, MAX_BATCH_MESSAGES]
    )
    let bytes = 0
    const roomy = rows.filter((row, index) => {
      bytes += text(row, 'envelope').length
      return index === 0 || bytes <= MAX_BATCH_BYTES
    })
    let { batch, plain } = this.#fitted(roomy)
    // Quotes and what isn't ASCII make JSON larger than its text
    while (batch.length > 1 && Buffer.byteLength(plain) > MAX_PLAIN_BYTES)
      ({ batch, plain } = this.#fitted(batch.slice(0, batch.length / 2)))
    const end = batch.at(-1)
    if (end === undefined) return undefined
    for (const row of batch) this.#last.set(number(row, 'pair'), number(row, 'seq'))
    this.#cursor = number(end, 'n')
    return {
      n: this.#cursor,
      ids: batch.map((row) => text(row, 'id')),
      exp: Math.max(...batch.map((row) => number(row, 'exp'))),
      plain
    }
  }

  #fitted(batch: readonly Row[]): { batch: readonly Row[]; plain: string } {
    const ids = [...new Set(batch.map((row) => number(row, 'signature')))]
    const rows = this.#store.all(
      'SELECT id, signature FROM message_signature WHERE id IN (SELECT value FROM json_each(?))',
      [list(ids)]
    )
    const signatures = new Map(rows.map((row) => [number(row, 'id'), text(row, 'signature')]))
    const last = new Map(this.#last)
    const request: DeliverRequest = {
      op: 'deliver',
      signatures: ids.map((id) => signatures.get(id) ?? ''),
      messages: batch.map((row) => {
        const pair = number(row, 'pair')
        const after = last.get(pair) ?? 0
        last.set(pair, number(row, 'seq'))
        return { envelope: text(row, 'envelope'), sig: ids.indexOf(number(row, 'signature')), after }
      })
    }
    return { batch, plain: JSON.stringify(request) }
  }
}
