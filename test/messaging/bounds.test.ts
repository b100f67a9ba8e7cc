import { execFileSync } from 'node:child_process'
import { mkdtempSync, writeFileSync } from 'node:fs'
import { rm, statfs } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { createUlids } from '../../src/messaging/ulid.ts'
import { createBallast } from '../../src/store/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { joined, Mesh, openRoom, soon } from './room.ts'

const MIB = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

it('keeps 100,000 messages for one absent peer, and brings them in their order, without holding them in memory', {
  timeout: 180_000
}, async () => {
  const mesh = new Mesh()
  const ann = await openRoom(mesh, { path: join(await tempFolder(), 'mesh.db') })
  const bob = await openRoom(mesh, { path: join(await tempFolder(), 'mesh.db') })
  mesh.cut.add(bob.id)
  let handled = 0
  let isInOrder = true
  bob.handlers.set('keeper', ({ body }) => {
    isInOrder &&= (body as { n: number }).n === handled
    handled += 1
  })
  const text = 'x'.repeat(256)
  const send = async (from: number, count: number) => {
    const bodies = Array.from({ length: count }, (_, index) => ({ n: from + index, text }))
    await Promise.all(bodies.map((body) => ann.messaging.send({ to: `${bob.id}/keeper`, body })))
  }
  const usage = () => {
    // What the test itself keeps of events
    for (const { told } of [ann, bob]) told.length = 0
    collectGarbage()
    const { heapUsed, external, rss } = process.memoryUsage()
    return { held: (heapUsed + external) / MIB, rss: rss / MIB }
  }
  await send(0, 1_000)
  const first = usage()
  for (let sent = 1_000; sent < 50_000; sent += 1_000) await send(sent, 1_000)
  const half = usage()
  for (let sent = 50_000; sent < 100_000; sent += 1_000) await send(sent, 1_000)
  const last = usage()
  expect(ann.messaging.counts.queued).toBe(100_000)
  expect(last.held - first.held).toBeLessThan(16)
  // The heaps of two threads grow at first, whatever they hold; with messages they would go on
  expect(last.rss - half.rss).toBeLessThan(64)

  mesh.cut.delete(bob.id)
  joined(ann, bob.id)
  await expect.poll(() => handled, { timeout: 100_000, interval: 50 }).toBeGreaterThan(50_000)
  expect(usage().held - first.held).toBeLessThan(32)
  await expect.poll(() => ann.messaging.counts.queued, { timeout: 100_000, interval: 50 }).toBe(0)
  expect(handled).toBe(100_000)
  expect(isInOrder).toBe(true)
  expect(usage().held - first.held).toBeLessThan(16)
})

it.each([
  { id: 'of the same millisecond', steps: [0, 0, 0, 0] },
  { id: 'of a clock that steps back', steps: [0, -5_000, 1, -1] },
  { id: 'of a clock that goes on', steps: [1, 1, 60_000, 1] }
])('ULIDs $id sort in the order of their making', ({ steps }) => {
  let now = 1_795_428_000_000
  const next = createUlids(() => now)
  const ids = steps.map((step) => {
    now += step
    return next()
  })
  expect(ids).toEqual(ids.toSorted())
  expect(new Set(ids).size).toBe(ids.length)
  for (const id of ids) expect(id).toMatch(/^01M8[0-9A-HJKMNP-TV-Z]{22}$/)
})

it('whatever JSON a body is, it arrives as it was sent', async () => {
  const mesh = new Mesh()
  const [ann, bob] = [await openRoom(mesh), await openRoom(mesh)]
  let arrived: unknown
  bob.handlers.set('keeper', ({ body }) => {
    arrived = body
  })
  await fc.assert(
    fc.asyncProperty(fc.jsonValue({ maxDepth: 5 }), async (value) => {
      const body: unknown = JSON.parse(JSON.stringify(value))
      const hasForbidden = /"(__proto__|constructor|prototype)":/.test(JSON.stringify(body))
      fc.pre(!hasForbidden)
      const { id } = await ann.messaging.send({ to: `${bob.id}/keeper`, body })
      await ann.messaging.waitFor(id, { signal: soon() })
      expect(arrived).toEqual(body)
    }),
    { numRuns: 50 }
  )
})

