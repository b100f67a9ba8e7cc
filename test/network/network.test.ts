import { once } from 'node:events'
import { createServer } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { createNetwork, defaultListen, networkMigrations } from '../../src/network/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { ECHO, LOOPBACK_TCP, LOOPBACK_WS, makeNode, soon, startNode, until } from './nodes.ts'

describe('listening', () => {
  it('listens on loopback only without a LAN, and on every interface with one', () => {
    expect(defaultListen(false)).toEqual(['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws'])
    expect(defaultListen(true)).toEqual(['/ip4/0.0.0.0/tcp/0', '/ip4/0.0.0.0/tcp/0/ws'])
  })

  it('names the address when a port is taken', async () => {
    const server = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void server.close())
    await once(server, 'listening')
    const taken = server.address()
    const port = typeof taken === 'object' ? taken?.port : 0
    const { network } = await makeNode({ listen: [LOOPBACK_TCP, `/ip4/127.0.0.1/tcp/${port}`] })
    await expect(network.start()).rejects.toMatchObject({
      code: 'ADDRESS_IN_USE',
      message: `/ip4/127.0.0.1/tcp/${port} is taken or not an address of this machine`
    })
  })

  it('names the address when it belongs to another machine', async () => {
    const { network } = await makeNode({ listen: ['/ip4/192.0.2.1/tcp/0'] })
    await expect(network.start()).rejects.toMatchObject({ code: 'ADDRESS_IN_USE', message: /192\.0\.2\.1/ })
  })

  it.each(['', 'tcp', '/ip4/999.0.0.1/tcp/1', '/ip4/127.0.0.1:4001', '/nonsense/1'])(
    'refuses to listen on %j, with an example',
    async (address) => {
      const identity = createIdentity()
      expect(() => createNetwork({ identity, emit: () => {} }, { listen: [address] })).toThrow(
        expect.objectContaining({ code: 'INVALID_ARGUMENT', hint: expect.stringContaining('/ip4/0.0.0.0/tcp/4001') })
      )
    }
  )

  it('refuses to listen by a transport it has not', async () => {
    const { network } = await makeNode({ listen: ['/ip4/127.0.0.1/udp/0/quic-v1'] })
    await expect(network.start()).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', hint: /4001/ })
  })

  it('comes back on the same ports, and on others when they are taken meanwhile', async () => {
    const store = await testStore()
    const init = { listen: [LOOPBACK_TCP, LOOPBACK_WS] }
    const first = await startNode(init, { store })
    const before = first.network.status().addresses
    await first.network.stop()

    const second = await startNode(init, { store, identity: first.identity })
    expect(second.network.status().addresses).toEqual(before)
    await second.network.stop()

    const port = Number(before[0]?.split('/')[4])
    const squatter = createServer().listen(port, '127.0.0.1')
    onTestFinished(() => void squatter.close())
    await once(squatter, 'listening')
    const third = await startNode(init, { store, identity: first.identity })
    const after = third.network.status().addresses
    expect(after).toHaveLength(2)
    expect(after[0]).not.toBe(before[0])
    expect(after[1]).toBe(before[1])
  })
})

