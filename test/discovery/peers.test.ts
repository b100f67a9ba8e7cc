import { expect, it, onTestFinished, vi } from 'vitest'
import {
  CATALOGUE_TOPIC,
  FRESH_MS,
  JOIN_JITTER_MS,
  MAX_GIVER_HINTS,
  SNAPSHOT_FIRST_MS,
  UPKEEP_MS
} from '../../src/discovery/constants.ts'
import { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { all, TestMesh, until } from './mesh.ts'
import { NOW } from './records.ts'

function fakeTime(): void {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval'] })
  onTestFinished(() => void vi.useRealTimers())
}

/** Lets what has been asked and read take effect. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

const asked = (mesh: TestMesh, from: { id: string }, op: string) =>
  mesh.requests.filter((request) => request.from === from.id && request.body['op'] === op)

it('a joining peer is synchronised once, and again when it is not fresh any more', async () => {
  fakeTime()
  const mesh = new TestMesh()
  const [a, b] = [await mesh.node(), await mesh.node()]
  await b.offer('fs', ['read'])
  mesh.link(a, b)
  await vi.advanceTimersByTimeAsync(JOIN_JITTER_MS)
  await a.found('read')
  await settled()
  expect(asked(mesh, a, 'query')).toHaveLength(1)
  // Once more soon: it may have just started.
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  expect(asked(mesh, a, 'query')).toHaveLength(2)
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  expect(asked(mesh, a, 'query')).toHaveLength(2)
  mesh.nowMs += FRESH_MS
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  await until(() => asked(mesh, a, 'query').length === 3)
  mesh.cut(a, b)
  mesh.nowMs += FRESH_MS
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  expect(asked(mesh, a, 'query')).toHaveLength(3)
})

it('what a peer does not give any more is gone after the next synchronisation, though nobody told', async () => {
  fakeTime()
  const mesh = new TestMesh()
  const [a, b] = [await mesh.node(), await mesh.node()]
  b.trust = 'known'
  await b.offer('secret', ['x'], { audience: 'paired' })
  mesh.link(a, b)
  await vi.advanceTimersByTimeAsync(JOIN_JITTER_MS)
  await a.found('x')
  await settled()
  b.trust = 'unknown'
  mesh.nowMs += FRESH_MS
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  await a.gone('x')
  b.trust = 'known'
  expect(await all(a.discovery.find({ name: 'x' }))).toEqual([])
})

it('records that expire are gone', async () => {
  fakeTime()
  const mesh = new TestMesh()
  const [a, b] = [await mesh.node(), await mesh.node()]
  await b.offer('fs', ['read'])
  mesh.link(a, b)
  await vi.advanceTimersByTimeAsync(JOIN_JITTER_MS)
  await a.found('read')
  await settled()
  mesh.cut(a, b)
  mesh.nowMs += 3 * 60 * 60_000
  expect(a.discovery.known(`${b.id}/fs`)).toBeUndefined()
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  await a.gone('read')
})

it('a joining node learns from two peers what others offer, and asks the owners', async () => {
  const mesh = new TestMesh()
  const [a, x, y, z, far] = await Promise.all(Array.from({ length: 5 }, () => mesh.node()))
  if (a === undefined || x === undefined || y === undefined || z === undefined || far === undefined)
    throw new Error('5')
  mesh.link(x, far)
  const agent = await far.offer('fs', ['read'])
  await x.found('read')
  for (const other of [y, z, x]) mesh.link(a, other)
  await until(() => asked(mesh, a, 'hints').length === 2)
  mesh.cut(a, y)
  await until(() => asked(mesh, a, 'query').some(({ to }) => to === z.id))
  mesh.walk = () => Promise.resolve(false)
  const found = await all(a.discovery.find({ text: 'read' }))
  expect(found).toMatchObject([{ agent, source: 'topic' }])
})

it('a hint that got lost is in a later snapshot', async () => {
  fakeTime()
  const mesh = new TestMesh()
  const [a, x, far] = [await mesh.node(), await mesh.node(), await mesh.node()]
  mesh.link(a, x)
  await vi.advanceTimersByTimeAsync(JOIN_JITTER_MS)
  await until(() => asked(mesh, a, 'hints').length === 1)
  await settled()
  mesh.topics.get(CATALOGUE_TOPIC)?.delete(a.id)
  mesh.link(x, far)
  const agent = await far.offer('fs', ['read'])
  await x.found('read')
  mesh.walk = () => Promise.resolve(false)
  expect(await all(a.discovery.find({ text: 'read' }))).toEqual([])
  await vi.advanceTimersByTimeAsync(3 * SNAPSHOT_FIRST_MS)
  await until(() => asked(mesh, a, 'hints').length >= 2)
  await settled()
  const found = all(a.discovery.find({ text: 'read' }))
  await vi.advanceTimersByTimeAsync(2 * JOIN_JITTER_MS)
  await vi.advanceTimersByTimeAsync(SNAPSHOT_FIRST_MS)
  expect(await found).toMatchObject([{ agent, source: 'topic' }])
})

it('lies in a snapshot are bounded, and are candidates at most', async () => {
  const mesh = new TestMesh()
  const a = await mesh.node()
  const claimed = Array.from({ length: 1000 }, (_, i) => ({
    id: `${createIdentity().id}/a${i}`,
    seq: 1,
    exp: NOW / 1000 + 60,
    digest: 'd'.repeat(43),
    caps: { 'tool@1.0.0': ['read'] }
  }))
  const liar = mesh.stranger((body) =>
    (body as { op: string }).op === 'hints' ? { hints: claimed } : { records: [], more: false }
  )
  mesh.link(a, liar)
  await until(() => asked(mesh, a, 'hints').length === 1)
  await settled()
  const results = a.discovery.find({ name: 'read' })
  expect(await all(results)).toEqual([])
  expect((await results.summary).complete).toBe(false)
  expect(claimed.length).toBeLessThan(MAX_GIVER_HINTS)
})

it('a peer that gives junk for a snapshot does no harm', async () => {
  const mesh = new TestMesh()
  const a = await mesh.node()
  mesh.link(
    a,
    mesh.stranger((body) => ((body as { op: string }).op === 'hints' ? { hints: [{}] } : { records: [], more: false }))
  )
  expect(await a.emitted('record:refused')).toMatchObject({ reason: 'malformed' })
})

it('a peer that did not speak the protocol when it joined is asked again', async () => {
  fakeTime()
  const mesh = new TestMesh()
  const [a, b] = [await mesh.node(), await mesh.node()]
  await b.offer('fs', ['read'])
  const { answer } = b
  b.answer = () => {
    throw new MeshError('UNSUPPORTED_VERSION', 'not yet')
  }
  mesh.link(a, b)
  await vi.advanceTimersByTimeAsync(JOIN_JITTER_MS)
  await settled()
  expect(await all(a.discovery.find({ name: 'read' }))).toEqual([])
  b.answer = answer
  mesh.nowMs += UPKEEP_MS
  await vi.advanceTimersByTimeAsync(UPKEEP_MS)
  await a.found('read')
})
