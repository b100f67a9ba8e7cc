import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { identify, identifyPush } from '@libp2p/identify'
import type { Libp2p } from '@libp2p/interface'
import { memory } from '@libp2p/memory'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import { sha256 } from 'multiformats/hashes/sha2'
import { describe, expect, it, onTestFinished } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { createNode } from '../../src/index.ts'
import { OTHER_MESH_RETRY_MS } from '../../src/network/constants.ts'
import { networkMigrations } from '../../src/network/index.ts'
import { meshIds, meshOf } from '../../src/network/mesh.ts'
import { tunedNoise } from '../../src/network/noise.ts'
import { createReconnector } from '../../src/network/reconnect.ts'
import { tunedYamux } from '../../src/network/yamux.ts'
import { openStore } from '../../src/store/index.ts'
import { addressOf, failureOf, startNode as startWhole } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { ECHO, LOOPBACK_TCP, LOOPBACK_WS, makeNode, soon, startNode, until } from './nodes.ts'

const TOPIC = '/pryx-mesh/catalogue/1'

describe('the ids of a mesh', () => {
  it('are those without a name for main', () => {
    expect(meshIds('main')).toMatchObject({ kad: '/pryx-mesh/kad/1.0.0', mdnsService: '_pryx-mesh._udp.local' })
    expect(meshIds('main').wire(TOPIC)).toBe(TOPIC)
  })

  it('have its name in them for any other', () => {
    const lab = meshIds('lab-2')
    expect(lab).toMatchObject({ kad: '/pryx-mesh@lab-2/kad/1.0.0', mdnsService: '_lab-2._sub._pryx-mesh._udp.local' })
    expect(lab.wire(TOPIC)).toBe('/pryx-mesh@lab-2/catalogue/1')
    expect(lab.wire('/ipfs/ping/1.0.0')).toBe('/ipfs/ping/1.0.0')
  })

  it.each(['a', '0', '-', 'main-2', 'a'.repeat(32)])('may have the name %s, in labels that DNS allows', (name) => {
    for (const label of meshIds(name).mdnsService.split('.')) expect(Buffer.byteLength(label)).toBeLessThanOrEqual(63)
  })

  it.each(['', 'Lab', 'a b', 'a/b', 'a.b', 'a@b', 'ü', 'a'.repeat(33), 'lab\n'])('refuse the name %j', async (name) => {
    const failure = await failureOf(createNode({ lan: false, mesh: name }))
    expect(failure).toMatchObject({ code: 'INVALID_ARGUMENT', hint: 'use 1 to 32 of a-z, 0-9 and -' })
  })

  it.each([
    { id: 'its own', protocols: ['/ipfs/id/1.0.0', '/pryx-mesh@lab/call/1.0.0'], mesh: 'lab' },
    { id: 'its own, and others', protocols: ['/pryx-mesh/call/1.0.0', '/pryx-mesh@lab/call/1.0.0'], mesh: 'lab' },
    { id: 'main', protocols: ['/pryx-mesh/call/1.0.0'], mesh: 'main' },
    { id: 'one whose name begins alike', protocols: ['/pryx-mesh@lab2/call/1.0.0'], mesh: 'lab2' },
    { id: 'none', protocols: ['/ipfs/kad/1.0.0', '/pryx-meshes/1', '/pryx-mesh@/1', '/pryx-mesh@A/1'], mesh: undefined }
  ])('tell a peer of $id by what it serves', ({ protocols, mesh }) => {
    expect(meshOf(protocols, meshIds('lab'))).toBe(mesh)
  })
})