describe('connecting', () => {
  it.each([
    ['TCP', 0],
    ['WebSocket', 1]
  ])('tells both sides of a join and a leave over %s', async (_name, index) => {
    const a = await startNode({ listen: [LOOPBACK_TCP, LOOPBACK_WS] })
    const b = await startNode({ listen: [LOOPBACK_TCP, LOOPBACK_WS] })
    const address = b.network.status().addresses[index] ?? ''
    expect(await a.network.connect(address)).toBe(b.id)
    await b.emitted('peer:join', ({ peer }) => peer === a.id)
    expect(a.events).toEqual([{ event: 'peer:join', detail: { peer: b.id, address } }])
    expect(a.network.isConnected(b.id)).toBe(true)
    a.network.setName(b.id, 'bee')
    expect(a.network.peers()).toEqual([
      { peer: b.id, address, direction: 'outbound', name: 'bee', connectedAt: expect.stringMatching(/^\d{4}-.*Z$/) }
    ])
    expect(b.network.peers()).toMatchObject([{ peer: a.id, direction: 'inbound' }])
    expect(a.network.status()).toMatchObject({ lan: 'off', connections: 1 })

    await b.network.stop()
    await a.emitted('peer:leave', ({ peer }) => peer === b.id)
    expect(a.network.isConnected(b.id)).toBe(false)
    expect(a.network.peers()).toEqual([])
  })

  it.each(['', 'hello', '/ip4/1.2.3/tcp/1', '/ip4/127.0.0.1/tcp/1/p2p/nonsense'])(
    'refuses to connect to %j',
    async (address) => {
      const { network } = await startNode()
      await expect(network.connect(address)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT', hint: /12D3Koo/ })
    }
  )

  it('refuses to connect to itself, or by a transport it has not', async () => {
    const node = await startNode({ listen: [LOOPBACK_TCP] })
    const { network, id } = node
    const withoutId = node.address().replace(/\/p2p\/.*/, '')
    for (const self of [id, node.address(), withoutId]) {
      await expect(network.connect(self)).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT',
        message: /this node itself/
      })
    }
    await expect(network.connect('/ip4/127.0.0.1/udp/1/quic-v1')).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT',
      message: /nothing here can dial/
    })
  })

  it('says so when nobody answers', async () => {
    const { network } = await startNode({ listen: [LOOPBACK_TCP] })
    await expect(network.connect('/ip4/127.0.0.1/tcp/1')).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: /connection refused/
    })
  })

  it('gives up at the deadline, and when told to', async () => {
    const silent = createServer().listen(0, '127.0.0.1')
    onTestFinished(() => void silent.close())
    await once(silent, 'listening')
    const taken = silent.address()
    const address = `/ip4/127.0.0.1/tcp/${typeof taken === 'object' ? taken?.port : 0}`
    const { network } = await startNode({ listen: [LOOPBACK_TCP] })
    await expect(network.connect(address, soon(50))).rejects.toMatchObject({ code: 'TIMEOUT' })
    await expect(network.connect(address, { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'CANCELLED' })
  })

  it('can do nothing before the start', async () => {
    const { network, id } = await makeNode()
    await expect(network.connect('/ip4/127.0.0.1/tcp/1')).rejects.toMatchObject({ code: 'UNREACHABLE' })
    await expect(network.openStream(id, [ECHO], soon())).rejects.toMatchObject({ code: 'UNREACHABLE' })
    expect(network.status()).toEqual({ addresses: [], lan: 'off', connections: 0, mesh: 'main', routingTable: 0 })
    expect(network.peers()).toEqual([])
  })
})

