import { publicKeyToProtobuf } from '@libp2p/crypto/keys'
import { peerIdFromString } from '@libp2p/peer-id'
import { MemoryDatastore } from 'datastore-core'
import { Key } from 'interface-datastore'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { describe, expect, it, vi } from 'vitest'
import { MAX_KAD_REQUEST_BYTES } from '../../src/network/constants.ts'
import {
  askKad,
  closestEntries,
  forgetStored,
  isKadNode,
  type KadNode,
  kadNode,
  offerEntry,
  onEntry,
  removeEntry,
  tableEntries,
  tellProvider
} from '../../src/network/kad.ts'
import { hash, positionOf, positionOfPeer } from '../../src/network/position.ts'
import { failureOf } from '../nodes.ts'
import { closestTo, fakeId } from './fake-mesh.ts'
import { join, KAD, type KadTestNode, kadAnswer, kadFind, kadPut, startKadNode } from './kad-nodes.ts'
import { soon, until } from './nodes.ts'

const key = CID.create(1, raw.code, await sha256.digest(new TextEncoder().encode('a key')))
const { signal } = soon(20_000)
const request = { type: 'GET_PROVIDERS' as const, key: key.multihash.bytes }

/** What kad-dht has inside and we rely on: when one of these fails, the library has changed and src/network/kad.ts must follow. */
describe('inside kad-dht', () => {
  it('there is all that is relied on, and what is missing is noticed', async () => {
    const { kad } = await startKadNode()
    expect(isKadNode(kad)).toBe(true)
    const parts = ['routingTable', 'network', 'providers', 'rpc', 'routingTableRefresh', 'onPeerConnect']
    const unnoticed = parts.filter((part) => isKadNode(Object.create(kad, { [part]: { value: undefined } })))
    expect(unnoticed).toEqual([])
    const table = Object.create(kad.routingTable, { closestPeers: { value: undefined } })
    const changed = Object.create(kad, { routingTable: { value: table } }) as KadNode
    expect(() => kadNode(changed)).toThrow(/not the one that the DHT was built on/)
  })

  it('the table lists its peers with their positions, the closest to any position first', async () => {
    const [first] = await star(12)
    const entries = tableEntries(first.kad)
    expect(entries).toHaveLength(11)
    for (const { id, position } of entries) expect(Buffer.from(position)).toEqual(Buffer.from(positionOfPeer(id)))
    const position = positionOf(key)
    const ids = entries.map(({ id }) => id)
    expect(closestEntries(first.kad, position, 5)).toEqual(closestTo(position, ids).slice(0, 5))
  })

  it('peers leave the table and enter it again, and it tells', async () => {
    const [first, second] = await star(2)
    const events: string[] = []
    const off = [
      onEntry(first.kad, 'peer:add', (peer) => events.push(`add ${peer}`)),
      onEntry(first.kad, 'peer:remove', (peer) => events.push(`remove ${peer}`))
    ]
    await removeEntry(first.kad, second.id)
    expect(tableEntries(first.kad)).toEqual([])
    offerEntry(first.kad, second.id)
    await until(() => first.kad.routingTable.size === 1)
    expect(events).toEqual([`remove ${second.id}`, `add ${second.id}`])
    for (const stop of off) stop()
    await removeEntry(first.kad, second.id)
    expect(events).toHaveLength(2)
  })

  it('a key is placed where we say it is: holders of it answer with the closest', async () => {
    const [first, second, ...others] = await star(30)
    const ids = [second, ...others].map(({ id }) => id)
    const { closer } = await askKad(second.kad, first.id, request, signal)
    expect(closer.map(({ id }) => id)).toEqual(closestTo(positionOf(key), ids).slice(0, 20))
    expect(closer.every(({ addresses }) => addresses.length > 0)).toBe(true)
    const target = Buffer.from('any bytes')
    const nodes = await askKad(second.kad, first.id, { type: 'FIND_NODE', key: target }, signal)
    const but = ids.filter((id) => id !== second.id)
    expect(nodes.closer.map(({ id }) => id)).toEqual(closestTo(hash(target), but).slice(0, 20))
  })

  it('providers go through the two functions of its store', async () => {
    const stored: string[] = []
    const setUp = ({ providers }: KadNode): void => {
      providers.addProvider = async (cid, peer) => void stored.push(`${cid.multihash.bytes.length} ${peer.toString()}`)
      providers.getProviders = async () => stored.map((text) => peerIdFromString(text.split(' ')[1] ?? ''))
    }
    const [holder, provider] = [await startKadNode(setUp), await startKadNode()]
    await join(provider, holder)
    await until(() => provider.kad.routingTable.size === 1)
    await tellProvider(
      provider.kad,
      holder.id,
      { key, self: provider.libp2p.peerId, addresses: provider.libp2p.getMultiaddrs() },
      signal
    )
    await until(() => stored.length > 0)
    expect(stored).toEqual([`34 ${provider.id}`])
    await expect.poll(async () => (await askKad(provider.kad, holder.id, request, signal)).providers).toHaveLength(1)
  })

  it('nobody is dialled for being named, and nothing is walked by itself', async () => {
    const nodes = await star(8)
    const [first, second] = nodes
    const sent = nodes.map(({ kad }) => vi.spyOn(kad.network, 'sendRequest'))
    await askKad(second.kad, first.id, request, signal)
    expect(second.libp2p.getConnections()).toHaveLength(1)
    expect(await second.libp2p.peerStore.all()).toHaveLength(1) // a liar can't fill it
    expect(sent.flatMap(({ mock }) => mock.calls)).toHaveLength(1)
  })

  it('nobody can have a value stored', async () => {
    const datastore = new MemoryDatastore()
    const [target, liar] = [await startKadNode(() => {}, datastore), await startKadNode()]
    await join(liar, target)
    const { publicKey } = liar.libp2p.peerId
    if (publicKey === undefined) throw new Error('every Ed25519 PeerId has its key in it')
    const multihash = liar.libp2p.peerId.toMultihash().bytes
    const message = kadPut(Buffer.concat([Buffer.from('/pk/'), multihash]), publicKeyToProtobuf(publicKey))
    expect(await fate(liar, target, message)).toBe('StreamResetError')
    expect(await Array.fromAsync(datastore.queryKeys({ prefix: '/dht' }))).toEqual([])
  })

  it('a request that is larger than any is cut off before it is read', async () => {
    const [liar, target] = await star(2)
    expect(await fate(liar, target, kadFind(Buffer.alloc(100)))).toBe('answered')
    expect(await fate(liar, target, kadFind(Buffer.alloc(MAX_KAD_REQUEST_BYTES)))).toBe('StreamResetError')
  })

  it('what an earlier version had it store is forgotten, or it would announce it for ever', async () => {
    const datastore = new MemoryDatastore()
    const { kad, libp2p } = await startKadNode(() => {}, datastore)
    const [own, other] = [libp2p.peerId, peerIdFromString(fakeId('other'))]
    for (const peer of [own, other]) await kad.providers.addProvider(key, peer)
    await datastore.put(new Key('/peers/x'), new Uint8Array())
    await forgetStored(datastore)
    expect(await kad.providers.getProviders(key)).toEqual([])
    expect(await Array.fromAsync(datastore.queryKeys({}))).toContainEqual(new Key('/peers/x'))
  })

  it.each([
    ['an answer of too many peers', kadAnswer(fakes(22, 1)), 'INVALID_MESSAGE'],
    ['a peer with too many addresses', kadAnswer(fakes(1, 17)), 'INVALID_MESSAGE'],
    ['bytes that are no message', Buffer.concat([Buffer.of(40), Buffer.alloc(40, 0xff)]), 'INVALID_MESSAGE'],
    ['a peer whose id is none', kadAnswer([{ id: Buffer.from('nobody'), multiaddrs: [] }]), 'INVALID_MESSAGE'],
    ['nothing', Buffer.alloc(0), 'CONNECTION_LOST'],
    ['less than it says', Buffer.of(200, 1, 8, 3), 'CONNECTION_LOST']
  ] as const)('refuses %s', async (_, bytes, code) => {
    const [liar, asker] = await star(2)
    await liar.libp2p.handle(
      KAD,
      async (stream) => {
        stream.send(bytes)
        await stream.close()
      },
      { force: true }
    )
    expect(await failureOf(askKad(asker.kad, liar.id, request, signal))).toMatchObject({ code })
  })

  it('takes 20 peers, and tells failures of the way from those of the answer', async () => {
    const [honest, asker] = await star(2)
    const answer = kadAnswer(fakes(20, 1))
    await honest.libp2p.handle(KAD, (stream) => void stream.send(answer), { force: true })
    expect((await askKad(asker.kad, honest.id, request, signal)).closer).toHaveLength(20)
    await honest.libp2p.handle(KAD, (stream) => stream.abort(new Error('no')), { force: true })
    expect(await failureOf(askKad(asker.kad, honest.id, request, signal))).toMatchObject({ code: 'CONNECTION_LOST' })
    await honest.libp2p.handle(KAD, () => {}, { force: true })
    const hung = askKad(asker.kad, honest.id, request, AbortSignal.timeout(50))
    expect(await failureOf(hung)).toMatchObject({ code: 'TIMEOUT' })
    await honest.libp2p.unhandle(KAD)
    const refused = askKad(asker.kad, honest.id, request, signal)
    expect(await failureOf(refused)).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    await asker.libp2p.stop()
    const stopped = askKad(asker.kad, honest.id, request, signal)
    expect(await failureOf(stopped)).toMatchObject({ code: 'UNREACHABLE' })
  })
})

