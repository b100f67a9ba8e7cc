import { setMaxListeners } from 'node:events'
import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import type { Multiaddr } from '@multiformats/multiaddr'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import { MAX_HEARD_PEERS, WALK_START_PEERS } from './constants.ts'
import type { Dht, DhtStatus } from './index.ts'
import { askKad, closestEntries, type KadNode, kadNode, onEntry, tellProvider } from './kad.ts'
import type { Position } from './position.ts'
import { RoundTrips } from './round-trips.ts'
import { MeshSize } from './size.ts'
import { type Contact, startWalk, type Walk, type WalkInit, type WalkStep } from './walk.ts'

export interface DhtInit {
  readonly self: PeerId
  readonly clock: () => number
  readonly random: () => number
}

/** What a started node lends the DHT. */
export interface DhtNode {
  readonly dht: KadDHT
  isConnected(peer: string): boolean
  /** Dials at the addresses known and heard of. @throws {MeshError} UNREACHABLE, FORBIDDEN, TIMEOUT, CANCELLED */
  reach(peer: Contact, options: { signal: AbortSignal }): Promise<void>
  /** Where a peer is, as it says itself. */
  addressesOf(peer: string): Promise<readonly string[]>
  /** Where this node is. */
  ownAddresses(): readonly Multiaddr[]
}

/** A DHT that may be asked before the node starts, and outlives its restarts. */
export interface MeshDht extends Dht {
  attach(node: DhtNode): void
  detach(): void
  /** Addresses of a peer by hearsay. */
  heardOf(peer: string): readonly string[]
}

export function createDht(init: DhtInit): MeshDht {
  return new KadMeshDht(init)
}

interface Running extends DhtNode {
  readonly kad: KadNode
  readonly stopping: AbortController
  /** Where the peers of the table are. */
  readonly addresses: Map<string, readonly string[]>
  readonly off: readonly (() => void)[]
}

class KadMeshDht implements MeshDht {
  readonly #init: DhtInit
  readonly #size = new MeshSize()
  readonly #roundTrips = new RoundTrips()
  readonly #heard = new LRUCache<string, readonly string[]>({ max: MAX_HEARD_PEERS })
  readonly #listeners = new Set<(tableSize: number) => void>()
  readonly #counts = { walks: 0, messages: 0, answered: 0, timeout: 0, unreachable: 0, refused: 0, invalid: 0 }
  #crowded = 0
  #running: Running | undefined

  constructor(init: DhtInit) {
    this.#init = init
  }

  get size(): number | undefined {
    return this.#size.value
  }

  attach(node: DhtNode): void {
    const kad = kadNode(node.dht)
    const stopping = new AbortController()
    setMaxListeners(0, stopping.signal)
    const addresses = new Map<string, readonly string[]>()
    const off = [
      onEntry(kad, 'peer:add', (peer) => this.#added(running, peer)),
      onEntry(kad, 'peer:remove', (peer) => addresses.delete(peer))
    ]
    const running: Running = { ...node, kad, stopping, addresses, off }
    this.#running = running
  }

  detach(): void {
    const running = this.#running
    this.#running = undefined
    running?.stopping.abort(new MeshError('CANCELLED', 'the node stops'))
    for (const off of running?.off ?? []) off()
  }

  walk<T>(init: WalkInit<T>): Walk<T> {
    const running = this.#running
    const { signal, onStep } = init
    const until = running === undefined ? signal : AbortSignal.any([signal, running.stopping.signal])
    const walk = startWalk<T>(
      {
        ...init,
        signal: until,
        ask: (peer, options) => this.#timed(() => init.ask(peer, options)),
        onStep: (step) => {
          this.#note(step)
          onStep?.(step)
        }
      },
      {
        self: this.#init.self.toString(),
        start: running === undefined ? [] : this.#start(running, init.position),
        connect: async (peer, options) => {
          if (running?.isConnected(peer.id) !== true) await running?.reach(peer, options)
        },
        timeoutMs: () => this.#roundTrips.timeoutMs,
        clock: this.#init.clock,
        size: this.size
      }
    )
    this.#counts.walks++
    void walk.summary.then(({ estimate, crowded, messages }) => {
      this.#counts.messages += messages
      if (crowded) this.#crowded++
      if (estimate !== undefined) this.#size.add(estimate)
    })
    return walk
  }

  closest(position: Position, count: number): readonly Contact[] {
    const running = this.#running
    if (running === undefined) return []
    return closestEntries(running.kad, position, count).flatMap((id) => {
      const addresses = running.addresses.get(id) ?? []
      return addresses.length === 0 ? [] : [{ id, addresses }]
    })
  }

  async askProviders(peer: string, key: CID, { signal }: { signal: AbortSignal }) {
    const { kad } = this.#started()
    const answer = await askKad(kad, peer, { type: 'GET_PROVIDERS', key: key.multihash.bytes }, signal)
    for (const { id, addresses } of answer.providers) this.#heard.set(id, addresses)
    return { closer: answer.closer, providers: answer.providers.map(({ id }) => id) }
  }

  async addProvider(peer: string, key: CID, { signal }: { signal: AbortSignal }): Promise<void> {
    const { kad, ownAddresses } = this.#started()
    await tellProvider(kad, peer, { key, self: this.#init.self, addresses: ownAddresses() }, signal)
  }

  heardOf(peer: string): readonly string[] {
    return this.#heard.get(peer) ?? []
  }

  onGrowth(listener: (tableSize: number) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  status(): DhtStatus {
    const { timeoutMs, medianMs } = this.#roundTrips
    return {
      tableSize: this.#running?.kad.routingTable.size ?? 0,
      ...(this.size === undefined ? {} : { size: this.size }),
      ...this.#counts,
      crowded: this.#crowded,
      pings: 0,
      deadRemoved: 0,
      timeoutMs,
      ...(medianMs === undefined ? {} : { medianMs })
    }
  }

  #start({ kad, addresses }: Running, position: Position): Contact[] {
    return closestEntries(kad, position, WALK_START_PEERS).map((id) => ({ id, addresses: addresses.get(id) ?? [] }))
  }

  #started(): Running {
    if (this.#running !== undefined) return this.#running
    throw new MeshError('UNREACHABLE', 'the network is not started', { hint: 'Start the node first.' })
  }

  async #timed<T>(ask: () => Promise<T>): Promise<T> {
    const startedAt = this.#init.clock()
    const answer = await ask()
    this.#roundTrips.add(this.#init.clock() - startedAt)
    return answer
  }

  #note({ outcome }: WalkStep): void {
    this.#counts[outcome]++
  }

  #added(running: Running, peer: string): void {
    void running.addressesOf(peer).then(
      (addresses) => running.addresses.set(peer, addresses),
      () => {} // the peer store doesn't know it: others aren't told of it
    )
    for (const listener of this.#listeners) listener(running.kad.routingTable.size)
  }
}
