import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createNode, type Driver, MeshError } from '../src/index.ts'
import { verifyAuditLog } from '../src/policy/index.ts'
import { addressOf, failureOf, nextEvent, startNode, startPair } from './nodes.ts'
import { tempFolder } from './temp.ts'

const MODULE = `export const agent = { version: '2.1.0', capabilities: [
  { name: 'ping', handler: () => 'pong' },
  { name: 'forever', handler: () => new Promise(() => {}) }
] }`

describe('a node with a home', () => {
  it('has the same id, name, agents and rules after a restart, and higher seqs', async () => {
    const home = await tempFolder()
    const file = join(home, 'agent.mjs')
    await writeFile(file, MODULE)
    const init = { home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'], name: 'keeper' }
    const first = await createNode(init)
    await first.start()
    const added = await first.agents.add({ name: 'worker', driver: 'module', config: { file }, allow: 'any' })
    expect((await stat(join(home, 'identity.key'))).mode & 0o777).toBe(0o600)
    const { addresses } = first
    await first.stop()

    const second = await startNode(init)
    expect(second.id).toBe(first.id)
    expect(second.addresses, 'the port too').toEqual(addresses)
    const peer = await startNode()
    await peer.connect(addressOf(second))
    await expect.poll(() => second.agents.get('worker')?.state).toBe('up')
    expect(await peer.call(added.id, 'ping')).toBe('pong')
    expect(second.agents.get('worker')?.record?.record.seq).toBeGreaterThan(added.record?.record.seq ?? 0)
  })

  it('remembers its peers, and joins them again by itself', async () => {
    const home = await tempFolder()
    const far = await startNode({ name: 'far' })
    const init = { home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] }
    const first = await createNode(init)
    await first.start()
    await first.connect(addressOf(far))
    await first.stop()
    const second = await createNode(init)
    onTestFinished(() => second.stop())
    const joined = nextEvent(second, 'peer:join')
    await second.start()
    expect((await joined).peer).toBe(far.id)
  })

  it('writes a row for each decision into an audit log that holds together', async () => {
    const home = await tempFolder()
    const [near, far] = [await startNode(), await createNode({ home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })]
    await far.start()
    await far.agents.add({ name: 'door', capabilities: [{ name: 'open', handler: () => 'open' }] })
    await near.connect(addressOf(far))
    await failureOf(near.call(`${far.id}/door`, 'open'))
    await far.call('@door', 'open')
    await far.stop()
    const log = join(home, 'audit.log')
    const rows = (await readFile(log, 'utf8')).split('\n').filter((row) => row.includes('"tool:door/open"'))
    expect(rows.map((row) => JSON.parse(row))).toMatchObject([
      { peer: near.id, action: 'tool.call', effect: 'deny', rules: [] },
      { peer: far.id, action: 'tool.call', effect: 'allow' }
    ])
    expect(await verifyAuditLog(log)).toMatchObject({ ok: true })
    await writeFile(log, (await readFile(log, 'utf8')).replace('"effect":"deny"', '"effect":"allow"'))
    expect(await verifyAuditLog(log)).toMatchObject({ ok: false })
  })

  it('refuses a second process with a clear error, and what is broken', async () => {
    const home = await tempFolder()
    const node = await startNode({ home })
    expect(await failureOf(createNode({ home }))).toMatchObject({ code: 'HOME_IN_USE' })
    await node.stop()
    await writeFile(join(home, 'policy.json'), '{"v":1,"rules":[{"id":"x"}]}')
    expect(await failureOf(createNode({ home }))).toMatchObject({ code: 'INVALID_CONFIG' })
    await writeFile(join(home, 'policy.json'), '{"v":1,"rules":[]}')
    await writeFile(join(home, 'config.json'), '{"name":')
    expect(await failureOf(createNode({ home }))).toMatchObject({ code: 'INVALID_CONFIG' })
    await writeFile(join(home, 'config.json'), '{"name":"from config","lan":false}')
    const fixed = await createNode({ home })
    expect(fixed.name, 'a refused start leaves the home free').toBe('from config')
    await fixed.stop()
    expect(await failureOf(createNode({ name: 'two\nlines' }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

describe('a node', () => {
  it('takes drivers of its owner', async () => {
    const driver: Driver = {
      kind: 'oracle',
      parse: (config) => config,
      connect: async (config) => ({
        describe: async () => ({ version: '1.0.0', capabilities: [{ kind: 'model', name: 'ask', version: '1.0.0' }] }),
        invoke: () => (config as { answer: number }).answer,
        health: async () => {},
        close: async () => {}
      })
    }
    const node = await startNode({ drivers: [driver] })
    await node.agents.add({ name: 'delphi', driver: 'oracle', config: { answer: 42 } })
    expect(await node.call('@delphi', 'ask')).toBe(42)
    expect(await failureOf(node.agents.add({ name: 'x', driver: 'nobody' }))).toMatchObject({
      code: 'INVALID_ARGUMENT'
    })
  })

  it('keeps nothing of an agent that could not be added', async () => {
    const node = await startNode()
    const bad = { name: 'f', input: { type: 'nonsense' }, handler: () => 0 }
    expect(await failureOf(node.agents.add({ name: 'bad', capabilities: [bad] }))).toMatchObject({
      code: 'INVALID_SCHEMA'
    })
    expect(await failureOf(node.agents.add({ name: 'bad', capabilities: [], allow: ['nobody'] }))).toMatchObject({
      code: 'INVALID_ARGUMENT'
    })
    expect(await failureOf(node.agents.add({ name: 'bad' }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(node.agents.list()).toEqual([])
    await node.agents.add({ name: 'bad', capabilities: [{ name: 'f', handler: () => 0 }], tags: ['b'] })
    expect(node.agents.list({ tags: ['b'], kind: 'tool' })).toHaveLength(1)
    expect(node.agents.list({ tags: ['c'] })).toEqual([])
    expect(await failureOf(node.agents.add({ name: 'bad', capabilities: [] }))).toMatchObject({
      code: 'ALREADY_EXISTS'
    })
    expect(await failureOf(node.agents.remove('other'))).toMatchObject({ code: 'NOT_FOUND' })
  })

  it.each(['', ' a', 'a\u001b[31m', 'a'.repeat(65)])('refuses %j as its name', async (name) => {
    await expect(createNode({ name })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('counts every breach of the protocol, and tells of each peer once', async () => {
    const told: string[] = []
    const node = await startNode({ log: (text) => told.push(text) })
    const rogue = await createLibp2p({
      transports: [tcp()],
      connectionEncrypters: [noise()],
      streamMuxers: [yamux()]
    })
    onTestFinished(() => rogue.stop())
    for (let times = 1; times <= 3; times += 1) {
      const stream = await rogue.dialProtocol(multiaddr(addressOf(node)), '/pryx-mesh/call/1.0.0')
      stream.send(Buffer.from('\x04{bad'))
      await expect.poll(() => node.status().refused['bad-frame']).toBe(times)
    }
    expect(told).toEqual([`${rogue.peerId.toString()} broke the protocol: not JSON`])
  })

  it('is not started again once it was stopped', async () => {
    const node = await startNode()
    await node.stop()
    expect(await failureOf(node.start())).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('holds fifty streams whose reader has stopped, and answers other calls meanwhile', async () => {
    const [near, far] = await startPair()
    const item = 'x'.repeat(10_000)
    let produced = 0
    await far.agents.add({
      name: 'tap',
      allow: 'any',
      capabilities: [
        {
          name: 'flow',
          async *handler() {
            for (;;) {
              produced += 1
              yield item
            }
          }
        },
        { name: 'ping', handler: () => 'pong' }
      ]
    })
    const id = `${far.id}/tap`
    const streams = Array.from({ length: 50 }, () => near.stream(id, 'flow')[Symbol.asyncIterator]())
    for (const stream of streams) expect((await stream.next()).value).toBe(item)
    const settled = await stableCount(() => produced)
    const perStream = (settled * item.length) / streams.length
    expect(perStream, 'bytes made for each reader that has stopped').toBeLessThan(2 * 262_144)
    expect(await near.call(id, 'ping')).toBe('pong')
    for (const stream of streams) expect((await stream.next()).value).toBe(item)
    for (const stream of streams) await stream.return?.()
    expect(await near.call(id, 'ping')).toBe('pong')
  })
})

describe('kill -9 in the middle of calls', () => {
  it('of the answering side fails what is pending at once, retryably; after its restart calls go on', async () => {
    const home = await tempFolder()
    const file = join(home, 'agent.mjs')
    await writeFile(file, MODULE)
    const child = await startChild(join(home, 'far'), file)
    const near = await startNode()
    await near.connect(child.address)
    const calls = Array.from({ length: 20 }, () => failureOf(near.call(`${child.id}/worker`, 'forever')))
    expect(await near.call(`${child.id}/worker`, 'ping')).toBe('pong')
    child.kill()
    for (const failure of await Promise.all(calls)) {
      expect(failure).toMatchObject({ code: 'CONNECTION_LOST', retryable: true })
    }
    const again = await startChild(join(home, 'far'))
    expect(again.id).toBe(child.id)
    await near.connect(again.address)
    await expect.poll(() => near.call(`${child.id}/worker`, 'ping').catch((err: MeshError) => err.code)).toBe('pong')
  })

  it('of the asking side ends the work that it asked for', async () => {
    const far = await startNode()
    const ended = Promise.withResolvers<unknown>()
    const begun = Promise.withResolvers<void>()
    const { id } = await far.agents.add({
      name: 'worker',
      allow: 'any',
      capabilities: [
        {
          name: 'forever',
          handler: (_input, { signal }) => {
            signal.addEventListener('abort', () => ended.resolve(signal.reason))
            begun.resolve()
            return new Promise(() => {})
          }
        }
      ]
    })
    const child = await startChild(await tempFolder())
    await far.connect(child.address)
    child.call(id)
    await begun.promise
    child.kill()
    expect(await ended.promise).toBeInstanceOf(MeshError)
  })
})

async function startChild(home: string, file?: string) {
  const script = fileURLToPath(new URL('node-child.ts', import.meta.url))
  const child = spawn(process.execPath, [script, home, ...(file === undefined ? [] : [file])], {
    stdio: ['pipe', 'pipe', 'inherit']
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [line] = await once(createInterface(child.stdout), 'line')
  const { id, address } = JSON.parse(line) as { id: string; address: string }
  return { id, address, kill: () => child.kill('SIGKILL'), call: (target: string) => child.stdin.write(`${target}\n`) }
}

/** The count once it has not grown for ten looks. */
async function stableCount(read: () => number): Promise<number> {
  let last = -1
  let looks = 0
  await expect
    .poll(
      () => {
        looks = read() === last ? looks + 1 : 0
        last = read()
        return looks
      },
      { timeout: 20_000 }
    )
    .toBeGreaterThan(10)
  return last
}
