import { peerIdFromString } from '@libp2p/peer-id'
import { describe, expect, it } from 'vitest'
import { JANITOR_TICK_MS, MAX_TABLE_PEERS } from '../../src/network/constants.ts'
import { Janitor, type JanitorInit } from '../../src/network/janitor.ts'
import { type KadNode, tableEntries } from '../../src/network/kad.ts'
import { distance, type Position, positionOfPeer, shareOfRing } from '../../src/network/position.ts'
import { closestTo, fakeId } from './fake-mesh.ts'
import { join, type KadTestNode, startKadNode } from './kad-nodes.ts'
import { until } from './nodes.ts'

const MINUTE_MS = 60_000

describe('the janitor of a real table', () => {
  it('takes out the half of the mesh that has stopped within two minutes, and nobody else', async () => {
    const node = await startKadNode()
    const others = await joined(node, 24)
    const stopped = others.filter((_, i) => i % 2 === 0)
    for (const { libp2p } of stopped) await libp2p.stop()
    await until(() => node.libp2p.getConnections().length === 12)
    expect(node.kad.routingTable.size).toBe(24)
    const janitor = janitorOf(node)
    let ticks = 0
    for (; ticks * JANITOR_TICK_MS < 2 * MINUTE_MS; ticks++) await janitor.tick()
    const living = others.filter((other) => !stopped.includes(other)).map(({ id }) => id)
    expect(
      tableEntries(node.kad)
        .map(({ id }) => id)
        .sort()
    ).toEqual(living.sort())
    expect(janitor.removed).toBe(12)
    expect(janitor.pings).toBe(24) // two for each of the dead
  })

  it('asks at once after a failed request, and lets in who is back', async () => {
    const node = await startKadNode()
    const [other] = await joined(node, 2)
    if (other === undefined) throw new Error('nobody joined')
    let isHung = true
    const janitor = janitorOf(node, {
      ping: async (peer) => {
        if (isHung && peer === other.id) throw new Error('no answer')
      }
    })
    await janitor.suspect(other.id)
    expect(tableEntries(node.kad).map(({ id }) => id)).not.toContain(other.id)
    expect(janitor).toMatchObject({ pings: 1, removed: 1 })
    isHung = false
    janitor.seen(other.id)
    await until(() => node.kad.routingTable.size === 2)
    await janitor.suspect(other.id)
    expect(janitor).toMatchObject({ pings: 2, removed: 1 })
  })
})

