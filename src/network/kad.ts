import type { Connection, PeerId, PeerInfo, Stream } from '@libp2p/interface'
import { type KadDHT, kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { peerIdFromString } from '@libp2p/peer-id'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { Datastore, Key } from 'interface-datastore'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import {
  KAD_ALPHA,
  KAD_BUCKET_PEERS,
  KAD_DISJOINT_PATHS,
  KAD_JOIN_TIMEOUT_MS,
  KAD_MAX_TABLE_UPDATES,
  KAD_PREFIX_LENGTH,
  KAD_REQUEST_MAX_MS,
  KAD_REQUEST_MIN_MS,
  MAX_ADDRESSES_PER_DIAL,
  MAX_KAD_REQUEST_BYTES,
  MAX_PROVIDERS_PER_ANSWER,
  NEVER_MS
} from './constants.ts'
import type { Position } from './position.ts'
import type { Contact } from './walk.ts'

/** What is relied on inside kad-dht beside its interface, all of it checked by {@link isKadNode}. Nothing else knows of it. */
export interface KadNode extends KadDHT {
  readonly routingTable: EventTarget & {
    readonly size: number
    readonly kb: { toIterable(): Iterable<{ readonly kadId: Position; readonly peerId: PeerId }> }
    closestPeers(position: Position, options: { count: number }): PeerId[]
    remove(peer: PeerId): Promise<void>
    queueRoutingTableUpdate(peer: PeerId, options: { activeTimeout: number }): void
  }
  readonly network: Readonly<Record<'sendRequest' | 'sendMessage', Send>>
  readonly providers: {
    addProvider(key: CID, provider: PeerId): Promise<void>
    getProviders(key: CID): Promise<PeerId[]>
  }
  readonly rpc: { onIncomingStream(stream: Stream, connection: Connection): Promise<void> }
  readonly routingTableRefresh: { refreshInterval: number }
  onPeerConnect(peer: PeerInfo): Promise<void>
  dispatchEvent(event: Event): boolean
}

type Send = (to: PeerId, message: KadMessage, options: SendOptions) => AsyncIterable<SendEvent>

interface KadMessage {
  readonly type: 'FIND_NODE' | 'GET_PROVIDERS' | 'ADD_PROVIDER'
  /** The key itself, which the receiver hashes to its position. */
  readonly key: Uint8Array
  readonly providers?: readonly { readonly id: Uint8Array; readonly multiaddrs: readonly Uint8Array[] }[]
}

interface SendOptions {
  readonly signal: AbortSignal
  readonly path: typeof NO_PATH
  readonly limits: typeof ANSWER_LIMITS
}

type SendEvent =
  | { readonly name: 'PEER_RESPONSE'; readonly closer: PeerInfo[]; readonly providers: PeerInfo[] }
  | { readonly name: 'QUERY_ERROR'; readonly error: Error }
  | { readonly name: 'DIAL_PEER' | 'SEND_QUERY' }

/** The stock answer to FIND_NODE. */
export interface KadAnswer {
  readonly closer: readonly Contact[]
  readonly providers: readonly Contact[]
}

const DATASTORE_PREFIX = '/dht'

/** kad-dht counts requests by path; ours are not in one of its own. */
const NO_PATH = { index: -1, running: 0, queued: 0, total: 0 }

/** Reach its decoder with the options: stock takes 4 MiB of peers, and decodes each. A node that is looked for names itself beside the 20. */
const ANSWER_LIMITS = {
  closer: KAD_BUCKET_PEERS + 1,
  closer$: { multiaddrs: MAX_ADDRESSES_PER_DIAL },
  providers: MAX_PROVIDERS_PER_ANSWER,
  providers$: { multiaddrs: MAX_ADDRESSES_PER_DIAL }
}

/** The DHT with our settings, and nothing that it does on its own. @param protocol of our mesh */
export function meshKad(protocol: string): ReturnType<typeof kadDHT> {
  const requestTimeout = { minTimeout: KAD_REQUEST_MIN_MS, maxTimeout: KAD_REQUEST_MAX_MS }
  return kadDHT({
    protocol,
    clientMode: false, // else a LAN never has a server
    peerInfoMapper: passthroughMapper, // stock drops private addresses, on a LAN all
    kBucketSize: KAD_BUCKET_PEERS,
    alpha: KAD_ALPHA,
    disjointPaths: KAD_DISJOINT_PATHS,
    prefixLength: KAD_PREFIX_LENGTH,
    allowQueryWithZeroPeers: true, // else every query waits for the first self-query; ours wait for the first peer
    initialQuerySelfInterval: NEVER_MS,
    querySelfInterval: NEVER_MS,
    networkDialTimeout: requestTimeout,
    pingOldContactTimeout: requestTimeout,
    pingNewContactTimeout: requestTimeout,
    routingTableUpdateMaxQueueSize: KAD_MAX_TABLE_UPDATES,
    validators: { pk: refuseValue },
    reprovide: { interval: NEVER_MS } // it publishes and forgets what its store holds, which is nothing
  })
}

/** Stock stores a public key for whoever sends one, of up to 4 MiB, and forgets none. Nothing here reads values. */
async function refuseValue(): Promise<void> {
  throw new MeshError('FORBIDDEN', 'this mesh stores no values in its DHT')
}

/** True when the DHT has the internals relied on here. */
export function isKadNode(dht: KadDHT): dht is KadNode {
  const kad: Partial<KadNode> = dht
  const { routingTable, network, providers, rpc, routingTableRefresh } = kad
  return (
    has(routingTable, [
      'addEventListener',
      'removeEventListener',
      'closestPeers',
      'remove',
      'queueRoutingTableUpdate'
    ]) &&
    has(routingTable?.kb, ['toIterable']) &&
    has(network, ['sendRequest', 'sendMessage']) &&
    has(providers, ['addProvider', 'getProviders']) &&
    has(rpc, ['onIncomingStream']) &&
    typeof routingTable?.size === 'number' &&
    typeof routingTableRefresh?.refreshInterval === 'number' &&
    has(kad, ['onPeerConnect', 'dispatchEvent'])
  )
}

function has<T extends object>(part: T | undefined, methods: readonly (keyof T)[]): boolean {
  return part !== undefined && methods.every((name) => typeof part[name] === 'function')
}

/** @throws {MeshError} INTERNAL when the library is another than the one that this file knows */
export function kadNode(dht: KadDHT): KadNode {
  if (isKadNode(dht)) return dht
  throw new MeshError('INTERNAL', 'this version of @libp2p/kad-dht is not the one that the DHT was built on')
}

/**
 * Stock pings, and so dials, every peer that an answer names, up to 20 for each: a small mesh becomes a full one. Here a peer
 * enters the table once it is connected, by a walk or otherwise. Stock has libp2p keep the addresses of all that are named, for as
 * long as it keeps any: a liar could fill it. And stock walks to random keys every 5 minutes, which no option ends; the table is
 * refreshed by our own walks.
 */
export function quietKad(kad: KadNode, isConnected: (peer: PeerId) => boolean): void {
  kad.routingTableRefresh.refreshInterval = NEVER_MS
  const dispatch = kad.dispatchEvent.bind(kad)
  kad.dispatchEvent = (event) => event.type === 'peer' || dispatch(event)
  const onPeerConnect = kad.onPeerConnect.bind(kad)
  kad.onPeerConnect = async (peer) => {
    if (isConnected(peer.id)) await onPeerConnect(peer)
  }
}

/** Stock decodes requests of 4 MiB, each address of a hundred thousand in it. To be called before the start. */
export function boundRequests({ rpc }: KadNode): void {
  const onIncomingStream = rpc.onIncomingStream.bind(rpc)
  rpc.onIncomingStream = (stream, connection) => {
    let bytes = 0
    stream.addEventListener('message', ({ data }) => {
      bytes += data.byteLength
      if (bytes > MAX_KAD_REQUEST_BYTES) stream.abort(new Error('too large a request'))
    })
    return onIncomingStream(stream, connection)
  }
}

/** Forgets what kad-dht has stored in earlier versions: providers, which it would go on announcing, and values. */
export async function forgetStored(datastore: Datastore): Promise<void> {
  const stale: Key[] = []
  for await (const key of datastore.queryKeys({ prefix: DATASTORE_PREFIX })) stale.push(key)
  for (const key of stale) await datastore.delete(key)
}

/** PeerIds of the routing table. */
export function tableEntries(kad: KadNode): readonly { readonly id: string; readonly position: Position }[] {
  return [...kad.routingTable.kb.toIterable()].map(({ peerId, kadId }) => ({ id: peerId.toString(), position: kadId }))
}

/** The closest of the routing table, the closest first. */
export function closestEntries(kad: KadNode, position: Position, count: number): readonly string[] {
  return kad.routingTable.closestPeers(position, { count }).map(String)
}

export async function removeEntry(kad: KadNode, peer: string): Promise<void> {
  await kad.routingTable.remove(peerIdFromString(peer))
}

/** Lets a connected peer into the table again; it is pinged before. */
export function offerEntry(kad: KadNode, peer: string): void {
  kad.routingTable.queueRoutingTableUpdate(peerIdFromString(peer), { activeTimeout: KAD_JOIN_TIMEOUT_MS })
}

/** @returns how to stop listening */
export function onEntry(kad: KadNode, event: 'peer:add' | 'peer:remove', listener: (peer: string) => void): () => void {
  const onEvent = (event: Event): void => listener(String((event as CustomEvent<PeerId>).detail))
  kad.routingTable.addEventListener(event, onEvent)
  return () => kad.routingTable.removeEventListener(event, onEvent)
}

/**
 * Asks a connected peer for peers close to a key, and for providers of it.
 *
 * @param key the bytes that are hashed to a position: a multihash, or any for FIND_NODE
 * @throws {MeshError} TIMEOUT, UNREACHABLE, CONNECTION_LOST, UNSUPPORTED_VERSION, INVALID_MESSAGE
 */
export async function askKad(
  kad: KadNode,
  peer: string,
  request: { readonly type: 'FIND_NODE' | 'GET_PROVIDERS'; readonly key: Uint8Array },
  signal: AbortSignal
): Promise<KadAnswer> {
  const answer = await outcome(kad.network.sendRequest(peerIdFromString(peer), request, options(signal)))
  return { closer: contacts(answer.closer).slice(0, KAD_BUCKET_PEERS), providers: contacts(answer.providers) }
}

/**
 * Tells a connected peer that this node provides a key; nothing is answered.
 *
 * @throws {MeshError} as {@link askKad}
 */
export async function tellProvider(
  kad: KadNode,
  peer: string,
  { key, self, addresses }: { readonly key: CID; readonly self: PeerId; readonly addresses: readonly Multiaddr[] },
  signal: AbortSignal
): Promise<void> {
  const multiaddrs = addresses.slice(0, MAX_ADDRESSES_PER_DIAL).map(({ bytes }) => bytes)
  const message: KadMessage = {
    type: 'ADD_PROVIDER',
    key: key.multihash.bytes,
    providers: [{ id: self.toMultihash().bytes, multiaddrs }]
  }
  await outcome(kad.network.sendMessage(peerIdFromString(peer), message, options(signal)))
}

function options(signal: AbortSignal): SendOptions {
  return { signal, path: NO_PATH, limits: ANSWER_LIMITS }
}

async function outcome(events: AsyncIterable<SendEvent>): Promise<SendEvent & { readonly name: 'PEER_RESPONSE' }> {
  for await (const event of events) {
    if (event.name === 'PEER_RESPONSE') return event
    if (event.name === 'QUERY_ERROR') throw toMeshError(event.error)
  }
  throw new MeshError('UNREACHABLE', 'the DHT is not running')
}

function contacts(peers: readonly PeerInfo[]): Contact[] {
  return peers.map(({ id, multiaddrs }) => ({ id: id.toString(), addresses: multiaddrs.map(String) }))
}

const CODES: Readonly<Record<string, 'TIMEOUT' | 'UNREACHABLE' | 'CONNECTION_LOST' | 'UNSUPPORTED_VERSION'>> = {
  TimeoutError: 'TIMEOUT',
  AbortError: 'TIMEOUT',
  UnsupportedProtocolError: 'UNSUPPORTED_VERSION',
  DialError: 'UNREACHABLE',
  DialDeniedError: 'UNREACHABLE',
  NoValidAddressesError: 'UNREACHABLE',
  AggregateError: 'UNREACHABLE',
  StreamResetError: 'CONNECTION_LOST',
  StreamStateError: 'CONNECTION_LOST',
  StreamClosedError: 'CONNECTION_LOST',
  StreamAbortedError: 'CONNECTION_LOST',
  ConnectionClosedError: 'CONNECTION_LOST',
  ConnectionClosingError: 'CONNECTION_LOST',
  UnexpectedEOFError: 'CONNECTION_LOST'
}

/** What isn't known to be the way's fault is the answer's. */
function toMeshError(cause: Error): MeshError {
  if (cause instanceof MeshError) return cause
  const code = CODES[cause.name] ?? 'INVALID_MESSAGE'
  const texts = {
    TIMEOUT: 'no answer in time',
    UNREACHABLE: 'the dial failed',
    CONNECTION_LOST: 'it broke off',
    UNSUPPORTED_VERSION: 'it is not part of the DHT',
    INVALID_MESSAGE: 'its answer makes no sense'
  }
  return new MeshError(code, texts[code], { cause })
}
