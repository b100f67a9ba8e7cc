import { createHash } from 'node:crypto'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { multiaddr } from '@multiformats/multiaddr'
import { expect, it, onTestFinished, vi } from 'vitest'
import { BLOB_PROTOCOL } from '../../src/blobs/index.ts'
import type { Node } from '../../src/index.ts'
import { encodeFrame } from '../../src/wire/index.ts'
import { cuttable } from '../cutting.ts'
import { addressOf, failureOf, startNode, startPair } from '../nodes.ts'
import { startNode as startBare, type TestNode } from '../rpc/nodes.ts'
import { tempFolder } from '../temp.ts'

vi.setConfig({ testTimeout: 120_000 })

const MIB = 1024 * 1024

/** Bytes that follow from a seed. */
function bytesOf(seed: number, length: number): Buffer {
  const block = createHash('sha512').update(`${seed}`).digest()
  const bytes = Buffer.alloc(length, block)
  for (let at = 0; at + 8 < length; at += 4_096) bytes.writeUInt32BE((at ^ seed) >>> 0, at)
  return bytes
}

const hashOf = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

async function contentOf(node: Node, sha256: string, offset = 0): Promise<Buffer> {
  return Buffer.concat(await Array.fromAsync(node.blobs.open(sha256, { offset })))
}

it('keeps bytes, pieces and files by their hash, once', async () => {
  const home = await tempFolder()
  const node = await startNode({ home })
  const bytes = bytesOf(1, 3 * MIB + 7)
  const file = join(home, 'file')
  await writeFile(file, bytes)
  async function* pieces() {
    for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000)
  }
  const ref = { sha256: hashOf(bytes), size: bytes.length }
  for (const source of [bytes, pieces(), file]) expect(await node.blobs.put(source)).toEqual(ref)
  expect(await node.blobs.put(new Uint8Array())).toEqual({ sha256: hashOf(new Uint8Array()), size: 0 })
  expect(node.blobs.list()).toHaveLength(2)
  expect(node.blobs.has(ref.sha256)).toBe(true)
  expect((await contentOf(node, ref.sha256)).equals(bytes)).toBe(true)
  expect((await contentOf(node, ref.sha256, 3 * MIB)).equals(bytes.subarray(3 * MIB))).toBe(true)
  const folder = join(home, 'blobs')
  expect((await readdir(folder)).toSorted()).toEqual(
    ['partial', ref.sha256.slice(0, 2), hashOf(new Uint8Array()).slice(0, 2)].toSorted()
  )
  const { mode } = await stat(join(folder, ref.sha256.slice(0, 2), ref.sha256.slice(2)))
  expect(mode & 0o777).toBe(0o600)
})

it('a peer that it was shared with gets it, and nobody else', async () => {
  const [near, far] = await startPair()
  const bytes = bytesOf(2, 2 * MIB + 1)
  const { sha256 } = await far.blobs.put(bytes)
  const empty = await far.blobs.put(new Uint8Array())
  expect(await failureOf(near.blobs.fetch(far.id, sha256))).toMatchObject({ code: 'FORBIDDEN' })
  expect(await failureOf(near.blobs.fetch(far.id, hashOf(bytesOf(3, 3))))).toMatchObject({ code: 'FORBIDDEN' })
  await far.blobs.allow(sha256, near.id)
  await far.blobs.allow(empty.sha256, near.id)
  const seen: number[] = []
  const onProgress = (received: number): void => void seen.push(received)
  expect(await near.blobs.fetch(far.id, sha256, { onProgress })).toEqual({ sha256, size: bytes.length })
  expect(seen.at(-1)).toBe(bytes.length)
  expect(await near.blobs.fetch(far.id, empty.sha256)).toEqual(empty)
  expect((await contentOf(near, sha256)).equals(bytes)).toBe(true)
  await far.blobs.disallow(empty.sha256, near.id)
  await near.blobs.drop(empty.sha256)
  expect(await failureOf(near.blobs.fetch(far.id, empty.sha256))).toMatchObject({ code: 'FORBIDDEN' })
})

