import type { CID } from 'multiformats/cid'
import type { Network } from '../network/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { MAX_PROVIDER_KEYS, PROVIDE_LANES, PROVIDE_TIMEOUT_MS } from './constants.ts'
import { createLane } from './lane.ts'
import { firstSegment, nameKey, segmentKey } from './names.ts'

/** Keeps this node's provider records in the DHT: one key per capability name, one per name space. */
export interface Advertiser {
  /** Announces what these records offer and stops announcing the rest, in the background. The index repeats it by itself. */
  offer(records: Iterable<SignedRecord>): void
  /** Stops announcing. Ends when all background work has. */
  stop(): Promise<void>
}

export function createAdvertiser(network: Network): Advertiser {
  const offered = new Map<string, CID>()
  const lane = createLane(PROVIDE_LANES)
  const stopping = new AbortController()
  const work = new Set<Promise<void>>()

  async function provide(key: CID): Promise<void> {
    if (!offered.has(key.toString())) return
    // With nobody there the key is only noted; the index tells it once there is somebody.
    const timeoutMs = network.peers().length === 0 ? 0 : PROVIDE_TIMEOUT_MS
    const signal = AbortSignal.any([stopping.signal, AbortSignal.timeout(timeoutMs)])
    try {
      await network.providers.provide(key, { signal })
    } catch {
      // Beyond the index's limit; peers and topics tell of the record.
    }
  }

  return {
    offer(records) {
      const keys = new Map(keysOf(records).map((key) => [key.toString(), key]))
      for (const [text, key] of offered) {
        if (keys.has(text)) continue
        offered.delete(text)
        network.providers.withdraw(key)
      }
      for (const [text, key] of keys) {
        if (offered.has(text)) continue
        offered.set(text, key)
        const task = lane.run(() => provide(key), stopping.signal).finally(() => work.delete(task))
        work.add(task)
      }
    },
    async stop() {
      stopping.abort()
      for (const key of offered.values()) network.providers.withdraw(key)
      offered.clear()
      await Promise.allSettled(work)
    }
  }
}

/** Keys in the order of their worth: exact names are asked for most, name spaces of one name least. */
function keysOf(records: Iterable<SignedRecord>): readonly CID[] {
  const capabilities = [...records].flatMap(({ record }) => record.capabilities)
  const names = capabilities.map(({ kind, name }) => nameKey(kind, name))
  const dotted = capabilities.filter(({ name }) => firstSegment(name) !== name)
  const plain = capabilities.filter(({ name }) => firstSegment(name) === name)
  const segments = [...dotted, ...plain].map(({ kind, name }) => segmentKey(kind, firstSegment(name)))
  const distinct = new Map([...names, ...segments].map((key) => [key.toString(), key]))
  return [...distinct.values().take(MAX_PROVIDER_KEYS)]
}
