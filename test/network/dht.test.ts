import { peerIdFromString } from '@libp2p/peer-id'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { describe, expect, it } from 'vitest'
import type { MeshDht } from '../../src/network/dht.ts'
import { positionOf, type Walk, type WalkInit, type WalkStep } from '../../src/network/index.ts'
import { positionOfPeer } from '../../src/network/position.ts'
import { failureOf } from '../nodes.ts'
import { closestTo, fakeId, seeded } from './fake-mesh.ts'
import { KAD, kadAnswer } from './kad-nodes.ts'
import { ECHO, makeNode, soon, startNode, type TestNode, until } from './nodes.ts'

const FIND = { paths: 3, alpha: 4, width: 20, maxMessages: 200 }
const LONG = 30_000

describe('a mesh of real nodes', { timeout: LONG }, () => {
  it('is walked to the closest of a key, by which its size is known', async () => {
    const nodes = await mesh(40)
    const ids = nodes.map(({ id }) => id)
    const tables = nodes.map(({ network }) => network.dht.status().tableSize)
    expect(Math.max(...tables)).toBeLessThan(20) // else nobody had to be asked
    for (const [i, searcher] of nodes.slice(0, 3).entries()) {
      const key = await keyOf(`key ${i}`)
      const { complete, closest, crowded, messages } = await walk(searcher, key).summary
      expect({ complete, crowded }).toEqual({ complete: true, crowded: false })
      const others = ids.filter((id) => id !== searcher.id)
      const truth = closestTo(positionOf(key), others).slice(0, 20)
      expect(closest.filter((id) => truth.includes(id)).length).toBeGreaterThanOrEqual(19)
      const { dht } = searcher.network
      expect(dht.size).toBeGreaterThan(20)
      expect(dht.size).toBeLessThan(80)
      expect(dht.status()).toMatchObject({ walks: 1, messages, answered: messages, timeout: 0, invalid: 0, crowded: 0 })
      expect(dht.status().tableSize).toBeGreaterThan(tables[i] ?? 0)
      // Who was asked is known now, and told to others
      const told = dht.closest(positionOf(key), 20)
      expect(told.map(({ id }) => id)).toEqual(
        closestTo(
          positionOf(key),
          told.map(({ id }) => id)
        )
      )
      expect(told.every(({ addresses }) => addresses.some((text) => text.startsWith('/memory/')))).toBe(true)
    }
  })

  it('is asked no more once the searcher has what it wants', async () => {
    const nodes = await mesh(20)
    const key = await keyOf('early')
    const [searcher] = nodes
    const found = walk(searcher, key)
    let first: string | undefined
    for await (const { peer } of found) {
      first = peer
      break
    }
    expect(nodes.map(({ id }) => id)).toContain(first)
    const { complete, messages } = await found.summary
    expect(complete).toBe(false)
    expect(messages).toBeLessThanOrEqual(13)
    expect(searcher.network.dht.size).toBeUndefined()
  })

  it('names a provider to who asks, and where it is', async () => {
    const nodes = await mesh(12)
    const [searcher, provider] = [nodes[0], nodes[11]]
    if (provider === undefined) throw new Error('too few nodes')
    const key = await keyOf('provided')
    await provider.network.handle(ECHO, () => {})
    const publish = walk(provider, key)
    const { closest } = await publish.summary
    await Promise.all(closest.map((peer) => provider.network.dht.addProvider(peer, key, soon())))
    const named = async (): Promise<readonly string[]> => {
      for await (const { value } of walk(searcher, key)) if (value.length > 0) return value
      return []
    }
    await expect.poll(named).toEqual([provider.id])
    await searcher.network.openStream(provider.id, [ECHO], soon())
  })

  it('is walked past nodes that hang, refuse, lie or speak nothing of the kind', async () => {
    const nodes = await mesh(30)
    const [searcher] = nodes
    const key = await keyOf('hostile')
    const byDistance = closestTo(
      positionOf(key),
      nodes.slice(1).map(({ id }) => id)
    )
    const at = (rank: number) => nodes.find(({ id }) => id === byDistance[rank])
    const near = Array.from({ length: 20 }, (_, i) => fakeId(`fake ${i}`))
    const fakes = kadAnswer(near.map((id) => ({ id: peerIdFromString(id).toMultihash().bytes, multiaddrs: [] })))
    await at(0)?.network.handle(KAD, () => {})
    await at(1)?.network.handle(KAD, (stream) => stream.abort(new Error('no')))
    await at(2)?.network.handle(KAD, (stream) => void stream.send(fakes))
    await at(3)?.network.handle(KAD, (stream) => void stream.send(Buffer.from([3, 0xff, 0xff, 0xff])))
    const steps: WalkStep[] = []
    const { complete, closest } = await walk(searcher, key, { onStep: (step) => steps.push(step) }).summary
    expect(complete).toBe(true)
    expect(closest.filter((id) => byDistance.slice(4, 22).includes(id)).length).toBeGreaterThanOrEqual(17)
    const outcomeOf = (peer: string | undefined) => steps.find((step) => step.peer === peer)?.outcome
    expect(byDistance.slice(0, 4).map(outcomeOf)).toEqual(['timeout', 'unreachable', 'answered', 'invalid'])
    const asked = steps.filter(({ peer }) => near.includes(peer))
    expect(new Set(asked.map(({ outcome, reason }) => `${outcome} ${reason?.split(': ')[1]}`))).toEqual(
      new Set(asked.length === 0 ? [] : ['unreachable no address of it is known'])
    )
    const { timeout, invalid } = searcher.network.dht.status()
    expect({ timeout, invalid }).toEqual({ timeout: 1, invalid: 1 })
  })

  it('learns of its neighbourhood and of its size by itself', async () => {
    const nodes = await mesh(15)
    // What the node does on its own every ten minutes
    const { dht } = (nodes[14] ?? nodes[0]).network as unknown as { dht: MeshDht }
    expect(dht.status().tableSize).toBeLessThan(14)
    await dht.refresh('self')
    await until(() => dht.status().tableSize === 14)
    await dht.refresh('random')
    expect(dht.size).toBe(15)
  })
})

