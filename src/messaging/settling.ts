import { MeshError } from '../errors.ts'
import type { Statement, Store } from '../store/index.ts'
import type { MessageState } from './constants.ts'
import { insertEvent, isEnd, list, number, text } from './rows.ts'

/** What has become of a message of ours. */
export interface Settlement {
  readonly id: string
  /** Who says so must be whom it was sent to; undefined: this node itself. */
  readonly peer: string | undefined
  readonly state: Exclude<MessageState, 'queued'>
  readonly at: number
  readonly code?: string | undefined
  readonly reason?: string | undefined
}

/** A message that has another state now. */
export interface Settled extends Settlement {
  readonly to: string
  readonly before: MessageState
  readonly bytes: number
  readonly isRequest: boolean
}

interface Pending {
  readonly items: readonly Settlement[]
  readonly done: () => void
  readonly failed: (err: MeshError) => void
}

const RANK: Readonly<Record<MessageState, number>> = {
  queued: 0,
  accepted: 1,
  delivered: 2,
  processed: 3,
  failed: 3,
  expired: 3,
  cancelled: 3
}
const COLUMN = { accepted: 'accepted_at', delivered: 'delivered_at' } as const

/**
 * Moves messages of the outbox forward, never back: one transaction after the other, so that each sees what the one before has
 * written, and what comes meanwhile is written together.
 */
export class Settling {
  readonly #store: Store
  readonly #onSaid: (said: readonly Settled[]) => void
  readonly #onSettled: (settled: readonly Settled[]) => void
  #pending: Pending[] = []
  #isWriting = false

  constructor(
    store: Store,
    on: { said: (said: readonly Settled[]) => void; settled: (settled: readonly Settled[]) => void }
  ) {
    this.#store = store
    this.#onSaid = on.said
    this.#onSettled = on.settled
  }

  /** @returns when it is on disk; what doesn't go forward is left out @throws {MeshError} */
  settle(items: readonly Settlement[]): Promise<void> {
    if (items.length === 0) return Promise.resolve()
    return new Promise((done, failed) => {
      this.#pending.push({ items, done, failed })
      void this.#run()
    })
  }

  async #run(): Promise<void> {
    if (this.#isWriting) return
    this.#isWriting = true
    while (this.#pending.length > 0) {
      const pending = this.#pending.splice(0)
      try {
        await this.#write(pending.flatMap(({ items }) => items))
        for (const { done } of pending) done()
      } catch (err) {
        for (const { failed } of pending) failed(MeshError.from(err))
      }
    }
    this.#isWriting = false
  }

  async #write(items: readonly Settlement[]): Promise<void> {
    const settled = this.#forward(items)
    if (settled.length === 0) return
    // True whatever this node's disk says: were it lost, it would be asked for and told again. So it is in no hurry either:
    // what is sent next waits for one commit then, not two
    this.#onSaid(settled)
    await this.#store.write(statementsOf(settled), { isPatient: true })
    this.#onSettled(settled)
  }

  #forward(items: readonly Settlement[]): Settled[] {
    const ids = [...new Set(items.map(({ id }) => id))]
    const rows = this.#store.all(
      `SELECT id, peer, state, bytes, kind FROM message_out WHERE id IN (SELECT value FROM json_each(?))`,
      [list(ids)]
    )
    const known = new Map(
      rows.map((row) => [
        text(row, 'id'),
        {
          to: text(row, 'peer'),
          state: text(row, 'state') as MessageState, // the column's only writer is this room
          bytes: number(row, 'bytes'),
          isRequest: row['kind'] === 'request'
        }
      ])
    )
    const settled: Settled[] = []
    for (const item of items) {
      const row = known.get(item.id)
      if (row === undefined || (item.peer !== undefined && item.peer !== row.to)) continue
      if (RANK[item.state] <= RANK[row.state]) continue
      settled.push({ ...item, to: row.to, before: row.state, bytes: row.bytes, isRequest: row.isRequest })
      row.state = item.state
    }
    return settled
  }
}

/** One statement for all that have come to the same. */
function statementsOf(settled: readonly Settled[]): Statement[] {
  const groups = new Map<string, { first: Settled; ids: string[] }>()
  const statements: Statement[] = []
  for (const item of settled) {
    const key = `${item.state} ${item.at} ${item.code} ${item.reason}`
    const group = groups.get(key)
    if (group === undefined) groups.set(key, { first: item, ids: [item.id] })
    else group.ids.push(item.id)
    const { id: message, at, state: what, code, reason } = item
    if (item.peer === undefined) statements.push(insertEvent({ message, at, what, code, reason }))
  }
  for (const { first, ids } of groups.values()) statements.push(update(first, ids))
  return statements
}

function update({ state, at, code, reason }: Settled, ids: readonly string[]): Statement {
  const column = isEnd(state) ? 'ended_at' : COLUMN[state as keyof typeof COLUMN] // the two states that are no ends
  return {
    sql: `UPDATE message_out SET state = ?, ${column} = ?, code = ?, reason = ? WHERE id IN (SELECT value FROM json_each(?))`,
    params: [state, at, code ?? null, reason ?? null, list(ids)]
  }
}
