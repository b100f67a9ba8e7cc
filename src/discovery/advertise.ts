import type { CID } from 'multiformats/cid'
import type { Network } from '../network/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { LAZY_PROVIDE_MS, MAX_PROVIDER_KEYS, PROVIDE_LANES, PROVIDE_TIMEOUT_MS } from './constants.ts'
import { createLane } from './lane.ts'
import { firstSegment, nameKey, segmentKey } from './names.ts'

/** Keeps this node's provider records in the DHT: one key per capability name, one per name space. */
export interface Advertiser {
  /** Announces what these records offer and stops announcing the rest, in the background. The index repeats it by itself. */
  offer(records: Iterable<SignedRecord>): void
  /** Announces what is due. */
  upkeep(): void
  /** Stops announcing. Ends when all background work has. */
  stop(): Promise<void>
}

export interface AdvertiserComponents {
  readonly network: Network
  /** Whether the mesh is so small that the catalogue tells everybody what there is: then the DHT has time. */
  readonly isSmall: () => boolean
  readonly now: () => number
}

export function createAdvertiser({ network, isSmall, now }: AdvertiserComponents): Advertiser {
  const offered = new Map<string, CID>()
  const waiting = new Set<string>()
  const lane = createLane(PROVIDE_LANES)
  const stopping = new AbortController()
  const work = new Set<Promise<void>>()
  // A walk dials 20 peers and more: a mesh that has just been started doesn't do that all at once.
  const lazyUntil = now() + LAZY_PROVIDE_MS * (0.5 + Math.random())

  async function provide(key: CID): Promise<void> {
    if (!offered.has(key.toString())) return
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(PROVIDE_TIMEOUT_MS)])
    try {
      await network.providers.provide(key, { signal })
    } catch {
      // Beyond the index's limit; peers and topics tell of the record.
    }
  }

  /** The next keys that are due, in the order of their worth. */
  function publish(): void {
    // With nobody there the next upkeep or change of peers comes back to it.
    if (stopping.signal.aborted || network.peers().length === 0) return
    const isLazy = isSmall()
    if (isLazy && now() < lazyUntil) return
    for (const text of [...waiting].slice(0, isLazy ? 1 : waiting.size)) {
      waiting.delete(text)
      const key = offered.get(text)
      if (key === undefined) continue
      const task = lane.run(() => provide(key), stopping.signal).finally(() => work.delete(task))
      work.add(task)
    }
  }

  return {
    offer(records) {
      const keys = new Map(keysOf(records).map((key) => [key.toString(), key]))
      for (const [text, key] of offered) {
        if (keys.has(text)) continue
        offered.delete(text)
        if (!waiting.delete(text)) network.providers.withdraw(key)
      }
      for (const [text, key] of keys) {
        if (offered.has(text)) continue
        offered.set(text, key)
        waiting.add(text)
      }
      if (!isSmall()) publish()
    },
    upkeep: publish,
    async stop() {
      stopping.abort()
      for (const key of offered.values()) network.providers.withdraw(key)
      offered.clear()
      waiting.clear()
      await Promise.allSettled(work)
    }
  }
}

/** Keys in the order of their worth: exact names are asked for most, name spaces of one name least. */
function keysOf(records: Iterable<SignedRecord>): readonly CID[] {
  const all = [...records].flatMap(({ record }) => record.capabilities)
  // Distinct ones first: a key is a hash, and many agents may offer the same
  const capabilities = [...new Map(all.map((each) => [`${each.kind} ${each.name}`, each])).values()].slice(
    0,
    MAX_PROVIDER_KEYS
  )
  const names = capabilities.map(({ kind, name }) => nameKey(kind, name))
  const dotted = capabilities.filter(({ name }) => firstSegment(name) !== name)
  const plain = capabilities.filter(({ name }) => firstSegment(name) === name)
  const segments = [...dotted, ...plain].map(({ kind, name }) => segmentKey(kind, firstSegment(name)))
  const distinct = new Map([...names, ...segments].map((key) => [key.toString(), key]))
  return [...distinct.values().take(MAX_PROVIDER_KEYS)]
}
