/** Chance that repeats: the same seed gives the same draws. */
export interface Random {
  /** 0 ≤ value < 1 */
  next(): number
  /** 0 ≤ integer < bound */
  below(bound: number): number
  /** @throws when there is nothing to pick from */
  pick<T>(values: readonly T[]): T
}

/** mulberry32: 32 bits of state, good enough to lay out a mesh. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number): number => Math.floor(next() * bound)
  return {
    next,
    below,
    pick: (values) => {
      if (values.length === 0) throw new Error('nothing to pick from')
      return values[below(values.length)] as (typeof values)[number]
    }
  }
}

/** Draws ranks 0 to `count - 1`, rank r with a weight of 1 / (r + 1). */
export function zipf(count: number, random: Random): () => number {
  const sums: number[] = []
  let sum = 0
  for (let rank = 0; rank < count; rank++) sums.push((sum += 1 / (rank + 1)))
  return () => {
    const drawn = random.next() * sum
    return sums.findIndex((upTo) => drawn < upTo)
  }
}
