import { randomBytes } from 'node:crypto'
import { setMaxListeners } from 'node:events'
import type { PeerId } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import { LRUCache } from 'lru-cache'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import {
  FIND_PEER_MAX_MESSAGES,
  FIND_PEER_TIMEOUT_MS,
  HOLDER_SALT_BYTES,
  KAD_ALPHA,
  KAD_BUCKET_PEERS,
  KAD_DISJOINT_PATHS,
  KAD_REFRESH_MS,
  MAX_HEARD_PEERS,
  REFRESH_ALPHA,
  REFRESH_MAX_MESSAGES,
  REFRESH_TIMEOUT_MS,
  WALK_START_PEERS
} from './constants.ts'
import { holdProviders } from './hold-providers.ts'
import { createHolder, type Holder } from './holder.ts'
import type { Dht, DhtStatus } from './index.ts'
import { Janitor } from './janitor.ts'
import { askKad, boundRequests, closestEntries, type KadNode, kadNode, onEntry, quietKad, tellProvider } from './kad.ts'
import { hash, type Position, positionOfPeer } from './position.ts'
import { RoundTrips } from './round-trips.ts'
import { MeshSize } from './size.ts'
import { TableGuard } from './table-guard.ts'
import {
  boundAddresses,
  type Contact,
  startWalk,
  type Walk,
  type WalkInit,
  type WalkStep,
  type WalkSummary
} from './walk.ts'

export interface DhtInit {
  readonly self: PeerId
  readonly clock: () => number
  readonly random: () => number
}

/** What a started node lends the DHT. */
export interface DhtNode {
  readonly dht: KadDHT
  readonly isConnected: (peer: string) => boolean
  /** True without a single connection. */
  readonly isAlone: () => boolean
  /** Dials at the addresses known and heard of. @throws {MeshError} UNREACHABLE, FORBIDDEN, TIMEOUT, CANCELLED */
  readonly reach: (peer: Contact, options: { signal: AbortSignal }) => Promise<void>
  /** To a connected peer and back. */
  readonly ping: (peer: string, options: { signal: AbortSignal }) => Promise<number>
  /** Whether the peer store has the peer. */
  readonly isStored: (peer: PeerId) => Promise<boolean>
  /** Multiaddr that a connected peer is connected by. */
  readonly addressOf: (peer: string) => string | undefined
  /** Where a peer is, as it says itself. */
  readonly addressesOf: (peer: string) => Promise<readonly string[]>
  /** Where this node is. */
  readonly ownAddresses: () => readonly Multiaddr[]
}

/** A DHT that may be asked before the node starts, and outlives its restarts. */
export interface MeshDht extends Dht {
  /** Walks to this node's own position, or to a random one. @throws {MeshError} UNREACHABLE before the start */
  refresh(where: 'self' | 'random'): Promise<WalkSummary>
  attach(node: DhtNode): void
  detach(): void
  /** A peer has said anew where it is. */
  moved(peer: string, addresses: readonly string[]): void
  /** Addresses of a peer by hearsay. */
  heardOf(peer: string): readonly string[]
  /** Asks the mesh where a peer is; nothing when nobody knows. Never rejects. */
  search(peer: string, options: { signal: AbortSignal }): Promise<readonly string[]>
}

export function createDht(init: DhtInit): MeshDht {
  return new KadMeshDht(init)
}

interface Running extends DhtNode {
  readonly kad: KadNode
  readonly janitor: Janitor
  readonly guard: TableGuard
  readonly stopping: AbortController
  /** Where the peers of the table are. */
  readonly addresses: Map<string, readonly string[]>
  readonly off: readonly (() => void)[]
}

class KadMeshDht implements MeshDht {
  readonly holder: Holder
  readonly #init: DhtInit
  readonly #size = new MeshSize()
  readonly #roundTrips = new RoundTrips()
  readonly #heard = new LRUCache<string, readonly string[]>({ max: MAX_HEARD_PEERS })
  readonly #counts = { walks: 0, messages: 0, answered: 0, timeout: 0, unreachable: 0, refused: 0, invalid: 0 }
  /** In earlier starts. */
  readonly #cleaned = { pings: 0, deadRemoved: 0, turnedAway: 0 }
  #crowded = 0
  #refreshing: NodeJS.Timeout | undefined
  #running: Running | undefined

  constructor(init: DhtInit) {
    this.#init = init
    this.holder = createHolder({ now: init.clock, random: init.random, salt: randomBytes(HOLDER_SALT_BYTES) })
  }

  get size(): number | undefined {
    return this.#size.value
  }