it('a rule lets peers read, and one that denies goes before what was shared', async () => {
  const [near, far] = await startPair()
  const { sha256 } = await far.blobs.put(bytesOf(4, 100))
  await far.policy.put([{ id: 'blobs', effect: 'allow', who: '*', act: 'blob.read', res: 'blob:*' }])
  expect(await failureOf(near.blobs.fetch(far.id, hashOf(bytesOf(3, 3))))).toMatchObject({ code: 'NOT_FOUND' })
  await near.blobs.fetch(far.id, sha256)
  await near.blobs.drop(sha256)
  await far.blobs.allow(sha256, near.id)
  await far.policy.put([{ id: 'none', effect: 'deny', who: '*', act: 'blob.read', res: 'blob:*' }])
  expect(await failureOf(near.blobs.fetch(far.id, sha256))).toMatchObject({ code: 'FORBIDDEN' })
})

it('a transfer that is cut twenty times is gone on with, and is whole', async () => {
  const cutter = cuttable()
  const far = await startNode({ name: 'far', transports: cutter.transports })
  const near = await startNode({ name: 'near', transports: cutter.transports })
  await near.connect(addressOf(far))
  const bytes = bytesOf(5, 64 * MIB)
  const { sha256 } = await far.blobs.put(bytes)
  await far.blobs.allow(sha256, near.id)
  let cuts = 0
  let restarts = 0
  let before = 0
  const onProgress = (received: number): void => {
    if (received < before) restarts += 1
    before = received
    if (cuts < 20 && received > cuts * 3 * MIB && cutter.cut()) cuts += 1
  }
  expect(await near.blobs.fetch(far.id, sha256, { onProgress })).toEqual({ sha256, size: bytes.length })
  expect({ cuts, restarts }).toEqual({ cuts: 20, restarts: 0 })
  expect((await contentOf(near, sha256)).equals(bytes)).toBe(true)
})

