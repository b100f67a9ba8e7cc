import type { Kept } from './held-key.ts'

/** Who has how many entries, so that who has most gives way first. */
export class Publishers {
  readonly #entries = new Map<string, Set<Kept>>()
  /** Publishers with so many entries, by that number. */
  readonly #levels: Set<string>[] = []

  get size(): number {
    return this.#entries.size
  }

  countOf(peer: string): number {
    return this.#entries.get(peer)?.size ?? 0
  }

  add(kept: Kept): void {
    const entries = this.#entries.get(kept.peer) ?? new Set()
    this.#entries.set(kept.peer, entries)
    this.#move(kept.peer, entries.size, entries.add(kept).size)
  }

  delete(kept: Kept): void {
    const entries = this.#entries.get(kept.peer)
    const before = entries?.size
    if (entries === undefined || before === undefined || !entries.delete(kept)) return
    this.#move(kept.peer, before, entries.size)
    if (entries.size === 0) this.#entries.delete(kept.peer)
  }

  /** The oldest entry of a publisher that has more than so many. */
  oldestAbove(count: number): Kept | undefined {
    const level = this.#levels.findLastIndex((peers) => peers.size > 0)
    if (level <= count) return undefined
    const [peer = ''] = this.#levels[level] ?? []
    const [oldest] = this.#entries.get(peer) ?? []
    return oldest
  }

  #move(peer: string, from: number, to: number): void {
    if (from === to) return
    this.#levels[from]?.delete(peer)
    while (this.#levels.length <= to) this.#levels.push(new Set())
    if (to > 0) this.#levels[to]?.add(peer)
  }
}
