import { refused } from '../auth/index.ts'
import type { Store } from '../store/index.ts'
import { MAX_HELD } from './constants.ts'
import type { Entry } from './entries.ts'
import { deleteHeld, insertHeld, readHeld } from './rows.ts'
import { full } from './terms.ts'

/** Grants of other nodes that this one is the holder of. */
export class HeldGrants {
  readonly #store: Store
  readonly #byId: Map<string, Entry>
  /** Those that others have passed on, by the owner of their resources. */
  readonly #passedOn = new Map<string, Set<Entry>>()

  constructor(store: Store) {
    this.#store = store
    const entries = store.all('SELECT * FROM grant_held').map(readHeld)
    this.#byId = new Map(entries.map((entry) => [entry.leaf.id, entry]))
    for (const entry of entries) this.#index(entry)
  }

  get(id: string): Entry | undefined {
    return this.#byId.get(id)
  }

  values(): IteratorObject<Entry> {
    return this.#byId.values()
  }

  /** What has to be shown to the owner of the resources, who doesn't know it. */
  passedOnOver(owner: string): ReadonlySet<Entry> | undefined {
    return this.#passedOn.get(owner)
  }

  /**
   * Keeps a grant that has been checked; on disk when it resolves.
   *
   * @returns what is kept: the same as before, if it was
   * @throws {MeshError} UNAUTHENTICATED when another has its id, BUSY, IO
   */
  async keep(entry: Entry, isValid: (entry: Entry) => boolean): Promise<Entry> {
    const { id, hash } = entry.leaf
    const known = this.#byId.get(id)
    if (known?.leaf.hash === hash) return known
    if (known !== undefined) throw refused('replayed', 'there is another grant of this id')
    const ended = this.#ended(isValid)
    await this.#store.write([deleteHeld(ended), insertHeld(entry.chain)])
    for (const one of ended) this.#drop(one)
    this.#byId.set(id, entry)
    this.#index(entry)
    return entry
  }

  /** To be forgotten, when there is no room for one more. @throws {MeshError} BUSY */
  #ended(isValid: (entry: Entry) => boolean): readonly string[] {
    if (this.#byId.size < MAX_HELD) return []
    const ended = [...this.#byId.values()].filter((entry) => !isValid(entry)).map(({ leaf }) => leaf.id)
    if (ended.length === 0) throw full(`${MAX_HELD} grants of other nodes`)
    return ended
  }

  #index(entry: Entry): void {
    if (entry.chain.length === 1) return
    const { owner } = entry.leaf
    const entries = this.#passedOn.get(owner) ?? new Set()
    this.#passedOn.set(owner, entries.add(entry))
  }

  #drop(id: string): void {
    const entry = this.#byId.get(id)
    this.#byId.delete(id)
    if (entry === undefined) return
    const entries = this.#passedOn.get(entry.leaf.owner)
    entries?.delete(entry)
    if (entries?.size === 0) this.#passedOn.delete(entry.leaf.owner)
  }
}
