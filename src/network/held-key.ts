import { rcompare } from 'semver'
import type { HeldHint } from './holder.ts'
import { MAX_BEST_PER_KEY, MAX_SAMPLED_PER_KEY } from './holder-constants.ts'
import { Threshold } from './threshold.ts'

/** An entry, as it is kept. */
export interface Kept {
  readonly key: string
  readonly peer: string
  /** Uniform in 0 ≤ x < 1; the smallest of a key are its sample. */
  readonly rank: number
  subnet: string | undefined
  /** When the provider record expires; 0 without one. */
  recordUntil: number
  /** When the hint expires; 0 without one. */
  hintUntil: number
  hint: HeldHint | undefined
  version: string | undefined
}

/** Everything under one key: a uniform sample of its publishers, and those with the highest versions. */
export class HeldKey {
  readonly #entries = new Map<string, Kept>()
  /** By rank. */
  readonly #sample: Kept[] = []
  /** By version, the highest first. */
  readonly #best: Kept[] = []
  // Most keys need neither, and there are many keys
  #subnets: Map<string, number> | undefined
  #threshold: Threshold | undefined
  #expiresNext = Number.POSITIVE_INFINITY

  get size(): number {
    return this.#entries.size
  }

  get(peer: string): Kept | undefined {
    return this.#entries.get(peer)
  }

  /** In the order in which they came. */
  all(): Kept[] {
    return [...this.#entries.values()]
  }

  best(): readonly Kept[] {
    return this.#best
  }

  inSubnet(subnet: string): number {
    return this.#subnets?.get(subnet) ?? 0
  }

  /** Takes an entry. @returns what has no place any more, perhaps itself */
  add(kept: Kept): readonly Kept[] {
    this.#entries.set(kept.peer, kept)
    this.#count(kept, 1)
    const outranked = insert(this.#sample, kept, byRank, MAX_SAMPLED_PER_KEY)
    const outdated = kept.version === undefined ? undefined : insert(this.#best, kept, byVersion, MAX_BEST_PER_KEY)
    if (outranked !== undefined) {
      this.#threshold ??= new Threshold()
      this.#threshold.note(outranked.rank, expiryOf(outranked))
    }
    const unlisted = [outranked, outdated].flatMap((each) => (each === undefined || this.#isListed(each) ? [] : [each]))
    const dropped = [...new Set(unlisted)]
    for (const each of dropped) this.#forget(each)
    this.#expiresNext = Math.min(this.#expiresNext, expiryOf(kept))
    return dropped
  }

  delete(kept: Kept): void {
    this.#unlist(kept)
    this.#forget(kept)
  }

  /** Changes an entry. @returns what has no place any more, perhaps itself */
  update(kept: Kept, change: (kept: Kept) => void): readonly Kept[] {
    this.#unlist(kept)
    this.#count(kept, -1)
    change(kept)
    return this.add(kept)
  }

  /** Drops what has expired. @returns it */
  expire(now: number): readonly Kept[] {
    if (this.#expiresNext > now) return []
    const expired = this.all().filter((kept) => expiryOf(kept) <= now)
    for (const kept of expired) this.delete(kept)
    this.#expiresNext = Math.min(Number.POSITIVE_INFINITY, ...this.all().map(expiryOf))
    return expired
  }

  /**
   * Whoever has a rank below that of all who had to go is here, so the share of ranks that this is tells of the whole: with
   * a full sample (C − 1) / h of the C-th smallest, unbiased.
   */
  estimate(now: number): number {
    const threshold = this.#threshold?.at(now)
    if (threshold === undefined) return this.size
    const below = place(this.#sample, threshold, (kept, rank) => kept.rank - rank)
    return Math.max(this.size, Math.round(below / threshold))
  }

  #isListed(kept: Kept): boolean {
    return this.#sample[positionOf(this.#sample, kept, byRank)] === kept || this.#best.includes(kept)
  }

  #unlist(kept: Kept): void {
    const at = positionOf(this.#sample, kept, byRank)
    if (this.#sample[at] === kept) this.#sample.splice(at, 1)
    const best = this.#best.indexOf(kept)
    if (best !== -1) this.#best.splice(best, 1)
  }

  #forget(kept: Kept): void {
    this.#entries.delete(kept.peer)
    this.#count(kept, -1)
  }

  #count({ subnet }: Kept, change: 1 | -1): void {
    if (subnet === undefined) return
    const count = this.inSubnet(subnet) + change
    this.#subnets ??= new Map()
    if (count > 0) this.#subnets.set(subnet, count)
    else this.#subnets.delete(subnet)
  }
}

export function expiryOf({ recordUntil, hintUntil }: Kept): number {
  return Math.max(recordUntil, hintUntil)
}

type Order = (a: Kept, b: Kept) => number

const byRank: Order = (a, b) => a.rank - b.rank || (a.peer < b.peer ? -1 : Number(a.peer > b.peer))

const byVersion: Order = (a, b) =>
  (a.version === undefined || b.version === undefined ? 0 : rcompare(a.version, b.version)) || byRank(a, b)

/** @returns the last one if they are too many now */
function insert(list: Kept[], kept: Kept, order: Order, max: number): Kept | undefined {
  list.splice(positionOf(list, kept, order), 0, kept)
  return list.length > max ? list.pop() : undefined
}

function positionOf(list: readonly Kept[], kept: Kept, order: Order): number {
  return place(list, kept, order)
}

/** How many come before it, by bisection. */
function place<T>(list: readonly Kept[], item: T, order: (kept: Kept, item: T) => number): number {
  let [low, high] = [0, list.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    const kept = list[middle]
    if (kept !== undefined && order(kept, item) < 0) low = middle + 1
    else high = middle
  }
  return low
}
