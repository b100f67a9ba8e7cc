import type { Statement, Store } from '../store/index.ts'
import type { Reply } from './index.ts'
import { number, optionalText, text } from './rows.ts'

/** Whether a request has its outcome. */
export type Standing = 'open' | 'decided' | 'none'

/** Sees to it that each request gets exactly one outcome, whoever comes first. */
export class Outcomes {
  readonly #store: Store
  /** Decided, and on its way to the disk. */
  readonly #deciding = new Set<string>()

  constructor(store: Store) {
    this.#store = store
  }

  standing(id: string): Standing {
    if (this.#deciding.has(id)) return 'decided'
    const row = this.#store.get('SELECT outcome FROM message_outcome WHERE id = ?', [id])
    if (row === undefined) return 'none'
    return row['outcome'] === null ? 'open' : 'decided'
  }

  /** Takes the place of the outcome; to be given up again by {@link release} when it was written, or not. */
  decide(id: string, outcome: Reply['outcome'], body: unknown, at: number): Statement {
    this.#deciding.add(id)
    return {
      sql: 'UPDATE message_outcome SET outcome = ?, body = ?, at = ? WHERE id = ? AND outcome IS NULL',
      params: [outcome, body === undefined ? null : JSON.stringify(body), at, id]
    }
  }

  release(ids: Iterable<string>): void {
    for (const id of ids) this.#deciding.delete(id)
  }

  /** Open requests whose time is over. */
  due(now: number, limit: number): string[] {
    const rows = this.#store.all('SELECT id FROM message_outcome WHERE outcome IS NULL AND exp <= ? LIMIT ?', [
      now,
      limit
    ])
    return rows.map((row) => text(row, 'id')).filter((id) => !this.#deciding.has(id))
  }

  get(id: string): Reply | undefined {
    const row = this.#store.get('SELECT outcome, body, at FROM message_outcome WHERE id = ? AND outcome IS NOT NULL', [
      id
    ])
    if (row === undefined) return undefined
    const body = optionalText(row, 'body')
    return {
      outcome: text(row, 'outcome') as Reply['outcome'], // the table checks it
      ...(body === undefined ? {} : { body: JSON.parse(body) }),
      at: new Date(number(row, 'at')).toISOString()
    }
  }
}
