/**
 * libp2p, composed: transports, LAN, bootstrap, DHT, gossip, and every limit that the defaults leave open.
 *
 * @packageDocumentation
 */
import type { Connection, Stream } from '@libp2p/interface'
import type { CID } from 'multiformats/cid'

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
  /** Peers in the DHT's routing table. */
  readonly routingTable: number
}

export type StreamHandler = (stream: Stream, connection: Connection) => void

export type TopicVerdict = 'accept' | 'ignore' | 'reject'

/** Gossip with its author checked. */
export interface Gossip {
  /**
   * Joins a topic. `receive` decides what becomes of each message before it travels on; it must be quick and not throw.
   *
   * @param receive author's PeerId (its signature has been verified) and the data, at most MAX_GOSSIP_BYTES
   */
  join(topic: string, receive: (author: string, data: Uint8Array) => TopicVerdict): void
  leave(topic: string): void
  /** Publishes; nobody listening is not an error. */
  publish(topic: string, data: Uint8Array): Promise<void>
  /** Peers known to be in the topic, connected ones only. */
  members(topic: string): readonly string[]
}

/** Hints who provides a key. Nothing it says is true until the provider itself confirms it. */
export interface ProviderIndex {
  /** Announces this node as provider of the key. Resolves when the responders have been told. */
  provide(key: CID, options: { signal: AbortSignal }): Promise<void>
  /** Stops announcing; what others hold expires by itself. */
  withdraw(key: CID): void
  /** Yields PeerIds as they turn up, each once, until the walk or the signal ends; never throws. `complete` tells whether the walk ended by itself. */
  find(key: CID, options: { signal: AbortSignal; onEnd?: (complete: boolean) => void }): AsyncIterable<string>
}

export interface Network {
  /** Listens and starts looking for peers. @throws {MeshError} ADDRESS_IN_USE, INVALID_ARGUMENT */
  start(): Promise<void>
  stop(): Promise<void>
  status(): NetworkStatus
  peers(): readonly PeerInfo[]
  isConnected(peer: string): boolean
  /**
   * Dials a multiaddr or a known PeerId, and keeps the peer: it is redialled with backoff, also after a restart.
   *
   * @returns the PeerId
   * @throws {MeshError} INVALID_ARGUMENT for an address that isn't one, UNREACHABLE, TIMEOUT
   */
  connect(address: string, options?: { signal?: AbortSignal }): Promise<string>
  /** Opens a stream, dialling when needed. @throws {MeshError} UNREACHABLE, UNSUPPORTED_VERSION, TIMEOUT, CANCELLED */
  openStream(peer: string, protocols: readonly string[], options: { signal: AbortSignal }): Promise<{ stream: Stream; connection: Connection }>
  handle(protocol: string, handler: StreamHandler): Promise<void>
  /** Records the peer's own name for {@link peers}. */
  setName(peer: string, name: string): void
  readonly gossip: Gossip
  readonly providers: ProviderIndex
}
