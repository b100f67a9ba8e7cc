import { randomBytes } from 'node:crypto'
import { type Dht, hash, type Position } from '../network/index.ts'
import type { WalkStep } from '../network/walk.ts'
import { MAX_REGION_BITS, PUBLISH_ALPHA, REGION_NODES } from './constants.ts'

/** A place beside a key, and what has to be asked for to get there. */
interface Place {
  readonly target: Uint8Array
  readonly position: Position
}

export interface RegionOptions {
  /** The key's. */
  readonly position: Position
  /** How many of the nodes at the place are wanted. */
  readonly width: number
  readonly maxMessages: number
  readonly signal: AbortSignal
  readonly onStep?: (step: WalkStep) => void
}

/**
 * Walks to a random place among the 48 nodes nearest to a key: whoever crowds around the key isn't there.
 *
 * @returns who is nearest to that place, the nearest first
 */
export async function walkBeside(
  dht: Pick<Dht, 'walk' | 'askCloser' | 'size'>,
  { position, ...options }: RegionOptions
): Promise<{ readonly closest: readonly string[]; readonly messages: number }> {
  const place = placeBeside(position, dht.size ?? 0)
  const walk = dht.walk({
    ...options,
    position: place.position,
    ask: async (peer, { signal }) => ({
      closer: await dht.askCloser(peer, place.target, { signal }),
      value: undefined
    }),
    paths: 1,
    alpha: PUBLISH_ALPHA
  })
  for await (const _ of walk) if (options.signal.aborted) break
  return walk.summary
}

/** Found by trying, for a place is the hash of what is asked for: a million nodes take some 20,000 tries, 10 ms. */
export function placeBeside(position: Position, nodes: number): Place {
  const bits = Math.min(MAX_REGION_BITS, Math.max(0, Math.floor(Math.log2(nodes / REGION_NODES))))
  for (;;) {
    const target = randomBytes(32)
    const place = { target, position: hash(target) }
    if (sharesBits(place.position, position, bits)) return place
  }
}

/** Whether two positions begin alike, in so many bits. */
export function sharesBits(a: Position, b: Position, bits: number): boolean {
  for (let at = 0; at * 8 < bits; at++) {
    const rest = Math.min(8, bits - at * 8)
    if (((a[at] ?? 0) ^ (b[at] ?? 0)) >> (8 - rest) !== 0) return false
  }
  return true
}
