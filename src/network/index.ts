/**
 * libp2p, composed: transports, LAN, bootstrap, DHT, gossip, and every limit that the defaults leave open.
 *
 * Spec: protocols/README.md#connections
 *
 * @packageDocumentation
 * @example
 * const network = createNetwork({ identity, store, datastore, emit }, { bootstrap: ['/ip4/192.168.1.20/tcp/4001/p2p/12D3Koo…'] })
 * await network.handle('/pryx-mesh/hello/1.0.0', (stream, connection) => {})
 * await network.start()
 * const { stream } = await network.openStream(peer, ['/pryx-mesh/hello/1.0.0'], { signal: AbortSignal.timeout(5_000) })
 */
import type { ComponentLogger, Connection, Stream } from '@libp2p/interface'
import type { Datastore } from 'interface-datastore'
import type { Libp2pOptions } from 'libp2p'
import type { CID } from 'multiformats/cid'
import type { Emit } from '../events.ts'
import type { Identity } from '../identity/index.ts'
import type { Store } from '../store/index.ts'
import type { Holder } from './holder.ts'
import type { Position } from './position.ts'
import type { Contact, Walk, WalkInit } from './walk.ts'

export { MAX_GOSSIP_BYTES, MAX_TOPICS } from './constants.ts'
export type { Holder, HolderStatus, HoldVerdict } from './holder.ts'
export { networkMigrations } from './known-peers.ts'
export { defaultListen } from './listen.ts'
export { createNetwork } from './network.ts'
export { hash, type Position, positionOf } from './position.ts'
export { createSwarmKey } from './swarm-key.ts'
export type { Contact, Walk, WalkAnswer, WalkInit, WalkStep, WalkSummary } from './walk.ts'

export interface PeerInfo {
  readonly peer: string
  readonly address: string
  readonly direction: 'inbound' | 'outbound'
  /** RFC 3339. */
  readonly connectedAt: string
  /** The node's name as it says itself; unset until it answered `hello`. */
  readonly name?: string
}

export type LanStatus = 'on' | 'off' | 'no multicast route'

export interface NetworkStatus {
  readonly addresses: readonly string[]
  readonly lan: LanStatus
  readonly connections: number
  /** The mesh that this node is of. */
  readonly mesh: string
  /** Peers in the DHT's routing table. */
  readonly routingTable: number
}

export type StreamHandler = (stream: Stream, connection: Connection) => void

export type TopicVerdict = 'accept' | 'ignore' | 'reject'

/** Gossip with its author checked. */
export interface Gossip {
  /**
   * Joins a topic, or replaces its receiver. `receive` decides what becomes of each message before it travels on; it must be quick and not throw.
   *
   * @param topic starts with TOPIC_PREFIX, at most 256 characters
   * @param receive author's PeerId (its signature has been verified) and the data, at most MAX_GOSSIP_BYTES
   * @throws {MeshError} INVALID_ARGUMENT, BUSY at MAX_TOPICS
   */
  join(topic: string, receive: (author: string, data: Uint8Array) => TopicVerdict): void
  leave(topic: string): void
  /** Publishes; nobody listening is not an error. @throws {MeshError} TOO_LARGE, INVALID_ARGUMENT */
  publish(topic: string, data: Uint8Array): Promise<void>
  /** Peers known to be in the topic, connected ones only. */
  members(topic: string): readonly string[]
}

/** Counts since the node was made, and what is so now. */
export interface DhtStatus {
  /** Peers in the routing table. */
  readonly tableSize: number
  /** Nodes of the mesh, as `Dht.size`. */
  readonly size?: number
  readonly walks: number
  /** Peers asked by walks. */
  readonly messages: number
  readonly answered: number
  readonly timeout: number
  readonly unreachable: number
  readonly refused: number
  readonly invalid: number
  /** Walks that ended in a crowded place. */
  readonly crowded: number
  /** Peers of the table that were asked whether they still live. */
  readonly pings: number
  /** Peers removed from the table because they don't. */
  readonly deadRemoved: number
  /** Peers kept out of the table because it has 20 of their subnet. */
  readonly turnedAway: number
  /** How long a dial and a request may take just now. */
  readonly timeoutMs: number
  /** How long an answer usually takes; unset before there are enough. */
  readonly medianMs?: number
}

