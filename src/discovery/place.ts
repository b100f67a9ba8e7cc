import type { CID } from 'multiformats/cid'
import type { Dht } from '../network/index.ts'
import { type Position, positionOf } from '../network/position.ts'
import {
  MAX_PUBLISH_MESSAGES,
  PROVIDER_RECORDS,
  PUBLISH_ALPHA,
  PUBLISH_PATHS,
  PUBLISH_WIDTH,
  REGION_POINTS,
  SHARD_MARGIN
} from './constants.ts'
import type { Holders } from './dht-holders.ts'
import { medianTotal, shardDepth } from './dht-source.ts'
import { createLane } from './lane.ts'
import { shardBits, shardKey } from './names.ts'
import { walkBeside } from './region.ts'

export interface PlaceComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: { readonly dht: Pick<Dht, 'walk' | 'askCloser' | 'size'> }
  readonly holders: Pick<Holders, 'ask' | 'put' | 'sign'>
  readonly now: () => number
}

export interface PlaceOptions {
  readonly lifetimeMs: number
  readonly signal: AbortSignal
}

/** Who took what was published under a key. */
export interface Placed {
  readonly key: CID
  readonly holders: ReadonlySet<string>
}

/**
 * Publishes under a key at all that answer of the 60 nodes nearest to it, and in this node's shards when there are too many others
 * for one key. Yields each key that it was published under.
 */
export async function* place(
  components: PlaceComponents,
  { key, versions }: { readonly key: CID; readonly versions: readonly string[] },
  options: PlaceOptions
): AsyncGenerator<Placed> {
  const { total, ...root } = await placeAt(components, { key, versions }, options)
  yield root
  for (const depth of shardDepths(total)) {
    if (options.signal.aborted) return
    const shard = shardKey(key, shardBits(components.peer, depth))
    const { holders } = await placeAt(components, { key: shard, versions }, options)
    yield { key: shard, holders }
  }
}

/** Of the shards that a provider is in: one, or two where others may count otherwise. */
export function shardDepths(total: number): readonly number[] {
  const depths = [total, total * (1 - SHARD_MARGIN), total * (1 + SHARD_MARGIN)].map(shardDepth)
  return [...new Set(depths)].filter((depth) => depth > 0)
}

async function placeAt(
  components: PlaceComponents,
  { key, versions }: { readonly key: CID; readonly versions: readonly string[] },
  { lifetimeMs, signal }: PlaceOptions
): Promise<Placed & { readonly total: number }> {
  const { holders, now, network } = components
  const totals = new Map<string, number>()
  const position = positionOf(key)
  const { closest, crowded } = await walkTo(components, { key, position, totals, signal })
  const nearest = new Set(closest.slice(0, PROVIDER_RECORDS))
  const chosen = new Set(closest)
  // Who sits around a key to hide what is there sits at one place only.
  for (let n = 0; crowded && n < REGION_POINTS && !signal.aborted; n++) {
    const options = { position, width: PROVIDER_RECORDS, maxMessages: MAX_PUBLISH_MESSAGES, signal }
    const beside = await walkBeside(network.dht, options)
    for (const peer of beside.closest) chosen.add(peer)
  }
  const hint = await holders.sign({ key, versions, seq: now(), expiresAt: now() + lifetimeMs })
  const taken = new Set<string>()
  const lane = createLane(PUBLISH_ALPHA)
  await Promise.all(
    [...chosen].map((peer) =>
      lane.run(async () => {
        const options = { signal, withProviderRecord: nearest.has(peer) }
        const isTaken = await holders.put(peer, key, hint, options).catch(() => false)
        if (isTaken) taken.add(peer)
      }, signal)
    )
  )
  return { key, holders: taken, total: medianTotal(closest, totals) }
}

interface WalkTo {
  readonly key: CID
  readonly position: Position
  /** Gets how many there are, by what each says. */
  readonly totals: Map<string, number>
  readonly signal: AbortSignal
}

async function walkTo({ holders, network }: PlaceComponents, { key, position, totals, signal }: WalkTo) {
  const walk = network.dht.walk({
    position,
    ask: async (peer, options) => {
      const { closer, total } = await holders.ask(peer, key, options)
      if (total !== undefined) totals.set(peer, total)
      return { closer, value: undefined }
    },
    paths: PUBLISH_PATHS,
    alpha: PUBLISH_ALPHA,
    width: PUBLISH_WIDTH,
    maxMessages: MAX_PUBLISH_MESSAGES,
    signal
  })
  for await (const _ of walk) if (signal.aborted) break
  return walk.summary
}
