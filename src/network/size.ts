import { CROWDED_FACTOR, CROWDED_MIN_SIZE, KAD_BUCKET_PEERS, MAX_COUNT_ERROR, SIZE_WALKS } from './constants.ts'
import { shareOfRing } from './position.ts'

/**
 * How many nodes a mesh has when so near to a position lie its closest ones.
 *
 * @param distances of those who answered, the smallest first
 * @param width of the walk, which has ended by itself: had there been more than it has found, it would have found more
 */
export function estimateSize(distances: readonly Uint8Array[], width: number): number | undefined {
  const share = shareOfTwentieth(distances)
  const counted = distances.length < width && width >= KAD_BUCKET_PEERS ? distances.length + 1 : undefined
  if (share === undefined || share === 0) return counted
  const estimate = Math.round(KAD_BUCKET_PEERS / share)
  // Who is hemmed in by peers that name few others has seen all that it can, and yet not the mesh
  return counted !== undefined && estimate < MAX_COUNT_ERROR * counted ? counted : estimate
}

/** True when 20 peers lie in a space where a mesh of this size would have fewer than three. */
export function isCrowded(distances: readonly Uint8Array[], size = 0): boolean {
  const share = shareOfTwentieth(distances)
  return share !== undefined && size >= CROWDED_MIN_SIZE && share < KAD_BUCKET_PEERS / size / CROWDED_FACTOR
}

function shareOfTwentieth(distances: readonly Uint8Array[]): number | undefined {
  const twentieth = distances[KAD_BUCKET_PEERS - 1]
  return twentieth === undefined ? undefined : shareOfRing(twentieth)
}

/** The size of the mesh: the median of what the last walks said, so that a crowded corner or a liar moves it little. */
export class MeshSize {
  readonly #estimates: number[] = []

  /** Undefined before the first walk. */
  get value(): number | undefined {
    return this.#estimates.length === 0 ? undefined : median(this.#estimates)
  }

  add(estimate: number): void {
    this.#estimates.push(estimate)
    if (this.#estimates.length > SIZE_WALKS) this.#estimates.shift()
  }
}

/** @param values at least one; the lower of the two in the middle */
export function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[(values.length - 1) >> 1] ?? 0
}