describe('the janitor', () => {
  it('leaves the connected alone until a request to them fails', async () => {
    const { janitor, pinged } = fake(10, { isConnected: () => true })
    for (let i = 0; i < 20; i++) await janitor.tick()
    expect(pinged).toEqual([])
    await janitor.suspect(fakeId('3'))
    expect(pinged).toEqual([fakeId('3')])
  })

  it('asks after the others in turn, each as often', async () => {
    const { janitor, pinged, ids } = fake(10)
    for (let i = 0; i < 30; i++) await janitor.tick()
    expect(pinged.toSorted()).toEqual([...ids, ...ids, ...ids].toSorted())
    expect(pinged.slice(0, 10)).toEqual(pinged.slice(10, 20))
  })

  it('removes nobody for one failure', async () => {
    let failing = true
    const { janitor, ids, table } = fake(1, {
      ping: async () => {
        failing = !failing
        if (!failing) throw new Error('lost on the way')
      }
    })
    for (let i = 0; i < 10; i++) await janitor.tick()
    expect([...table.keys()]).toEqual(ids)
  })

  it('removes nobody while this node itself is cut off, and none after it was', async () => {
    let isAlone = true
    const { janitor, pinged, table } = fake(5, {
      isAlone: () => isAlone,
      ping: () => Promise.reject(new Error('gone'))
    })
    for (let i = 0; i < 10; i++) await janitor.tick()
    await janitor.suspect(fakeId('1'))
    expect([pinged, table.size]).toEqual([[], 5])
    isAlone = false
    await janitor.suspect(fakeId('1'))
    expect(table.size).toBe(4)
  })

  it('starts no storm when all requests fail at once', async () => {
    let running = 0
    let most = 0
    const ping = async (): Promise<void> => {
      most = Math.max(most, ++running)
      await new Promise((resolve) => setImmediate(resolve))
      running--
      throw new Error('gone')
    }
    const { janitor, ids, table } = fake(40, { ping })
    await Promise.all(ids.map((id) => janitor.suspect(id)))
    expect(most).toBe(4)
    for (let i = 0; i < 10; i++) await janitor.tick()
    expect(most).toBeLessThanOrEqual(5)
    expect(table.size).toBe(0)
  })

  it('looks at nobody who is not in the table', async () => {
    const { janitor, pinged } = fake(2)
    await janitor.suspect(fakeId('somebody'))
    expect(pinged).toEqual([])
  })

  it('stops with the node, and judges nothing by what it cut off', async () => {
    const { janitor, table } = fake(3, {
      ping: (_, { signal }) =>
        new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error)))
    })
    const checks = [janitor.suspect(fakeId('0')), janitor.suspect(fakeId('1'))]
    janitor.stop()
    await Promise.all(checks)
    expect(table.size).toBe(3)
    janitor.start()
  })

  it('keeps a table bounded, and its own neighbourhood whole', async () => {
    const { janitor, ids, table, self } = fake(MAX_TABLE_PEERS + 300, { isConnected: (peer) => peer === fakeId('7') })
    for (let i = 0; i < 10; i++) await janitor.tick()
    expect(table.size).toBe(MAX_TABLE_PEERS)
    const left = [...table.keys()]
    expect(left).toContain(fakeId('7'))
    const near = closestTo(self, ids).slice(0, 100)
    expect(near.filter((id) => !table.has(id))).toEqual([])
    const far = left.filter((id) => shareOfRing(distance(positionOfPeer(id), self)) >= 0.5)
    expect(far.length).toBeGreaterThan(300)
  })
})

async function joined(node: KadTestNode, count: number): Promise<KadTestNode[]> {
  const others = await Promise.all(Array.from({ length: count }, () => startKadNode()))
  for (const other of others) await join(node, other)
  await until(() => node.kad.routingTable.size === count)
  return others
}

function janitorOf({ libp2p, kad, id }: KadTestNode, init: Partial<JanitorInit> = {}): Janitor {
  return new Janitor({
    kad,
    self: positionOfPeer(id),
    isConnected: (peer) => libp2p.getPeers().some((other) => other.toString() === peer),
    isAlone: () => libp2p.getConnections().length === 0,
    ping: async (peer, options) => void (await libp2p.services.ping.ping(peerIdFromString(peer), options)),
    random: () => 0.5,
    ...init
  })
}

/** A janitor of a table that is only a list. */
function fake(size: number, init: Partial<JanitorInit> = {}) {
  const ids = Array.from({ length: size }, (_, i) => fakeId(`${i}`))
  const table = new Map<string, Position>(ids.map((id) => [id, positionOfPeer(id)]))
  const pinged: string[] = []
  const self = positionOfPeer(fakeId('self'))
  const entries = () => [...table].map(([id, kadId]) => ({ peerId: { toString: () => id }, kadId }))
  const remove = async (peer: unknown) => void table.delete(String(peer))
  const janitor = new Janitor({
    // Only these two are looked at
    kad: { routingTable: { kb: { toIterable: entries }, remove } } as unknown as KadNode,
    self,
    isConnected: () => false,
    isAlone: () => false,
    random: () => 0.5,
    ...init,
    ping: async (peer, options) => {
      pinged.push(peer)
      await init.ping?.(peer, options)
    }
  })
  return { janitor, pinged, ids, table, self }
}