describe('streams', () => {
  it('opens a stream to a handler registered before or after the start', async () => {
    const a = await startNode()
    const b = await makeNode()
    const served: string[] = []
    await b.network.handle(ECHO, (stream) => void served.push(stream.protocol))
    await b.network.start()
    await a.network.connect(b.address())
    const { stream, connection } = await a.network.openStream(b.id, ['/pryx-mesh/echo/2.0.0', ECHO], soon())
    expect(stream.protocol).toBe(ECHO)
    expect(connection.remotePeer.toString()).toBe(b.id)
    await b.network.handle('/pryx-mesh/echo/2.0.0', (late) => void served.push(late.protocol))
    await a.network.openStream(b.id, ['/pryx-mesh/echo/2.0.0', ECHO], soon())
    await until(() => served.length === 2)
    expect(served).toEqual([ECHO, '/pryx-mesh/echo/2.0.0'])
  })

  it('runs a handler once per stream, however many there were', async () => {
    const [a, b] = [await startNode(), await startNode()]
    let calls = 0
    await b.network.handle(ECHO, (stream) => {
      calls++
      stream.abort(new Error('enough'))
    })
    await a.network.connect(b.address())
    for (let i = 1; i <= 5; i++) {
      await a.network.openStream(b.id, [ECHO], soon()).catch(() => {})
      await until(() => calls >= i)
    }
    expect(calls).toBe(5)
  })

  it('resets the stream of a handler that throws, and goes on', async () => {
    const [a, b] = [await startNode(), await startNode()]
    await b.network.handle(ECHO, () => {
      throw new Error('defect')
    })
    await b.network.handle('/pryx-mesh/works/1.0.0', () => {})
    await a.network.connect(b.address())
    const isReset = await a.network.openStream(b.id, [ECHO], soon()).then(
      ({ stream }) => until(() => stream.status === 'reset').then(() => true),
      (err: MeshError) => err.code === 'UNREACHABLE' // the reset was faster
    )
    expect(isReset).toBe(true)
    const { stream } = await a.network.openStream(b.id, ['/pryx-mesh/works/1.0.0'], soon())
    expect(stream.status).toBe('open')
  })

  it('says when the peer speaks no such version', async () => {
    const [a, b] = [await startNode(), await startNode()]
    await a.network.connect(b.address())
    await expect(a.network.openStream(b.id, [ECHO], soon())).rejects.toMatchObject({ code: 'UNSUPPORTED_VERSION' })
  })

  it('says at once when no address of the peer is known', async () => {
    const { network } = await startNode()
    const stranger = createIdentity()
    await expect(network.openStream(stranger.id, [ECHO], soon())).rejects.toMatchObject({
      code: 'UNREACHABLE',
      message: /no address/
    })
    await expect(network.openStream('nobody', [ECHO], soon())).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('finds a peer that it never met through the DHT', async () => {
    const [a, b, c] = [await startNode(), await startNode(), await startNode()]
    await c.network.handle(ECHO, () => {})
    await a.network.connect(b.address())
    await c.network.connect(b.address())
    await until(() => a.network.status().routingTable > 0 && b.network.status().routingTable > 1)
    const { connection } = await a.network.openStream(c.id, [ECHO], soon())
    expect(connection.remotePeer.toString()).toBe(c.id)
  })

  it('gives up when cancelled, and at the deadline', async () => {
    const [a, b] = [await startNode(), await startNode()]
    await a.network.connect(b.address())
    await expect(a.network.openStream(b.id, [ECHO], { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'CANCELLED'
    })
    const late = AbortSignal.timeout(1)
    await once(late, 'abort')
    await expect(a.network.openStream(b.id, [ECHO], { signal: late })).rejects.toMatchObject({ code: 'TIMEOUT' })
  })
})

describe('rejoining', () => {
  it('redials a bootstrap peer that was not there yet', async () => {
    const b = await makeNode({ listen: [LOOPBACK_TCP] })
    await b.network.start()
    const [address, port] = [b.address(), b.address().split('/')[4]]
    await b.network.stop()
    const a = await startNode({ listen: [LOOPBACK_TCP], bootstrap: [address] }, { random: () => 0.1 })
    const again = await startNode({ listen: [`/ip4/127.0.0.1/tcp/${port}`] }, { identity: b.identity })
    await a.emitted('peer:join', ({ peer }) => peer === b.id)
    await again.emitted('peer:join', ({ peer }) => peer === a.id)
    expect(again.network.isConnected(a.id)).toBe(true)
  })

  it('finds a connected peer again after that restarted', async () => {
    const store = await testStore()
    const b = await startNode({ listen: [LOOPBACK_TCP] }, { store })
    const a = await startNode({ listen: [LOOPBACK_TCP] }, { random: () => 0.1 })
    await a.network.connect(b.address())
    await b.network.stop()
    await a.emitted('peer:leave')
    await b.network.start()
    await a.emitted('peer:join', ({ peer }) => peer === b.id, 2)
    expect(a.network.isConnected(b.id)).toBe(true)
  })

  it('rejoins by the peers it knew, after its own restart', async () => {
    const store = await testStore()
    const [b, c] = [await startNode({ listen: [LOOPBACK_TCP] }), await startNode({ listen: [LOOPBACK_TCP] })]
    const a = await startNode({ listen: [LOOPBACK_TCP] }, { store })
    await a.network.connect(b.address())
    await c.network.connect(a.address())
    await a.emitted('peer:join', ({ peer }) => peer === c.id)
    const known = (): unknown[] =>
      store.all('SELECT peer, kept FROM network_peer ORDER BY kept').map((row) => ({ ...row }))
    await until(() => known().length === 2)
    expect(known()).toEqual([
      { peer: c.id, kept: 0 },
      { peer: b.id, kept: 1 }
    ])
    await c.network.stop()
    await a.network.stop()
    await c.network.start()
    await store.write([
      { sql: 'UPDATE network_peer SET addresses = ? WHERE peer = ?', params: [JSON.stringify([c.address()]), c.id] }
    ])
    const again = await startNode({ listen: [LOOPBACK_TCP] }, { store, identity: a.identity })
    await again.emitted('peer:join', ({ peer }) => peer === b.id)
    await again.emitted('peer:join', ({ peer }) => peer === c.id)
  })

  it('refuses a bootstrap address that is none', async () => {
    await expect(makeNode({ bootstrap: ['/ip4/1.2.3.4/tcp'] })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

async function testStore(): Promise<Store> {
  const store = await openStore({ migrations: [networkMigrations] })
  onTestFinished(() => store.close())
  return store
}