describe.each([LOOPBACK_TCP, LOOPBACK_WS])('nodes of two meshes that listen on %s', (listen) => {
  it.each([
    { near: 'lab', far: 'main' },
    { near: 'main', far: 'lab' },
    { near: 'lab', far: 'lab2' }
  ])('do not meet when $near dials $far, and are told why', async (meshes) => {
    const [near, far] = [
      await startNode({ listen: [listen], mesh: meshes.near }),
      await startNode({ listen: [listen], mesh: meshes.far })
    ]
    for (const { network } of [near, far]) await network.handle(ECHO, () => {})
    const reason = `it is of the mesh ${meshes.far}, and speaks no protocol of the mesh ${meshes.near}`
    for (const attempt of ['first', 'second']) {
      const failure = await failureOf(near.network.connect(far.address()))
      const expected = { code: 'UNSUPPORTED_VERSION', message: expect.stringContaining(reason) }
      expect({ attempt, failure }).toMatchObject({ failure: { ...expected, hint: expect.stringContaining('--mesh') } })
    }
    expect(near.events).toMatchObject([{ event: 'peer:refused', detail: { peer: far.id, reason } }])
    expect(far.events).toEqual([])
    for (const { network } of [near, far]) {
      expect([network.peers(), network.isConnected(near.id), network.isConnected(far.id)]).toEqual([[], false, false])
      await expect.poll(() => network.status(), { timeout: 5_000 }).toMatchObject({ connections: 0, routingTable: 0 })
    }
  })
})

describe('meshes beside each other', () => {
  it('share no stream, topic or provider, although their nodes dial each other', async () => {
    const [a, b] = [await startNode({ mesh: 'lab' }), await startNode({ mesh: 'lab' })]
    const [c, d] = [await startNode({ mesh: 'main' }), await startNode()]
    const heard: string[] = []
    for (const { id, network } of [a, b, c, d]) {
      await network.handle(ECHO, (stream) => void stream.close())
      network.gossip.join(TOPIC, (author) => {
        heard.push(`${id} ${author}`)
        return 'accept'
      })
    }
    await a.network.connect(b.address())
    await c.network.connect(d.address())
    for (const far of [c, d]) expect(await failureOf(a.network.connect(far.address()))).toBeInstanceOf(MeshError)
    for (const far of [a, b]) expect(await failureOf(d.network.connect(far.address()))).toBeInstanceOf(MeshError)
    await until(() => a.network.gossip.members(TOPIC).includes(b.id) && c.network.gossip.members(TOPIC).includes(d.id))
    await a.network.gossip.publish(TOPIC, new Uint8Array([1]))
    await c.network.gossip.publish(TOPIC, new Uint8Array([2]))
    await until(() => heard.length >= 2)
    expect(heard.toSorted()).toEqual([`${b.id} ${a.id}`, `${d.id} ${c.id}`].toSorted())

    await a.network.learn(c.id, [c.address()])
    expect(await failureOf(a.network.openStream(c.id, [ECHO], soon()))).toMatchObject({
      code: 'UNSUPPORTED_VERSION',
      message: expect.stringContaining('of the mesh main')
    })
    const { stream } = await a.network.openStream(b.id, [ECHO], soon())
    expect(stream.protocol).toBe('/pryx-mesh@lab/echo/1.0.0')

    const key = CID.createV1(0x55, await sha256.digest(new TextEncoder().encode('tool shared.name')))
    await until(() => [a, b, c, d].every(({ network }) => network.status().routingTable === 1))
    await a.network.dht.addProvider(b.id, key, soon())
    await expect.poll(async () => (await a.network.dht.askProviders(b.id, key, soon())).providers).toEqual([a.id])
    expect((await c.network.dht.askProviders(d.id, key, soon())).providers).toEqual([])
  })

  it('find and call nothing across', async () => {
    const capabilities = [{ name: 'clock.now', handler: () => 'now' }]
    const [lab, labToo, main] = [
      await startWhole({ mesh: 'lab' }),
      await startWhole({ mesh: 'lab' }),
      await startWhole({ name: 'main' })
    ]
    for (const node of [lab, main]) await node.agents.add({ name: 'clock', allow: 'any', capabilities })
    await labToo.connect(addressOf(lab))
    expect(await failureOf(labToo.connect(addressOf(main)))).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    expect(await failureOf(main.connect(addressOf(lab)))).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    const found = await Array.fromAsync(labToo.find({ name: 'clock.*', timeoutMs: 3_000 }))
    expect(found.map(({ peer }) => peer)).toEqual([lab.id])
    expect(await Array.fromAsync(main.find({ name: 'clock.*', timeoutMs: 1_000 }))).toMatchObject([{ peer: main.id }])
    expect(await labToo.call(`${lab.id}/clock`, 'clock.now')).toBe('now')
    expect([labToo.status().mesh, main.status().mesh]).toEqual(['lab', 'main'])
  })
})