  attach(node: DhtNode): void {
    const kad = kadNode(node.dht)
    const { random, self, clock } = this.#init
    boundRequests(kad)
    quietKad(kad, (peer) => node.isConnected(peer.toString()))
    holdProviders(kad.providers, {
      holder: this.holder,
      addressOf: node.addressOf,
      isStored: node.isStored,
      now: clock
    })
    const stopping = new AbortController()
    setMaxListeners(0, stopping.signal)
    const addresses = new Map<string, readonly string[]>()
    const off = [
      onEntry(kad, 'peer:add', (peer) => this.#added(running, peer)),
      onEntry(kad, 'peer:remove', (peer) => addresses.delete(peer))
    ]
    const janitor = new Janitor({
      kad,
      self: positionOfPeer(self.toString()),
      isConnected: node.isConnected,
      isAlone: node.isAlone,
      random,
      ping: async (peer, options) => {
        if (!node.isConnected(peer)) await node.reach({ id: peer, addresses: [] }, options)
        this.#roundTrips.add(await node.ping(peer, options))
      }
    })
    const guard = new TableGuard(kad, node.addressOf)
    const running: Running = { ...node, kad, janitor, guard, stopping, addresses, off }
    this.#running = running
    janitor.start()
    this.#scheduleRefresh(running)
  }

  detach(): void {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    clearTimeout(this.#refreshing)
    running.janitor.stop()
    running.stopping.abort(new MeshError('CANCELLED', 'the node stops'))
    running.guard.stop()
    for (const off of running.off) off()
    this.#cleaned.pings += running.janitor.pings
    this.#cleaned.deadRemoved += running.janitor.removed
    this.#cleaned.turnedAway += running.guard.turnedAway
  }

  // The table learns of who is there, and the size of the mesh is judged anew.
  async refresh(where: 'self' | 'random'): Promise<WalkSummary> {
    const key = where === 'self' ? this.#init.self.toMultihash().bytes : randomBytes(32)
    return this.walk({
      position: hash(key),
      ask: async (peer, options) => ({ closer: await this.askCloser(peer, key, options), value: undefined }),
      paths: 1,
      alpha: REFRESH_ALPHA,
      width: KAD_BUCKET_PEERS,
      maxMessages: REFRESH_MAX_MESSAGES,
      signal: AbortSignal.timeout(REFRESH_TIMEOUT_MS)
    }).summary
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
    for (const { id, addresses } of answer.providers) this.#heard.set(id, boundAddresses(addresses))
    return { closer: answer.closer, providers: answer.providers.map(({ id }) => id) }
  }

  async askCloser(peer: string, target: Uint8Array, { signal }: { signal: AbortSignal }) {
    const { closer } = await askKad(this.#started().kad, peer, { type: 'FIND_NODE', key: target }, signal)
    return closer
  }

  async addProvider(peer: string, key: CID, { signal }: { signal: AbortSignal }): Promise<void> {
    const { kad, ownAddresses } = this.#started()
    await tellProvider(kad, peer, { key, self: this.#init.self, addresses: ownAddresses() }, signal)
  }

  moved(peer: string, addresses: readonly string[]): void {
    const told = this.#running?.addresses
    if (told?.has(peer)) told.set(peer, boundAddresses(addresses))
  }

  heardOf(peer: string): readonly string[] {
    return this.#heard.get(peer) ?? []
  }

  async search(peer: string, { signal }: { signal: AbortSignal }): Promise<readonly string[]> {
    if (this.#running === undefined) return []
    const target = peerIdFromString(peer).toMultihash().bytes
    const walk = this.walk({
      position: hash(target),
      ask: async (other, options) => {
        const closer = await this.askCloser(other, target, options)
        return { closer, value: closer.find(({ id }) => id === peer)?.addresses ?? [] }
      },
      paths: KAD_DISJOINT_PATHS,
      alpha: KAD_ALPHA,
      width: KAD_BUCKET_PEERS,
      maxMessages: FIND_PEER_MAX_MESSAGES,
      signal: AbortSignal.any([signal, AbortSignal.timeout(FIND_PEER_TIMEOUT_MS)])
    })
    for await (const { value } of walk) if (value.length > 0) return value
    return []
  }

  status(): DhtStatus {
    const { timeoutMs, medianMs } = this.#roundTrips
    const { janitor, guard } = this.#running ?? {}
    return {
      tableSize: this.#running?.kad.routingTable.size ?? 0,
      ...(this.size === undefined ? {} : { size: this.size }),
      ...this.#counts,
      crowded: this.#crowded,
      pings: this.#cleaned.pings + (janitor?.pings ?? 0),
      deadRemoved: this.#cleaned.deadRemoved + (janitor?.removed ?? 0),
      turnedAway: this.#cleaned.turnedAway + (guard?.turnedAway ?? 0),
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

  #note({ outcome, peer }: WalkStep): void {
    this.#counts[outcome]++
    if (outcome === 'timeout') this.#roundTrips.miss()
    const janitor = this.#running?.janitor
    if (outcome === 'timeout' || outcome === 'unreachable') void janitor?.suspect(peer)
    else janitor?.seen(peer)
  }

  #scheduleRefresh(running: Running, where: 'self' | 'random' = 'self'): void {
    if (this.#running !== running) return
    this.#refreshing = setTimeout(
      () => {
        const next = where === 'self' ? 'random' : 'self'
        this.holder.expire()
        void this.refresh(where).finally(() => this.#scheduleRefresh(running, next))
      },
      KAD_REFRESH_MS * (0.5 + this.#init.random())
    )
    this.#refreshing.unref()
  }

  #added(running: Running, peer: string): void {
    void running.addressesOf(peer).then(
      (addresses) => running.addresses.set(peer, boundAddresses(addresses)),
      () => {} // the peer store doesn't know it: others aren't told of it
    )
  }
}
