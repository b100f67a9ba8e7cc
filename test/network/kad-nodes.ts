import { randomUUID } from 'node:crypto'
import { identify } from '@libp2p/identify'
import type { Libp2p } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { memory } from '@libp2p/memory'
import { noise } from '@libp2p/noise'
import { type Ping, ping } from '@libp2p/ping'
import { yamux } from '@libp2p/yamux'
import { MemoryDatastore } from 'datastore-core'
import type { Datastore } from 'interface-datastore'
import { createLibp2p } from 'libp2p'
import { onTestFinished } from 'vitest'
import { boundRequests, type KadNode, kadNode, meshKad, quietKad } from '../../src/network/kad.ts'

export const KAD = '/pryx-mesh/kad/1.0.0'

/** A node with nothing but the DHT, whose inside is open. */
export interface KadTestNode {
  readonly id: string
  readonly libp2p: Libp2p<{ dht: KadDHT; ping: Ping }>
  readonly kad: KadNode
}

/** @param setUp before the start */
export async function startKadNode(
  setUp: (kad: KadNode) => void = () => {},
  datastore: Datastore = new MemoryDatastore()
): Promise<KadTestNode> {
  const libp2p = await createLibp2p({
    start: false,
    datastore,
    addresses: { listen: [`/memory/${randomUUID()}`] },
    transports: [memory()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux()],
    connectionMonitor: { enabled: false },
    services: { identify: identify(), ping: ping(), dht: meshKad(KAD) }
  })
  const kad = kadNode(libp2p.services.dht)
  boundRequests(kad)
  quietKad(kad, (peer) => libp2p.getConnections(peer).length > 0)
  setUp(kad)
  onTestFinished(() => libp2p.stop())
  await libp2p.start()
  return { id: libp2p.peerId.toString(), libp2p, kad }
}

export async function join({ libp2p }: KadTestNode, other: KadTestNode): Promise<void> {
  await libp2p.dial(other.libp2p.getMultiaddrs())
}

/** A message of kad-dht, as protobuf: what a liar sends. */
export function kadAnswer(peers: readonly { readonly id: Uint8Array; readonly multiaddrs: readonly Uint8Array[] }[]) {
  const GET_PROVIDERS = 3
  const closer = peers.map(({ id, multiaddrs }) => field(8, [field(1, [id]), ...multiaddrs.map((a) => field(2, [a]))]))
  return framed([Buffer.of(0x08, GET_PROVIDERS), ...closer])
}

/** PUT_VALUE, which asks to store a value under a key. */
export function kadPut(key: Uint8Array, value: Uint8Array): Uint8Array {
  const record = field(3, [field(1, [key]), field(2, [value]), field(5, [Buffer.from(new Date().toISOString())])])
  return framed([Buffer.of(0x08, 0), field(2, [key]), record])
}

/** FIND_NODE, which takes any key. */
export function kadFind(key: Uint8Array): Uint8Array {
  return framed([Buffer.of(0x08, 4), field(2, [key])])
}

function framed(fields: readonly Uint8Array[]): Buffer {
  const message = Buffer.concat(fields)
  return Buffer.concat([varint(message.length), message])
}

function field(number: number, parts: readonly Uint8Array[]): Buffer {
  const bytes = Buffer.concat(parts)
  return Buffer.concat([Buffer.of((number << 3) | 2), varint(bytes.length), bytes])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.of(...bytes, rest)
    bytes.push((rest % 128) | 128)
  }
}
