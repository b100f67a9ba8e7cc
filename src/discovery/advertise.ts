import type { CID } from 'multiformats/cid'
import type { Network } from '../network/index.ts'
import { RECORD_RENEW_MS } from '../registry/constants.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { MAX_PROVIDER_KEYS, PROVIDE_LANES, PROVIDE_TIMEOUT_MS } from './constants.ts'
import { createLane } from './lane.ts'
import { firstSegment, nameKey, segmentKey } from './names.ts'

/** Keeps this node's provider records in the DHT: one key per capability name, one per name space. */
export interface Advertiser {
  /** Announces what these records offer and stops announcing the rest, in the background. */
  offer(records: Iterable<SignedRecord>): void
  /** Announces again what is due: an hour has passed, it failed, or the mesh has grown much since. */
  upkeep(): void
  /** Stops announcing. Ends when all background work has. */
  stop(): Promise<void>
}

export interface AdvertiserComponents {
  readonly network: Network
  readonly now: () => number
}

/** From this size on a mesh's growth moves few keys to other holders. */
const SMALL_MESH = 20

interface Offer {
  readonly key: CID
  providedAt: number
  /** Connected peers when it was last announced. */
  peers: number
  isRunning: boolean
}

export function createAdvertiser({ network, now }: AdvertiserComponents): Advertiser {
  const offers = new Map<string, Offer>()
  const lane = createLane(PROVIDE_LANES)
  const stopping = new AbortController()
  const work = new Set<Promise<void>>()

  function isDue(offer: Offer): boolean {
    if (offer.isRunning) return false
    const hasGrown = offer.peers < SMALL_MESH && network.peers().length >= 2 * offer.peers
    return hasGrown || now() - offer.providedAt >= RECORD_RENEW_MS
  }

  async function provide(offer: Offer): Promise<void> {
    const peers = network.peers().length
    if (peers === 0 || !offers.has(offer.key.toString())) return
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(PROVIDE_TIMEOUT_MS)])
    try {
      await network.providers.provide(offer.key, { signal })
      offer.providedAt = now()
      offer.peers = peers
    } catch {
      // The next upkeep tries again; meanwhile peers and topics tell of the record.
    }
  }

  function upkeep(): void {
    if (network.peers().length === 0) return
    for (const offer of offers.values()) {
      if (!isDue(offer)) continue
      offer.isRunning = true
      const task = lane
        .run(() => provide(offer), stopping.signal)
        .finally(() => {
          offer.isRunning = false
          work.delete(task)
        })
      work.add(task)
    }
  }

  return {
    offer(records) {
      const keys = new Map(keysOf(records).map((key) => [key.toString(), key]))
      for (const [text, { key }] of offers) {
        if (keys.has(text)) continue
        offers.delete(text)
        network.providers.withdraw(key)
      }
      for (const [text, key] of keys) {
        if (!offers.has(text)) offers.set(text, { key, providedAt: -Infinity, peers: 0, isRunning: false })
      }
      upkeep()
    },
    upkeep,
    async stop() {
      stopping.abort()
      for (const { key } of offers.values()) network.providers.withdraw(key)
      offers.clear()
      await Promise.allSettled(work)
    }
  }
}

/** Keys in the order of their worth: exact names are asked for most, name spaces of one name least. */
export function keysOf(records: Iterable<SignedRecord>): readonly CID[] {
  const capabilities = [...records].flatMap(({ record }) => record.capabilities)
  const names = capabilities.map(({ kind, name }) => nameKey(kind, name))
  const dotted = capabilities.filter(({ name }) => firstSegment(name) !== name)
  const plain = capabilities.filter(({ name }) => firstSegment(name) === name)
  const segments = [...dotted, ...plain].map(({ kind, name }) => segmentKey(kind, firstSegment(name)))
  const distinct = new Map([...names, ...segments].map((key) => [key.toString(), key]))
  return [...distinct.values().take(MAX_PROVIDER_KEYS)]
}