describe('the DHT of one node', () => {
  it('walks nowhere before the start, alone, or after the stop', async () => {
    const node = await makeNode()
    const key = await keyOf('nobody')
    const nowhere = { complete: false, messages: 0, closest: [], crowded: false }
    expect(await walk(node, key).summary).toEqual(nowhere)
    expect(await failureOf(node.network.dht.askProviders(node.id, key, soon()))).toMatchObject({ code: 'UNREACHABLE' })
    expect(node.network.dht.closest(positionOf(key), 20)).toEqual([])
    await node.network.start()
    expect(await walk(node, key).summary).toEqual(nowhere)
    await node.network.stop()
    expect(await walk(node, key).summary).toEqual(nowhere)
  })

  it('ends its walks with the node', async () => {
    const [a, b] = [await startNode(), await startNode()]
    await b.network.handle(KAD, () => {})
    await a.network.connect(b.address())
    await until(() => a.network.dht.status().tableSize === 1)
    const walking = walk(a, await keyOf('stopped'))
    await a.network.stop()
    expect(await walking.summary).toMatchObject({ complete: false, messages: 1 })
  })

  it('dials nobody whom the owner has blocked', async () => {
    const blocked = new Set<string>()
    const [a, b] = [await startNode({}, { isBlocked: (peer) => blocked.has(peer) }), await startNode()]
    await a.network.connect(b.address())
    await until(() => a.network.dht.status().tableSize === 1)
    blocked.add(b.id)
    a.network.disconnect(b.id)
    await until(() => !a.network.isConnected(b.id))
    const steps: WalkStep[] = []
    await walk(a, await keyOf('blocked'), { onStep: (step) => steps.push(step) }).summary
    expect(steps).toMatchObject([{ peer: b.id, outcome: 'refused', reason: expect.stringMatching(/has blocked/) }])
  })

  it('tells others where a peer is now, not where it was', async () => {
    const [a, before] = [await startNode(), await startNode()]
    await before.network.connect(a.address())
    const told = () => a.network.dht.closest(positionOfPeer(before.id), 1)[0]?.addresses
    const at = (node: TestNode) => node.address().replace(/\/p2p\/.*/, '')
    await expect.poll(told).toEqual([at(before)])
    await before.network.stop()
    const after = await startNode({}, { identity: before.identity })
    await after.network.connect(a.address())
    await expect.poll(told).toEqual([at(after)])
  })

  it('places a peer and a key where every Kademlia of libp2p does', async () => {
    const key = CID.parse('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy')
    expect(Buffer.from(positionOf(key)).toString('hex')).toHaveLength(64)
    expect(Buffer.from(positionOf(key))).toEqual(Buffer.from((await sha256.digest(key.multihash.bytes)).digest))
    const id = fakeId('x')
    const multihash = peerIdFromString(id).toMultihash().bytes
    expect(Buffer.from(positionOfPeer(id))).toEqual(Buffer.from((await sha256.digest(multihash)).digest))
  })
})

async function keyOf(text: string): Promise<CID> {
  return CID.create(1, raw.code, await sha256.digest(new TextEncoder().encode(text)))
}

function walk(
  { network: { dht } }: TestNode,
  key: CID,
  init: Partial<WalkInit<readonly string[]>> = {}
): Walk<readonly string[]> {
  return dht.walk({
    position: positionOf(key),
    ask: async (peer, options) => {
      const { closer, providers } = await dht.askProviders(peer, key, options)
      return { closer, value: providers }
    },
    ...FIND,
    ...soon(LONG),
    ...init
  })
}

/** Nodes that each joined by three of those before them. */
async function mesh(size: number, seed = 1): Promise<readonly [TestNode, ...TestNode[]]> {
  const random = seeded(seed)
  const first = await startNode()
  const nodes: [TestNode, ...TestNode[]] = [first]
  for (let i = 1; i < size; i++) {
    const node = await startNode()
    for (let j = 0; j < 3; j++) await node.network.connect(nodes[Math.floor(random() * i)]?.address() ?? '')
    nodes.push(node)
  }
  await until(() => nodes.every(({ network }) => network.dht.status().tableSize > 0))
  return nodes
}
