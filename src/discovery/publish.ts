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

export interface PublishComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: { readonly dht: Pick<Dht, 'walk' | 'askCloser' | 'size'> }
  readonly holders: Pick<Holders, 'ask' | 'put' | 'sign'>
  readonly now: () => number
}

export interface PublishOptions {
  readonly lifetimeMs: number
  readonly signal: AbortSignal
  /** Told at once who took it under which key. */
  readonly onTaken: (key: CID, holder: string) => void
}

/** What is published under a key. */
export interface Published {
  readonly key: CID
  readonly versions: readonly string[]
}

/**
 * Publishes under a key at all that answer of the 60 nodes nearest to it, and in this node's shards when there are too many others
 * for one key.
 */
export async function publish(
  components: PublishComponents,
  published: Published,
  options: PublishOptions
): Promise<void> {
  const { key, versions } = published
  const total = await publishAt(components, published, options)
  for (const depth of shardDepths(total)) {
    if (options.signal.aborted) return
    await publishAt(components, { key: shardKey(key, shardBits(components.peer, depth)), versions }, options)
  }
}

/** Of the shards that a provider is in: one, or two where others may count otherwise. */
export function shardDepths(total: number): readonly number[] {
  const depths = [total, total * (1 - SHARD_MARGIN), total * (1 + SHARD_MARGIN)].map(shardDepth)
  return [...new Set(depths)].filter((depth) => depth > 0)
}

/** @returns how many there are under the key */
async function publishAt(
  components: PublishComponents,
  { key, versions }: Published,
  { lifetimeMs, signal, onTaken }: PublishOptions
): Promise<number> {
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
  const lane = createLane(PUBLISH_ALPHA)
  await Promise.all(
    [...chosen].map((peer) =>
      lane.run(async () => {
        const options = { signal, withProviderRecord: nearest.has(peer) }
        // What is cut off at the end of this node may have been taken all the same, and is taken back
        const isTaken = await holders.put(peer, key, hint, options).catch(() => signal.aborted)
        if (isTaken) onTaken(key, peer)
      }, signal)
    )
  )
  return medianTotal(closest, totals)
}

interface WalkTo {
  readonly key: CID
  readonly position: Position
  /** Gets how many there are, by what each says. */
  readonly totals: Map<string, number>
  readonly signal: AbortSignal
}

async function walkTo({ holders, network }: PublishComponents, { key, position, totals, signal }: WalkTo) {
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