it('those who want the same share one transfer', async () => {
  const [near, far] = await startPair()
  const { sha256 } = await far.blobs.put(bytesOf(6, 8 * MIB))
  await far.blobs.allow(sha256, near.id)
  await far.policy.put([
    { id: 'one', effect: 'allow', who: '*', act: 'blob.read', res: 'blob:*', limit: { calls: '1/1h' } }
  ])
  const controller = new AbortController()
  const given = near.blobs.fetch(far.id, sha256, { signal: controller.signal })
  const all = Promise.all([1, 2, 3].map(async () => near.blobs.fetch(far.id, sha256)))
  controller.abort()
  expect(await failureOf(given)).toMatchObject({ code: 'CANCELLED' })
  expect((await all).map(({ size }) => size)).toEqual([8 * MIB, 8 * MIB, 8 * MIB])
  await near.blobs.drop(sha256)
  expect(await failureOf(near.blobs.fetch(far.id, sha256))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
})

it('a download that nobody waits for any more ends, and is gone on with after a restart', async () => {
  const home = await tempFolder()
  const far = await startNode({ name: 'far' })
  const first = await startNode({ name: 'near', home })
  await first.connect(addressOf(far))
  const bytes = bytesOf(7, 32 * MIB)
  const { sha256 } = await far.blobs.put(bytes)
  await far.blobs.allow(sha256, first.id)
  const controller = new AbortController()
  const onProgress = (received: number): void => {
    if (received > 4 * MIB) controller.abort()
  }
  const given = first.blobs.fetch(far.id, sha256, { signal: controller.signal, onProgress })
  expect(await failureOf(given)).toMatchObject({ code: 'CANCELLED' })
  await first.stop()
  const { size: kept } = await stat(join(home, 'blobs', 'partial', sha256))
  expect(kept).toBeGreaterThan(4 * MIB)
  const second = await startNode({ name: 'near', home })
  let least = Number.POSITIVE_INFINITY
  await second.blobs.fetch(far.id, sha256, { onProgress: (received) => (least = Math.min(least, received)) })
  expect(least).toBeGreaterThan(kept)
  expect((await contentOf(second, sha256)).equals(bytes)).toBe(true)
  expect(await readdir(join(home, 'blobs', 'partial'))).toEqual([])
})

/** Serves whatever it likes. */
async function startLiar(send: (request: { offset?: number }) => readonly Uint8Array[]): Promise<TestNode> {
  const liar = await startBare()
  await liar.libp2p.handle(BLOB_PROTOCOL, (stream) => {
    stream.addEventListener('message', ({ data }) => {
      const request = JSON.parse(Buffer.from(data.subarray()).subarray(1).toString()) as { offset?: number }
      for (const bytes of send(request)) stream.send(bytes)
      stream.close().catch(() => {})
    })
  })
  return liar
}

const header = (value: unknown): Uint8Array => encodeFrame(JSON.stringify(value))

it.each([
  { id: 'other bytes', send: () => [header({ size: 9 }), Buffer.from('123456789')], code: 'INVALID_MESSAGE' },
  { id: 'more bytes than it says', send: () => [header({ size: 3 }), Buffer.from('1234')], code: 'INVALID_MESSAGE' },
  { id: 'no header', send: () => [header({ length: 9 })], code: 'INVALID_MESSAGE' },
  { id: 'a header that is no JSON', send: () => [encodeFrame('nothing')], code: 'INVALID_MESSAGE' },
  { id: 'a header that is too long', send: () => [encodeFrame(`"${'x'.repeat(5_000)}"`)], code: 'TOO_LARGE' },
  { id: 'more than a blob may be', send: () => [header({ size: 2 ** 40 })], code: 'TOO_LARGE' },
  { id: 'more than there is room for', send: () => [header({ size: 200_000 })], code: 'LIMIT_EXCEEDED' },
  { id: 'nothing at all', send: () => [], code: 'CONNECTION_LOST' }
])('a peer that sends $id: $code, and nothing is kept', async ({ send, code }) => {
  const home = await tempFolder()
  const near = await startNode({ home, blobs: { quotaBytes: 100_000 } })
  const liar = await startLiar(send)
  await near.connect(`${liar.libp2p.getMultiaddrs()[0]?.toString()}`)
  const sha256 = hashOf(bytesOf(8, 9))
  expect(await failureOf(near.blobs.fetch(liar.id, sha256))).toMatchObject({ code })
  expect(near.blobs.list()).toEqual([])
  const left = await readdir(join(home, 'blobs', 'partial'))
  for (const name of left) expect((await stat(join(home, 'blobs', 'partial', name))).size).toBe(0)
})

it('after a liar, an honest peer is believed', async () => {
  const [near, far] = await startPair()
  const bytes = bytesOf(9, 200_000)
  const { sha256 } = await far.blobs.put(bytes)
  await far.blobs.allow(sha256, near.id)
  // Breaks off in the middle, so that what it sent stays for the next
  const liar = await startLiar(() => [header({ size: 200_000 }), Buffer.alloc(100_000)])
  await near.connect(`${liar.libp2p.getMultiaddrs()[0]?.toString()}`)
  const signal = AbortSignal.timeout(1_000)
  expect(await failureOf(near.blobs.fetch(liar.id, sha256, { signal }))).toMatchObject({ code: expect.any(String) })
  await near.blobs.fetch(far.id, sha256)
  expect((await contentOf(near, sha256)).equals(bytes)).toBe(true)
})

it('an offset beyond the end is refused, and so are what is no request and a fifth transfer', async () => {
  const far = await startNode()
  const { sha256 } = await far.blobs.put(bytesOf(10, 8 * MIB))
  await far.policy.put([{ id: 'blobs', effect: 'allow', who: '*', act: 'blob.read', res: 'blob:*' }])
  const asker = await startBare()
  const connection = await asker.libp2p.dial(multiaddr(addressOf(far)))
  onTestFinished(() => connection.abort(new Error('the test is over')))
  const open = async (request: unknown) => {
    const stream = await connection.newStream(BLOB_PROTOCOL)
    stream.send(header(request))
    const { promise, resolve } = Promise.withResolvers<unknown>()
    stream.addEventListener('message', ({ data }) => {
      stream.pause()
      const bytes = Buffer.from(data.subarray())
      // What is shorter than 128 bytes has a length of one
      const at = (bytes[0] ?? 0) < 128 ? 1 : 2
      resolve(JSON.parse(bytes.subarray(at, endOf(bytes, at)).toString()))
    })
    return promise
  }
  expect(await open({ sha256, offset: 8 * MIB + 1 })).toMatchObject({ error: { code: 'INVALID_ARGUMENT' } })
  expect(await open({ sha256: 'x' })).toMatchObject({ error: { code: 'INVALID_MESSAGE' } })
  expect(await open({ sha256, offset: 8 * MIB })).toEqual({ size: 8 * MIB })
  for (let n = 0; n < 4; n += 1) expect(await open({ sha256 })).toEqual({ size: 8 * MIB })
  expect(await open({ sha256 })).toMatchObject({ error: { code: 'BUSY', retryable: true } })
})

/** Where the first frame ends. */
function endOf(bytes: Buffer, at: number): number {
  const length = at === 1 ? (bytes[0] ?? 0) : ((bytes[0] ?? 0) & 0x7f) + ((bytes[1] ?? 0) << 7)
  return at + length
}

it('what has no room is refused, and leaves none taken', async () => {
  const node = await startNode({ blobs: { quotaBytes: 1_000 } })
  await node.blobs.put(bytesOf(11, 300))
  expect(await failureOf(node.blobs.put(bytesOf(12, 800)))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  await node.blobs.put(bytesOf(11, 300))
  await node.blobs.put(bytesOf(13, 700))
  expect(await failureOf(node.blobs.put(bytesOf(14, 1)))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  await node.blobs.drop(hashOf(bytesOf(13, 700)))
  await node.blobs.put(bytesOf(14, 700))
})

it('tells what it has not, what is no name, and what is in use', async () => {
  const node = await startNode()
  const none = hashOf(bytesOf(15, 1))
  const { sha256 } = await node.blobs.put(bytesOf(16, 10))
  const folder = await tempFolder()
  const file = join(folder, 'copy')
  await node.blobs.save(sha256, file)
  expect((await readFile(file)).equals(bytesOf(16, 10))).toBe(true)
  await node.blobs.hold(sha256, { purpose: 'a test' })
  const failures: readonly [() => Promise<unknown>, string][] = [
    [() => contentOf(node, none), 'NOT_FOUND'],
    [() => contentOf(node, sha256, 11), 'INVALID_ARGUMENT'],
    [() => node.blobs.drop(none), 'NOT_FOUND'],
    [() => node.blobs.drop(sha256), 'INVALID_ARGUMENT'],
    [() => node.blobs.hold(none, { purpose: 'another' }), 'NOT_FOUND'],
    [() => node.blobs.allow(none, node.id), 'NOT_FOUND'],
    [() => node.blobs.fetch(node.id, 'ABC'), 'INVALID_ARGUMENT'],
    [() => node.blobs.save(sha256, file), 'ALREADY_EXISTS'],
    [() => node.blobs.save(sha256, join(folder, 'no', 'where')), 'IO'],
    [() => node.blobs.put(join(folder, 'missing')), 'IO']
  ]
  for (const [fail, code] of failures) expect(await failureOf(fail())).toMatchObject({ code })
  expect(node.blobs.purposes()).toEqual(['a test'])
  await node.blobs.release(['a test', 'another'])
  await node.blobs.drop(sha256)
  expect(node.blobs.list()).toEqual([])
})

it('what is put for a purpose is kept for it, read by whom it is for, and gone with the last', async () => {
  const [near, far] = await startPair()
  const bytes = bytesOf(17, 1_000)
  const { sha256 } = await far.blobs.put(bytes, { hold: { purpose: 'first', reader: near.id } })
  await far.blobs.hold(sha256, { purpose: 'second' })
  expect(far.blobs.get(sha256)).toMatchObject({ pins: 2, readers: [near.id] })
  await near.blobs.fetch(far.id, sha256)
  await near.blobs.drop(sha256)
  await far.blobs.release(['first'])
  expect(await failureOf(near.blobs.fetch(far.id, sha256))).toMatchObject({ code: 'FORBIDDEN' })
  expect(await failureOf(far.blobs.drop(sha256))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  await far.blobs.release(['second'])
  expect(far.blobs.has(sha256)).toBe(false)
})

it('what is put again to stay, stays when nothing holds it any more', async () => {
  const node = await startNode()
  const { sha256 } = await node.blobs.put(bytesOf(18, 10), { hold: { purpose: 'a while' } })
  await node.blobs.put(bytesOf(18, 10))
  const other = await node.blobs.put(bytesOf(19, 10))
  await node.blobs.put(bytesOf(19, 10), { hold: { purpose: 'another' } })
  await node.blobs.release(['a while', 'another'])
  expect([sha256, other.sha256].map((each) => node.blobs.has(each))).toEqual([true, true])
})

it('what goes and is put again at once is there', async () => {
  const node = await startNode()
  const bytes = bytesOf(20, 100_000)
  for (let n = 0; n < 20; n += 1) {
    const { sha256 } = await node.blobs.put(bytes, { hold: { purpose: `${n}` } })
    const [, again] = await Promise.all([
      node.blobs.release([`${n}`]),
      node.blobs.put(bytes, { hold: { purpose: 'x' } })
    ])
    expect((await contentOf(node, again.sha256)).length).toBe(bytes.length)
    await node.blobs.release(['x'])
    expect(node.blobs.has(sha256)).toBe(false)
  }
})
