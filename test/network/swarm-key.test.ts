import { chmod, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, vi } from 'vitest'
import { createNode, createSwarmKey, type Node } from '../../src/index.ts'
import { addressOf, failureOf, startNode, startPair } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { LOOPBACK_TCP, LOOPBACK_WS, makeNode } from './nodes.ts'

// A node gives a handshake that makes no sense 3 s
vi.setConfig({ testTimeout: 20_000 })

/** A file with this content, or a new key, that only its owner may read. */
async function keyFile(content = createSwarmKey()): Promise<string> {
  const path = join(await tempFolder(), 'swarm.key')
  await writeFile(path, content, { mode: 0o600 })
  return path
}

const start = (address: string, swarmKey: string | undefined): Promise<Node> =>
  startNode({ listen: [address], ...(swarmKey === undefined ? {} : { swarmKey }) })

describe.each([LOOPBACK_TCP, LOOPBACK_WS])('nodes that listen on %s', (address) => {
  it('speak to each other when they have the same swarm key, much at once too', async () => {
    const swarmKey = await keyFile()
    const [near, far] = await startPair({ listen: [address], swarmKey })
    await far.agents.add({ name: 'echo', allow: 'any', capabilities: [{ name: 'say', handler: (input) => input }] })
    const input = { text: 'swarm '.repeat(100_000) }
    const answers = await Promise.all([1, 2, 3, 4].map(() => near.call(`${far.id}/echo`, 'say', input)))
    for (const answer of answers) expect(answer).toEqual(input)
  })

  it.each([
    { id: 'another swarm key than', near: keyFile, far: keyFile },
    { id: 'no swarm key, unlike', near: async () => undefined, far: keyFile },
    { id: 'a swarm key, unlike', near: keyFile, far: async () => undefined }
  ])("can't be reached by one that has $id them, which is told that it may be the key", async ({ near, far }) => {
    const [dialler, listener] = [await start(address, await near()), await start(address, await far())]
    expect(await failureOf(dialler.connect(addressOf(listener)))).toMatchObject({
      code: 'UNREACHABLE',
      message: expect.stringContaining('swarm key'),
      hint: expect.stringContaining('same swarm key')
    })
    expect(listener.peers()).toEqual([])
  })

  it('say nothing of swarm keys when nobody is there', async () => {
    const [near, far] = await startPair({ listen: [address] })
    const gone = addressOf(far)
    await far.stop()
    await expect.poll(() => near.peers()).toEqual([])
    const failure = await failureOf(near.connect(gone))
    expect(failure).toMatchObject({ code: 'UNREACHABLE', message: expect.stringContaining('refused') })
    expect(JSON.stringify(failure)).not.toContain('swarm')
  })
})

describe('a swarm key', () => {
  it('is another one each time, in the form of libp2p', () => {
    const keys = new Set([1, 2, 3].map(() => createSwarmKey()))
    expect(keys.size).toBe(3)
    for (const key of keys) expect(key).toMatch(/^\/key\/swarm\/psk\/1\.0\.0\/\n\/base16\/\n[0-9a-f]{64}$/)
  })

  it.each([
    { id: 'a line break at the end', edit: (key: string) => `${key}\n` },
    { id: 'the line breaks of Windows', edit: (key: string) => `${key.replaceAll('\n', '\r\n')}\r\n` },
    { id: 'capitals', edit: (key: string) => key.slice(0, -64) + key.slice(-64).toUpperCase() }
  ])('is the same with $id', async ({ edit }) => {
    const key = createSwarmKey()
    const [near, far] = [
      await start(LOOPBACK_TCP, await keyFile(key)),
      await start(LOOPBACK_TCP, await keyFile(edit(key)))
    ]
    expect(await near.connect(addressOf(far))).toBe(far.id)
  })

  it('may stand in config.json, and what a program says goes before it', async () => {
    const home = await tempFolder()
    await writeFile(join(home, 'config.json'), JSON.stringify({ swarmKey: await keyFile('none') }))
    expect(await failureOf(startNode({ home }))).toMatchObject({ code: 'INVALID_CONFIG' })
    const node = await createNode({ home: await tempFolder(), lan: false, swarmKey: await keyFile() })
    await node.stop()
  })

  it.each([
    { id: 'nothing', content: '' },
    { id: 'half a key', content: createSwarmKey().slice(0, -2) },
    { id: 'a key and more', content: `${createSwarmKey()}00` },
    { id: 'a key without its head', content: createSwarmKey().slice(-64) },
    { id: 'a key in base64', content: createSwarmKey().replace('base16', 'base64') },
    { id: 'what is far too long', content: createSwarmKey() + '\n'.repeat(2_000) }
  ])('is refused at the start when its file holds $id', async ({ content }) => {
    const { network } = await makeNode({ swarmKey: await keyFile(content) })
    expect(await failureOf(network.start())).toMatchObject({
      code: 'INVALID_CONFIG',
      hint: expect.stringContaining('swarm-key')
    })
  })

  it.each([
    { id: 'others may read', code: 'INVALID_CONFIG', make: (path: string) => chmod(path, 0o640) },
    { id: 'others may write', code: 'INVALID_CONFIG', make: (path: string) => chmod(path, 0o602) },
    { id: 'is not there', code: 'INVALID_CONFIG', path: 'none' }
  ])('is refused at the start when its file $id', async ({ code, path, make = async () => {} }) => {
    const file = path === undefined ? await keyFile() : join(await tempFolder(), path)
    await make(file)
    const { network } = await makeNode({ swarmKey: file })
    expect(await failureOf(network.start())).toMatchObject({ code, message: expect.stringContaining(file) })
  })
})
