import { setMaxListeners } from 'node:events'
import type { KadDHT } from '@libp2p/kad-dht'
import type { Datastore, Key } from 'interface-datastore'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import {
  KAD_BUCKET_PEERS,
  MAX_PROVIDED_KEYS,
  PROVIDE_CONCURRENCY,
  PROVIDE_TIMEOUT_MS,
  RETELL_DELAY_MS
} from './constants.ts'
import type { ProviderIndex } from './index.ts'
import { isKadNode } from './kad.ts'

const PROVIDER_PREFIX = '/dht/provider'

/** Forgets keys that an earlier run provided and never withdrew; the DHT would go on announcing them. */
export async function forgetOwnProviders(datastore: Datastore, id: string): Promise<void> {
  const stale: Key[] = []
  for await (const key of datastore.queryKeys({ prefix: PROVIDER_PREFIX })) {
    if (key.toString().endsWith(`/${id}`)) stale.push(key)
  }
  for (const key of stale) await datastore.delete(key)
}

/** A provider index whose keys may be given before the node starts, and outlive its restarts. */
export interface MeshProviders extends ProviderIndex {
  attach(dht: KadDHT): void
  detach(): Promise<void>
}

/** @param id PeerId of this node, which is not an answer */
export function createProviders(id: string): MeshProviders {
  return new DhtProviders(id)
}

class DhtProviders implements MeshProviders {
  readonly #id: string
  readonly #keys = new Map<string, CID>()
  #dht: KadDHT | undefined
  #toldAtSize = 0
  #retelling: NodeJS.Timeout | undefined
  #stopping = new AbortController()

  constructor(id: string) {
    this.#id = id
  }

  async provide(key: CID, { signal }: { signal: AbortSignal }): Promise<void> {
    const name = key.toString()
    if (!this.#keys.has(name) && this.#keys.size >= MAX_PROVIDED_KEYS) {
      throw new MeshError('BUSY', `already providing ${MAX_PROVIDED_KEYS} keys`, { hint: 'Withdraw one first.' })
    }
    this.#keys.set(name, key)
    await this.#tell(key, signal)
  }

  withdraw(key: CID): void {
    if (!this.#keys.delete(key.toString())) return
    void this.#dht?.cancelReprovide(key).catch(() => {}) // only fails with the cache it deletes from
  }

  async *find(
    key: CID,
    { signal, onEnd }: { signal: AbortSignal; onEnd?: (complete: boolean) => void }
  ): AsyncGenerator<string> {
    const found = new Set<string>([this.#id])
    let isComplete = false
    try {
      for await (const peer of this.#walk(key, signal)) {
        if (found.has(peer)) continue
        found.add(peer)
        yield peer
      }
      // Stock ends its walk at 20 names: there may be more.
      isComplete = this.#dht !== undefined && !signal.aborted && found.size <= KAD_BUCKET_PEERS
    } catch {
      // cut short
    } finally {
      onEnd?.(isComplete)
    }
  }

  attach(dht: KadDHT): void {
    this.#dht = dht
    this.#toldAtSize = 0
    this.#stopping = new AbortController()
    setMaxListeners(0, this.#stopping.signal)
    if (isKadNode(dht)) dht.routingTable.addEventListener('peer:add', () => this.#onPeerAdded(dht))
  }

  async detach(): Promise<void> {
    const dht = this.#dht
    this.#dht = undefined
    this.#stopping.abort()
    clearTimeout(this.#retelling)
    if (dht !== undefined) await Promise.allSettled([...this.#keys.values()].map((key) => dht.cancelReprovide(key)))
  }

  async *#walk(key: CID, signal: AbortSignal): AsyncGenerator<string> {
    const dht = this.#dht
    if (dht === undefined) return
    const until = this.#until(signal)
    await firstPeer(dht, until)
    for await (const event of dht.findProviders(key, { signal: until })) {
      if (event.name === 'PROVIDER') yield* event.providers.map(({ id }) => id.toString())
    }
  }

  async #tell(key: CID, signal: AbortSignal): Promise<void> {
    const until = this.#until(signal)
    try {
      const dht = this.#dht
      if (dht === undefined) return
      await firstPeer(dht, until)
      for await (const _event of dht.provide(key, { signal: until })) until.throwIfAborted()
    } catch {
      // the deadline, or a stop; the key is told again when the table grows and every hour
    }
  }

  /** The first peers of a young node are rarely the closest to its keys, so they are told again whenever the table has doubled. */
  #onPeerAdded(dht: KadDHT): void {
    if (this.#dht !== dht) return
    const size = tableSize(dht)
    if (size < this.#toldAtSize) this.#toldAtSize = size // peers left: who comes next is told
    if (size < 2 * this.#toldAtSize || this.#retelling !== undefined || this.#keys.size === 0) return
    const delay = this.#toldAtSize === 0 ? 0 : RETELL_DELAY_MS
    this.#retelling = setTimeout(() => {
      this.#retelling = undefined
      void this.#retell(dht)
    }, delay)
  }

  async #retell(dht: KadDHT): Promise<void> {
    this.#toldAtSize = tableSize(dht)
    const keys = [...this.#keys.values()]
    const worker = async (): Promise<void> => {
      for (let key = keys.pop(); key !== undefined; key = keys.pop()) {
        if (this.#keys.has(key.toString())) await this.#tell(key, AbortSignal.timeout(PROVIDE_TIMEOUT_MS))
      }
    }
    await Promise.all(Array.from({ length: PROVIDE_CONCURRENCY }, () => worker()))
  }

  #until(signal: AbortSignal): AbortSignal {
    const until = AbortSignal.any([signal, this.#stopping.signal])
    setMaxListeners(0, until)
    return until
  }
}

/** Waits for somebody to ask. @throws the signal's reason */
async function firstPeer(dht: KadDHT, signal: AbortSignal): Promise<void> {
  if (!isKadNode(dht) || dht.routingTable.size > 0) return
  signal.throwIfAborted()
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  const onAbort = () => reject(signal.reason as Error)
  const onPeer = () => resolve()
  dht.routingTable.addEventListener('peer:add', onPeer)
  signal.addEventListener('abort', onAbort)
  try {
    await promise
  } finally {
    dht.routingTable.removeEventListener('peer:add', onPeer)
    signal.removeEventListener('abort', onAbort)
  }
}

function tableSize(dht: KadDHT): number {
  return isKadNode(dht) ? dht.routingTable.size : 0
}
