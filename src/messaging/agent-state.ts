import { MeshError } from '../errors.ts'
import type { Statement, Store } from '../store/index.ts'
import { MAX_STATE_BYTES, MAX_STATE_KEY_LENGTH } from './constants.ts'
import type { Latest } from './journal.ts'
import { text } from './rows.ts'

/** What a handler has set, by key; null removes. */
export type Changes = ReadonlyMap<string, string | null>

interface Uncommitted {
  readonly json: string | null
}

/** Durable values of agents, as they are once everything that is on its way to the disk has arrived there. */
export class AgentState {
  readonly #store: Store
  /** `<agent> <key>` → what is being written; names of agents have no spaces. */
  #uncommitted = new Map<string, Uncommitted>()

  constructor(store: Store) {
    this.#store = store
  }

  get(agent: string, key: string): unknown {
    const fresh = this.#uncommitted.get(`${agent} ${key}`)
    if (fresh !== undefined) return fresh.json === null ? undefined : JSON.parse(fresh.json)
    const row = this.#store.get('SELECT value FROM message_state WHERE agent = ? AND key = ?', [agent, key])
    return row === undefined ? undefined : JSON.parse(text(row, 'value'))
  }

  /** Shows the changes to whoever reads from now on. @returns what writes them, and what to call when that is done */
  publish(agent: string, changes: Changes): { latest: Latest[]; written: () => void } {
    const mine = [...changes].map(([key, json]) => {
      const value: Uncommitted = { json }
      this.#uncommitted.set(`${agent} ${key}`, value)
      return [key, value] as const
    })
    return {
      latest: mine.map(([key, { json }]) => [`state ${agent} ${key}`, put(agent, key, json)]),
      written: () => {
        for (const [key, value] of mine) {
          if (this.#uncommitted.get(`${agent} ${key}`) === value) this.#uncommitted.delete(`${agent} ${key}`)
        }
      }
    }
  }

  /** Nothing of what was being written is. */
  forget(): void {
    this.#uncommitted = new Map()
  }
}

/** @throws {MeshError} INVALID_ARGUMENT, TOO_LARGE */
export function stateJson(key: string, value: unknown): string | null {
  if (typeof key !== 'string' || key === '' || key.length > MAX_STATE_KEY_LENGTH)
    throw new MeshError('INVALID_ARGUMENT', `a key of state must have 1 to ${MAX_STATE_KEY_LENGTH} characters`)
  if (value === undefined) return null
  const json = JSON.stringify(value)
  if (json === undefined) throw new MeshError('INVALID_ARGUMENT', 'a value of state must have a JSON form')
  if (json.length > MAX_STATE_BYTES)
    throw new MeshError('TOO_LARGE', `a value of state is over the limit of ${MAX_STATE_BYTES} bytes`)
  return json
}

function put(agent: string, key: string, json: string | null): Statement {
  return json === null
    ? { sql: 'DELETE FROM message_state WHERE agent = ? AND key = ?', params: [agent, key] }
    : {
        sql: 'INSERT INTO message_state (agent, key, value) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET value = excluded.value',
        params: [agent, key, json]
      }
}