describe('a peer of another mesh', () => {
  it('is not known after a restart', async () => {
    const store = await openStore({ path: join(await tempFolder(), 'mesh.db'), migrations: [networkMigrations] })
    onTestFinished(() => store.close())
    const far = await startNode({ mesh: 'lab' })
    const { network } = await startNode({}, { store })
    expect(await failureOf(network.connect(far.address()))).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    await network.stop()
    expect(store.all('SELECT * FROM network_peer')).toEqual([])
  })

  it('is dialled again after minutes, as a bootstrap peer, and let in when it has come over', async () => {
    const pauses: number[] = []
    const { promise: again, resolve } = Promise.withResolvers<void>()
    let dials = 0
    const setTimer = globalThis.setTimeout
    onTestFinished(() => void (globalThis.setTimeout = setTimer))
    globalThis.setTimeout = ((work: () => void, ms: number) => {
      pauses.push(ms)
      return setTimer(work, 0)
    }) as never // of its faces only this one is used here
    const reconnector = createReconnector({
      async dial() {
        if (++dials === 1) throw new MeshError('UNSUPPORTED_VERSION', 'it is of the mesh lab')
        resolve()
        return 'peer'
      },
      isConnected: () => dials > 1,
      random: () => 0.5
    })
    reconnector.keep({ peer: undefined, addresses: ['/memory/far'] })
    await again
    reconnector.stop()
    expect(pauses).toEqual([OTHER_MESH_RETRY_MS])
  })
})

describe('a peer that serves nothing yet', () => {
  it('is let in, and let go once it serves something of another mesh', async () => {
    const [near, far] = [await startBare(), await startNode({ mesh: 'lab' })]
    const left = far.emitted('peer:leave')
    await near.dial(multiaddr(far.address()))
    await far.emitted('peer:join')
    await near.handle('/pryx-mesh/echo/1.0.0', () => {})
    await left
    expect(far.network.peers()).toEqual([])
    await expect.poll(() => near.getConnections(), { timeout: 3_000 }).toEqual([])
  })
})

describe('a home', () => {
  it('keeps to the mesh that it was first started in', async () => {
    const home = await tempFolder()
    const first = await startWhole({ home, mesh: 'lab' })
    await first.stop()
    const second = await startWhole({ home })
    expect(second.status().mesh).toBe('lab')
    await second.stop()
    expect(await failureOf(startWhole({ home, mesh: 'main' }))).toMatchObject({
      code: 'INVALID_CONFIG',
      message: 'this home is of the mesh lab, not of main',
      hint: expect.stringContaining('another home')
    })
  })

  it('is of main when a node without names of meshes has used it', async () => {
    const path = join(await tempFolder(), 'mesh.db')
    const steps = networkMigrations.steps.slice(0, 2)
    const before = await openStore({ path, migrations: [{ ...networkMigrations, steps }] })
    await before.write([{ sql: "INSERT INTO network_port VALUES ('/ip4/0.0.0.0/tcp/0', 4001)" }])
    await before.close()
    const store = await openStore({ path, migrations: [networkMigrations] })
    onTestFinished(() => store.close())
    expect(await failureOf(makeNode({ mesh: 'lab' }, { store }))).toMatchObject({ code: 'INVALID_CONFIG' })
    expect((await makeNode({}, { store })).network.status().mesh).toBe('main')
  })

  it('may name its mesh in config.json', async () => {
    const home = await tempFolder()
    await writeFile(join(home, 'config.json'), JSON.stringify({ mesh: 'lab' }))
    const node = await startWhole({ home })
    expect(node.status().mesh).toBe('lab')
    await writeFile(join(home, 'config.json'), JSON.stringify({ mesh: '' }))
    await node.stop()
    expect(await failureOf(startWhole({ home }))).toMatchObject({ code: 'INVALID_CONFIG' })
  })
})

/** A peer of no mesh. */
async function startBare(): Promise<Libp2p> {
  const node = await createLibp2p({
    transports: [memory()],
    connectionEncrypters: [tunedNoise()],
    streamMuxers: [tunedYamux()],
    services: { identify: identify(), identifyPush: identifyPush() }
  })
  onTestFinished(async () => node.stop())
  return node
}
