import { MeshError } from '../errors.ts'
import type { Row, Store } from '../store/index.ts'
import { MAX_SHORT_NAMES } from './constants.ts'
import type { ShortName } from './index.ts'

/** Which agent each short name has meant, `@name` and `@name@peer` as they were written. */
export class ShortNames {
  readonly #store: Store
  /** In the order in which they were first used. */
  readonly #names: Map<string, string>

  constructor(store: Store) {
    this.#store = store
    this.#names = new Map(store.all('SELECT text, agent FROM short_name ORDER BY at').map(loaded))
  }

  /**
   * Notes what a short name means, or finds that it means the same as ever.
   *
   * @param at RFC 3339
   * @throws {MeshError} DEFINITION_CHANGED when it meant the agent of another key, IO
   */
  settle(text: string, agent: string, at: string): Promise<void> | undefined {
    const before = this.#names.get(text)
    if (before === agent) return undefined
    return before === undefined ? this.#note(text, agent, at) : Promise.reject(changed(text, before, agent))
  }

  list(): readonly ShortName[] {
    return [...this.#names].map(([text, agent]) => ({ text, agent }))
  }

  async forget(agent: string): Promise<void> {
    await this.#store.write([{ sql: 'DELETE FROM short_name WHERE agent = ?', params: [agent] }])
    for (const [text, meant] of this.#names) if (meant === agent) this.#names.delete(text)
  }

  async #note(text: string, agent: string, at: string): Promise<void> {
    const [oldest] = this.#names.keys()
    const isFull = this.#names.size >= MAX_SHORT_NAMES && oldest !== undefined
    // Two that resolve it at once: the first one counts.
    this.#names.set(text, agent)
    if (isFull) this.#names.delete(oldest)
    await this.#store.write([
      ...(isFull ? [{ sql: 'DELETE FROM short_name WHERE text = ?', params: [oldest] }] : []),
      { sql: 'INSERT OR REPLACE INTO short_name (text, agent, at) VALUES (?, ?, ?)', params: [text, agent, at] }
    ])
  }
}

function loaded(row: Row): [string, string] {
  return [String(row['text']), String(row['agent'])]
}

function changed(text: string, before: string, agent: string): MeshError {
  return new MeshError('DEFINITION_CHANGED', `${text} is ${agent} now, and was ${before}: the key is another one`, {
    hint: `call it by its id if you know it; pryx-mesh pins forget ${before} lets the name mean another one`,
    data: { name: text, was: before, is: agent }
  })
}