/** The way to the nodes that are responsible for a key. What it finds are hints, and nothing in them is true until proven. */
export interface Dht {
  /** Walks to a position, beginning at the closest peers of the routing table. Without a single one it ends at once. */
  walk<T>(init: WalkInit<T>): Walk<T>
  /** The closest peers of the routing table whose addresses are known, the closest first: what others are answered. */
  closest(position: Position, count: number): readonly Contact[]
  /**
   * Asks one peer as every libp2p node understands it (GET_PROVIDERS). Where the providers are is noted as hearsay, for when they are dialled.
   *
   * @throws {MeshError} TIMEOUT, UNREACHABLE, CONNECTION_LOST, UNSUPPORTED_VERSION, INVALID_MESSAGE for an answer that makes no sense
   */
  askProviders(
    peer: string,
    key: CID,
    options: { signal: AbortSignal }
  ): Promise<{ closer: readonly Contact[]; providers: readonly string[] }>
  /**
   * Asks one peer for peers closer to any position, which is the SHA-256 of the target (FIND_NODE): for a place beside a key, the
   * target is found by trying.
   *
   * @throws {MeshError} as {@link askProviders}
   */
  askCloser(peer: string, target: Uint8Array, options: { signal: AbortSignal }): Promise<readonly Contact[]>
  /** Tells one peer that this node provides a key (ADD_PROVIDER); nothing is answered. @throws {MeshError} as {@link askProviders} */
  addProvider(peer: string, key: CID, options: { signal: AbortSignal }): Promise<void>
  /** Nodes of the mesh: the median of what the last 16 complete walks say; undefined before the first. */
  readonly size: number | undefined
  /** What this node keeps for others who provide keys near to it. */
  readonly holder: Holder
  status(): DhtStatus
}

export interface NetworkComponents {
  readonly identity: Identity
  readonly emit: Emit
  /** Where known peers and ports are kept, with {@link networkMigrations}; without one they are forgotten at the end of the process. */
  readonly store?: Store
  /** libp2p's cache; without one it is in memory. */
  readonly datastore?: Datastore
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** 0 ≤ x < 1, for jitter and choice; default `Math.random`. */
  readonly random?: () => number
  /** Peers that are neither dialled nor let in; default none. */
  readonly isBlocked?: (peer: string) => boolean
  /** libp2p's logger; default a silent one. */
  readonly logger?: ComponentLogger
}

export interface NetworkInit {
  /** Multiaddrs; default {@link defaultListen}. A port 0 is remembered once it is known. */
  readonly listen?: readonly string[]
  /** Multiaddrs of peers to join by, redialled for ever. */
  readonly bootstrap?: readonly string[]
  /** Find and be found on the local network by mDNS; default true. */
  readonly lan?: boolean
  /**
   * The mesh to be of: nodes of another one are no peers. 1 to 32 of a-z, 0-9 and `-`; default the one that the store was first
   * used in, else `main`.
   */
  readonly mesh?: string
  /** Default TCP and WebSocket. */
  readonly transports?: Libp2pOptions['transports']
  /** Default Noise. */
  readonly connectionEncrypters?: Libp2pOptions['connectionEncrypters']
  /**
   * File with a libp2p pre-shared key, which nobody but its owner may read: only who has the same key connects, and sees
   * that a node is here. Read at each start. It says nothing of who a peer is. Default none: every peer may connect.
   */
  readonly swarmKey?: string
  /** Measures what goes on; default nobody does. */
  readonly measure?: Libp2pOptions['metrics']
}

/** May be stopped and started again; what was joined and handled stays. */
export interface Network {
  /** Listens and starts looking for peers. @throws {MeshError} ADDRESS_IN_USE, INVALID_ARGUMENT; INVALID_CONFIG, IO for the swarm key */
  start(): Promise<void>
  stop(): Promise<void>
  status(): NetworkStatus
  peers(): readonly PeerInfo[]
  isConnected(peer: string): boolean
  /**
   * Dials a multiaddr or a known PeerId, and keeps the peer: it is redialled with backoff, also after a restart.
   *
   * @returns the PeerId
   * @throws {MeshError} INVALID_ARGUMENT for an address that isn't one, FORBIDDEN for a blocked peer, UNREACHABLE, TIMEOUT (10 s when no signal is given), CANCELLED
   */
  connect(address: string, options?: { signal?: AbortSignal }): Promise<string>
  /** Closes every connection to a peer, forgets where it was, and no longer redials it. */
  disconnect(peer: string): void
  /** Opens a stream, dialling when needed. @throws {MeshError} FORBIDDEN for a blocked peer, UNREACHABLE, UNSUPPORTED_VERSION, TIMEOUT, CANCELLED */
  openStream(
    peer: string,
    protocols: readonly string[],
    options: { signal: AbortSignal }
  ): Promise<{ stream: Stream; connection: Connection }>
  /** Serves a protocol, 8 streams per connection; before or after the start. A handler that throws resets its stream. */
  handle(protocol: string, handler: StreamHandler): Promise<void>
  /** Where a connected peer says that it listens, without `/p2p/…`; none until it has said so. */
  addressesOf(peer: string): readonly string[]
  /** Notes where a peer that isn't connected may be, by hearsay. What is no address is left out. */
  learn(peer: string, addresses: readonly string[]): Promise<void>
  /** Records the peer's own name for {@link peers}. */
  setName(peer: string, name: string): void
  readonly gossip: Gossip
  readonly dht: Dht
}
