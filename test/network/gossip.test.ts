import { multiaddr } from '@multiformats/multiaddr'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { tidyConnections } from '../../src/network/connections.ts'
import { createGossip, type MeshGossip } from '../../src/network/gossip.ts'
import { MAX_GOSSIP_BYTES, MAX_TOPICS } from '../../src/network/index.ts'
import { composeLibp2p, type MeshLibp2p, silentLogger, stopLibp2p } from '../../src/network/libp2p.ts'
import { meshIds } from '../../src/network/mesh.ts'
import { LOOPBACK_TCP, LOOPBACK_WS, makeNode, startNode, type TestNode, until } from './nodes.ts'

const TOPIC = '/pryx-mesh/catalogue/1'
const HELLO = new TextEncoder().encode('hello')

describe('gossip', () => {
  it('reaches 17 of 17 on one IP address in a star, with its author', async () => {
    const hub = await startNode({ listen: [LOOPBACK_TCP] })
    const leaves: TestNode[] = []
    const received = new Set<string>()
    for (let i = 0; i < 17; i++) leaves.push(await startNode({ listen: [LOOPBACK_TCP] }))
    const [author] = leaves
    if (author === undefined) throw new Error('no leaf')
    for (const { id, network } of [hub, ...leaves]) {
      network.gossip.join(TOPIC, (from, data) => {
        received.add(`${id} ${from} ${new TextDecoder().decode(data)}`)
        return 'accept'
      })
    }
    for (const leaf of leaves) await leaf.network.connect(hub.address())
    await until(() => hub.network.gossip.members(TOPIC).length === 17)
    await until(() => author.network.gossip.members(TOPIC).includes(hub.id))
    await author.network.gossip.publish(TOPIC, HELLO)
    await until(() => received.size === 17)
    expect([...received].every((line) => line.endsWith(`${author.id} hello`))).toBe(true)
  }, 60_000)

  it('reaches a node that joins the topic long after it connected, and hears it', async () => {
    const [a, b] = await connectedPair()
    const heard: string[] = []
    a.network.gossip.join(TOPIC, (author) => {
      heard.push(`a ${author}`)
      return 'accept'
    })
    await until(() => a.network.gossip.members(TOPIC).length === 0 && a.network.status().connections === 1)
    await published(a, b, '/pryx-mesh/other/1') // by now b has long been told of a's subscription
    b.network.gossip.join(TOPIC, (author) => {
      heard.push(`b ${author}`)
      return 'accept'
    })
    expect(b.network.gossip.members(TOPIC)).toEqual([a.id])
    await until(() => a.network.gossip.members(TOPIC).includes(b.id))
    await a.network.gossip.publish(TOPIC, HELLO)
    await b.network.gossip.publish(TOPIC, HELLO)
    await until(() => heard.length === 2)
    expect(heard.sort()).toEqual([`a ${b.id}`, `b ${a.id}`])
  })

  it('stops delivering after leave, and starts again after join', async () => {
    const [a, b] = await connectedPair()
    await published(a, b, TOPIC)
    b.network.gossip.leave(TOPIC)
    await until(() => a.network.gossip.members(TOPIC).length === 0)
    await published(a, b, TOPIC)
    expect(a.network.gossip.members(TOPIC)).toEqual([b.id])
  })

  it('goes on when the connection that carried it ends and another remains', async () => {
    const [a, b] = [await startBare(LOOPBACK_TCP, LOOPBACK_WS), await startBare()]
    const heard: string[] = []
    a.gossip.join(TOPIC, (author) => {
      heard.push(author)
      return 'accept'
    })
    const [overTcp, overWebSocket] = a.node.getMultiaddrs()
    if (overTcp === undefined || overWebSocket === undefined) throw new Error('listens on two addresses')
    const first = await b.node.dial(overTcp)
    await until(() => b.gossip.members(TOPIC).length === 1)
    await b.node.dial(overWebSocket, { force: true })
    await until(() => a.node.getConnections().length === 2)
    await quiet(a.node, b.node) // the identify of a start would heal it too
    first.abort(new Error('pulled'))
    await until(() => a.node.getConnections().length === 1 && b.node.getConnections().length === 1)
    await until(() => {
      void b.gossip.publish(TOPIC, HELLO)
      return heard.length > 0
    })
    expect(new Set(heard)).toEqual(new Set([b.node.peerId.toString()]))
  }, 20_000)

  it('passes on what is accepted only, and a receiver that throws ignores', async () => {
    const [a, b] = await connectedPair()
    const c = await startNode()
    await c.network.connect(b.address())
    const atB: string[] = []
    const atC: string[] = []
    b.network.gossip.join(TOPIC, (_author, data) => {
      const text = new TextDecoder().decode(data)
      atB.push(text)
      if (text === 'throw') throw new Error('defect')
      return text === 'good' ? 'accept' : 'ignore'
    })
    c.network.gossip.join(TOPIC, (_author, data) => {
      atC.push(new TextDecoder().decode(data))
      return 'accept'
    })
    await until(() => a.network.gossip.members(TOPIC).length === 1 && b.network.gossip.members(TOPIC).length === 1)
    for (const text of ['bad', 'throw', 'good']) {
      await a.network.gossip.publish(TOPIC, new TextEncoder().encode(text))
      await until(() => atB.includes(text))
    }
    await until(() => atC.length > 0)
    expect(atC).toEqual(['good'])
  })

  it('makes rejected messages cost their sender its hearing', async () => {
    const sender = await startNode({ listen: [LOOPBACK_TCP] })
    const { node, gossip } = await startBare()
    let judged = 0
    gossip.join(TOPIC, () => {
      judged++
      return 'reject'
    })
    await node.dial(multiaddr(sender.address()))
    await until(() => sender.network.gossip.members(TOPIC).length === 1)
    for (let i = 1; i <= 3; i++) {
      await sender.network.gossip.publish(TOPIC, Uint8Array.of(i))
      await until(() => judged === i)
    }
    const router = node.services.pubsub as unknown as { getScore(peer: string): number }
    // Below -80 nothing is read from a peer any more; scores are cached for a second
    await until(() => router.getScore(sender.id) < -80)
    expect(judged).toBe(3)
  })

  it('refuses what is too large, what is no topic of the mesh, and too many topics', async () => {
    const { gossip } = (await startNode()).network
    const limit = new Uint8Array(MAX_GOSSIP_BYTES)
    await expect(gossip.publish(TOPIC, limit)).resolves.toBeUndefined()
    await expect(gossip.publish(TOPIC, new Uint8Array(MAX_GOSSIP_BYTES + 1))).rejects.toMatchObject({
      code: 'TOO_LARGE'
    })
    await expect(gossip.publish('/elsewhere', HELLO)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(() => gossip.join(`/pryx-mesh/${'x'.repeat(256)}`, () => 'accept')).toThrow(
      expect.objectContaining({ code: 'INVALID_ARGUMENT' })
    )
    for (let i = 0; i < MAX_TOPICS; i++) gossip.join(`/pryx-mesh/topic/${i}`, () => 'accept')
    gossip.join('/pryx-mesh/topic/0', () => 'ignore') // a new receiver takes no place
    expect(() => gossip.join('/pryx-mesh/topic/64', () => 'accept')).toThrow(expect.objectContaining({ code: 'BUSY' }))
  })

  it('keeps its topics across a restart, and joins those of before the start', async () => {
    const a = await makeNode({ listen: [LOOPBACK_TCP] })
    const b = await startNode({ listen: [LOOPBACK_TCP] })
    const heard: string[] = []
    a.network.gossip.join(TOPIC, (author) => {
      heard.push(author)
      return 'accept'
    })
    for (let run = 1; run <= 2; run++) {
      await a.network.start()
      await a.network.connect(b.address())
      await until(() => b.network.gossip.members(TOPIC).includes(a.id))
      await b.network.gossip.publish(TOPIC, HELLO)
      await until(() => heard.length === run)
      await a.network.stop()
      await until(() => !b.network.isConnected(a.id))
    }
    expect(heard).toEqual([b.id, b.id])
  })
})

async function connectedPair(): Promise<[TestNode, TestNode]> {
  const pair: [TestNode, TestNode] = [await startNode(), await startNode()]
  await pair[0].network.connect(pair[1].address())
  return pair
}

/** Joins the topic at `to` and waits until something that `from` publishes there has arrived. */
async function published(from: TestNode, to: TestNode, topic: string): Promise<void> {
  let isHere = false
  to.network.gossip.join(topic, () => {
    isHere = true
    return 'accept'
  })
  await until(() => from.network.gossip.members(topic).includes(to.id))
  await from.network.gossip.publish(topic, HELLO)
  await until(() => isHere)
}

/** A node below the network's interface. */
async function startBare(...listen: string[]): Promise<{ node: MeshLibp2p; gossip: MeshGossip }> {
  const identity = createIdentity()
  const node = await composeLibp2p(
    { identity, datastore: undefined, logger: silentLogger(), clock: Date.now, isBlocked: () => false },
    {
      listen,
      mesh: meshIds('main'),
      transports: undefined,
      connectionEncrypters: undefined,
      watch: { onListening() {}, onFailure() {} }
    }
  )
  const gossip = createGossip(meshIds('main'))
  node.addEventListener('connection:open', ({ detail }) => {
    void node.services.identify.identify(detail).catch(() => {})
  })
  await node.start()
  gossip.attach(node.services.pubsub)
  const endTidying = tidyConnections(node, identity.id, meshIds('main'))
  onTestFinished(() => {
    endTidying()
    return stopLibp2p(node)
  })
  return { node, gossip }
}

/** Resolves when no node has identified another for a while. */
async function quiet(...nodes: MeshLibp2p[]): Promise<void> {
  let last = Date.now()
  for (const node of nodes) node.addEventListener('peer:identify', () => (last = Date.now()))
  await until(() => Date.now() - last > 1_500)
}