/** What becomes of a stream on which this is sent. */
async function fate(from: KadTestNode, to: KadTestNode, bytes: Uint8Array): Promise<string> {
  const stream = await from.libp2p.dialProtocol(to.libp2p.peerId, KAD)
  const { promise, resolve } = Promise.withResolvers<string>()
  stream.addEventListener('close', ({ error }) => resolve(error?.name ?? 'closed'))
  stream.addEventListener('message', () => resolve('answered'))
  stream.send(bytes)
  return promise
}

type Star = readonly [KadTestNode, KadTestNode, ...KadTestNode[]]

/** Nodes that the first knows, and that know the first. */
async function star(size: number): Promise<Star> {
  const first = await startKadNode()
  const others = await Promise.all(Array.from({ length: size - 1 }, () => startKadNode()))
  for (const other of others) await join(other, first)
  await until(() => first.kad.routingTable.size === size - 1)
  await until(() => others.every(({ kad }) => kad.routingTable.size === 1))
  return [first, ...others] as unknown as Star
}

function fakes(count: number, addresses: number) {
  const multiaddr = Buffer.from('047f00000106', 'hex') // /ip4/127.0.0.1/tcp/…
  return Array.from({ length: count }, (_, i) => ({
    id: peerIdFromString(fakeId(`${i}`)).toMultihash().bytes,
    multiaddrs: Array.from({ length: addresses }, (_, port) => Buffer.concat([multiaddr, Buffer.of(16, port)]))
  }))
}