it('after a restart the sender goes on where it was, and the receiver knows what it has', async () => {
  const mesh = new Mesh()
  const folder = await tempFolder()
  const [annKey, bobKey] = [createIdentity(), createIdentity()]
  const open = (name: string, identity = annKey) => openRoom(mesh, { path: join(folder, `${name}.db`), identity })
  const seen: unknown[] = []
  const openBob = async () => {
    const room = await open('bob', bobKey)
    room.handlers.set('keeper', ({ body }) => void seen.push(body))
    return room
  }
  mesh.cut.add(bobKey.id)
  let ann = await open('ann')
  const ids = await Promise.all([1, 2, 3].map((body) => ann.messaging.send({ to: `${bobKey.id}/keeper`, body })))
  await ann.crash()
  let bob = await openBob()
  mesh.cut.delete(bobKey.id)
  // The answers are lost: it has them, the sender doesn't know
  mesh.meddle = async (_from, _to, _body, answer) => {
    await answer()
    throw new Error('lost')
  }
  ann = await open('ann')
  await expect.poll(() => seen).toEqual([1, 2, 3])
  await Promise.all([ann.crash(), bob.crash()])
  mesh.meddle = (_from, _to, _body, answer) => answer()
  bob = await openBob()
  ann = await open('ann')
  for (const { id } of ids) await ann.messaging.waitFor(id, { signal: soon() })
  const { id } = await ann.messaging.send({ to: `${bob.id}/keeper`, body: 4 })
  await ann.messaging.waitFor(id, { signal: soon() })
  expect(seen).toEqual([1, 2, 3, 4])
})

it('the ballast is laid in while there is room, given back when a write fails, and laid in again', async () => {
  const path = join(await tempFolder(), 'ballast')
  let free = 200 * MIB
  const ballast = await createBallast('/', { path, freeBytes: async () => free })
  onTestFinished(() => ballast.stop())
  const isThere = () =>
    statfs(path).then(
      () => true,
      () => false
    )
  expect(await isThere()).toBe(true)
  expect(ballast.refusal()).toBeUndefined()
  free = 47 * MIB
  await ballast.release()
  expect(await isThere()).toBe(false)
  expect(ballast.refusal()).toMatchObject({ code: 'IO' })
  free = 60 * MIB
  await ballast.check()
  expect([ballast.refusal(), await isThere()]).toEqual([undefined, false])
  free = 90 * MIB
  await ballast.check()
  expect(await isThere()).toBe(true)
})

it.skipIf(process.getuid?.() !== 0)(
  'on a full disk sending fails with IO, and what was sent before is there (root only)',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'mesh-full-'))
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=8m', 'tmpfs', folder])
    onTestFinished(async () => {
      execFileSync('umount', ['-l', folder])
      await rm(folder, { recursive: true })
    })
    const mesh = new Mesh()
    const identity = createIdentity()
    const path = join(folder, 'mesh.db')
    const ann = await openRoom(mesh, { path, identity })
    const to = `${createIdentity().id}/keeper`
    const kept = await ann.messaging.send({ to, body: 'before' })
    const filler = join(folder, 'filler')
    try {
      writeFileSync(filler, Buffer.alloc(8 * MIB))
    } catch {
      // It is full now
    }
    const sends = Array.from({ length: 20 }, () => ann.messaging.send({ to, body: 'x'.repeat(100_000) }))
    expect(await failureOf(Promise.all(sends))).toMatchObject({ code: 'IO' })
    await Promise.allSettled(sends)
    await rm(filler)
    const again = await ann.messaging.send({ to, body: 'after' })
    expect(ann.messaging.outbox().map(({ id }) => id)).toEqual(expect.arrayContaining([kept.id, again.id]))
  }
)
