import { MemoryDatastore } from 'datastore-core'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { sha256 } from 'multiformats/hashes/sha2'
import { describe, expect, it } from 'vitest'
import { MAX_PROVIDED_KEYS } from '../../src/network/index.ts'
import { forgetOwnProviders } from '../../src/network/providers.ts'
import { makeNode, soon, startNode, type TestNode, until } from './nodes.ts'

const key = async (text: string): Promise<CID> =>
  CID.create(1, raw.code, await sha256.digest(new TextEncoder().encode(text)))

describe('providers', () => {
  it('are found by every one of five nodes, each once, before the walk has ended', async () => {
    const nodes = await mesh(5)
    const cid = await key('tool/db.query')
    await Promise.all(nodes.slice(0, 2).map(({ network }) => network.providers.provide(cid, soon())))
    const expected = nodes.slice(0, 2).map(({ id }) => id)
    // What is put isn't acknowledged.
    for (const node of nodes) {
      const others = expected.filter((provider) => provider !== node.id).length
      await expect.poll(async () => (await search(node, cid)).found.length).toBe(others)
    }
    for (const { id, network } of nodes) {
      const found: string[] = []
      const ends: boolean[] = []
      let wasEarly = false
      for await (const peer of network.providers.find(cid, { ...soon(), onEnd: (complete) => ends.push(complete) })) {
        found.push(peer)
        wasEarly = ends.length === 0
      }
      expect(found.sort()).toEqual(expected.filter((provider) => provider !== id).sort())
      expect(ends).toEqual([true])
      expect(wasEarly).toBe(true)
    }
  })

  it('end with the search when the searcher has enough', async () => {
    const [a, b] = await mesh(2)
    const cid = await key('enough')
    await a?.network.providers.provide(cid, soon())
    const ends: boolean[] = []
    for await (const peer of b?.network.providers.find(cid, { ...soon(), onEnd: (end) => ends.push(end) }) ?? []) {
      expect(peer).toBe(a?.id)
      break
    }
    expect(ends).toEqual([false])
  })

  it('are none when nobody provides, and then the answer is complete', async () => {
    const [a] = await mesh(3)
    expect(await search(a, await key('nothing'))).toEqual({ found: [], complete: true })
  })

  it('are searched until the signal fires when no peer is known, without failing', async () => {
    const node = await startNode()
    const cid = await key('lonely')
    expect(await search(node, cid, 50)).toEqual({ found: [], complete: false })
    await node.network.providers.provide(cid, soon(50))
  })

  it('are told of by themselves when the first peer joins', async () => {
    const a = await makeNode()
    const cid = await key('early')
    await a.network.providers.provide(cid, soon(50)) // before the start
    await a.network.start()
    const late = await key('late')
    const providing = a.network.providers.provide(late, soon()) // before a peer is there
    const b = await startNode()
    await a.network.connect(b.address())
    await providing
    await until(() => b.network.status().routingTable > 0)
    for (const wanted of [cid, late]) {
      await expect.poll(() => search(b, wanted)).toMatchObject({ found: [a.id] })
    }
  })

  it('that withdrew are not announced again', async () => {
    const a = await startNode()
    const [kept, gone] = [await key('kept'), await key('gone')]
    await a.network.providers.provide(kept, soon(20))
    await a.network.providers.provide(gone, soon(20))
    a.network.providers.withdraw(gone)
    const b = await startNode()
    await a.network.connect(b.address())
    await expect.poll(() => search(b, kept)).toMatchObject({ found: [a.id] })
    expect(await search(b, gone)).toMatchObject({ found: [] })
  })

  it('may be so many and no more', async () => {
    const { network } = await makeNode()
    for (let i = 0; i < MAX_PROVIDED_KEYS; i++) await network.providers.provide(await key(`${i}`), soon())
    await expect(network.providers.provide(await key('more'), soon())).rejects.toMatchObject({ code: 'BUSY' })
  })

  it('of an earlier run are forgotten, others are kept', async () => {
    const datastore = new MemoryDatastore()
    const a = await startNode({}, { datastore })
    await a.network.connect((await startNode()).address())
    await a.network.providers.provide(await key('killed'), soon())
    expect(await providerKeys(datastore)).toEqual([expect.stringMatching(new RegExp(`/${a.id}$`))])
    await forgetOwnProviders(datastore, 'somebody else')
    expect(await providerKeys(datastore)).toHaveLength(1)
    await forgetOwnProviders(datastore, a.id)
    expect(await providerKeys(datastore)).toEqual([])
  })
})

/** Nodes that all know the first. */
async function mesh(size: number): Promise<TestNode[]> {
  const nodes: TestNode[] = []
  for (let i = 0; i < size; i++) {
    const node = await startNode()
    if (nodes[0] !== undefined) await node.network.connect(nodes[0].address())
    nodes.push(node)
  }
  await until(() => nodes.every(({ network }) => network.status().routingTable > 0))
  await until(() => nodes[0]?.network.status().routingTable === size - 1)
  return nodes
}

async function search(node: TestNode | undefined, cid: CID, timeoutMs = 5_000) {
  const found: string[] = []
  let complete: boolean | undefined
  const options = { ...soon(timeoutMs), onEnd: (end: boolean) => (complete = end) }
  for await (const peer of node?.network.providers.find(cid, options) ?? []) found.push(peer)
  return { found, complete }
}

async function providerKeys(datastore: MemoryDatastore): Promise<string[]> {
  const keys: string[] = []
  for await (const found of datastore.queryKeys({ prefix: '/dht/provider' })) keys.push(found.toString())
  return keys
}
