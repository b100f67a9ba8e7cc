import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import {
  createTrust,
  EVIDENCE,
  type EvidenceKind,
  MAX_CHANGES_PER_PEER,
  MAX_GOOD_PER_DAY,
  MAX_PEERS,
  trustMigrations,
  WEIGHTS
} from '../../src/trust/index.ts'
import { peerIdFromKey } from '../../src/wire/index.ts'
import { tempFolder } from '../temp.ts'

const DAY_MS = 86_400_000
const PEER = createIdentity().id
const OTHER = createIdentity().id

describe('evidence', () => {
  it('makes a peer known after days of good calls, and tells why', async () => {
    const { trust, clock, changes, events } = await open()
    goodDays({ trust, clock }, 3)
    expect(trust.of(PEER)).toEqual({ level: 'unknown' })
    goodDays({ trust, clock }, 1)
    expect(trust.of(PEER)).toEqual({ level: 'known' })
    expect(changes).toEqual([`${PEER} unknown>known`])
    expect(events).toEqual([
      {
        peer: PEER,
        from: 'unknown',
        to: 'known',
        by: 'evidence',
        reason: expect.stringMatching(/^at least 0\.\d\d of its interactions are good/)
      }
    ])
    expect(trust.why(PEER)).toMatchObject({
      level: 'known',
      setBy: 'evidence',
      reason: expect.stringContaining('Evidence moved it to known: at least 0.'),
      evidence: [{ kind: 'call:completed', count: 40 }],
      changes: [{ from: 'unknown', to: 'known', by: 'evidence' }]
    })
  })

  it('counts no more good calls than a day may have, but every bad one', async () => {
    const { trust } = await open()
    for (let n = 0; n < 1_000; n++) trust.note(PEER, 'call:completed')
    for (let n = 0; n < 100; n++) trust.note(PEER, 'schema:violated')
    expect(trust.why(PEER)).toMatchObject({
      level: 'unknown',
      interactions: MAX_GOOD_PER_DAY + 100,
      evidence: [
        { kind: 'call:completed', count: 1_000, weight: MAX_GOOD_PER_DAY },
        { kind: 'schema:violated', count: 100, weight: 100 }
      ]
    })
  })

  it('lowers what the owner set by one step, and the owner may set it again', async () => {
    const { trust, events } = await open()
    await trust.set(PEER, { level: 'trusted' })
    for (let n = 0; n < 2; n++) trust.note(PEER, 'protocol:broken')
    expect(trust.why(PEER)).toMatchObject({ level: 'known', setBy: 'evidence', changes: [{ by: 'evidence' }, {}] })
    expect(events.at(-1)).toMatchObject({ from: 'trusted', to: 'known', by: 'evidence' })
    await trust.set(PEER, { level: 'trusted' })
    expect(trust.of(PEER).level).toBe('trusted')
  })

  it('never raises whom the owner has set to unknown', async () => {
    const { trust, clock } = await open()
    await trust.set(PEER, { level: 'unknown' })
    goodDays({ trust, clock }, 30)
    expect(trust.of(PEER).level).toBe('unknown')
    expect(trust.why(PEER).reason).toContain('only the owner raises it')
  })

  it('is forgotten by half every week, without taking a level', async () => {
    const { trust, clock } = await open()
    goodDays({ trust, clock }, 5)
    const before = trust.why(PEER)
    clock.now += 70 * DAY_MS
    const after = trust.why(PEER)
    expect(after.interactions).toBeCloseTo(before.interactions / 1_024)
    expect(after.score).toBeLessThan(before.score)
    trust.note(PEER, 'schema:violated')
    expect(trust.of(PEER).level).toBe('known')
  })

  it('moves no peer up and down by a few calls', async () => {
    const store = await memory()
    let moved = 0
    const step = fc.record({
      kind: fc.oneof({ arbitrary: fc.constant('call:completed' as const), weight: 3 }, fc.constantFrom(...EVIDENCE)),
      times: fc.integer({ min: 1, max: 30 }),
      laterMs: fc.integer({ min: 0, max: 10 * DAY_MS })
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
        const { trust, clock, changes } = await open(store)
        const peer = createIdentity().id
        const since = { good: 0, bad: 0 }
        const moves: { to: string; good: number; bad: number }[] = []
        for (const { kind, times, laterMs } of steps) {
          clock.now += laterMs
          for (let n = 0; n < times; n++) {
            const seen = changes.length
            since[kind === 'call:completed' ? 'good' : 'bad'] += WEIGHTS[kind]
            trust.note(peer, kind)
            if (changes.length === seen) continue
            moves.push({ to: trust.of(peer).level, ...since })
            since.good = 0
            since.bad = 0
          }
        }
        // Between two moves lies a good deal of what moves it the other way
        const byLittle = moves.filter(({ to, good, bad }) => (to === 'known' ? good < 9 : bad < 4))
        expect(byLittle).toEqual([])
        moved += moves.length
      }),
      { numRuns: 200 }
    )
    expect(moved, 'the property is about something').toBeGreaterThan(20)
  })

  it.each(['', 'api-key:abc', '12D3KooWnonsense', `${PEER}x`])(
    'of %j, which is no PeerId, is not kept',
    async (peer) => {
      const { trust } = await open()
      trust.note(peer, 'protocol:broken')
      expect(trust.list()).toEqual([])
    }
  )

  it('of 100,000 calls costs one write', async () => {
    const store = await memory()
    let writes = 0
    const write: Store['write'] = (statements) => {
      writes++
      return store.write(statements)
    }
    const { trust } = await open({ ...store, write })
    for (let n = 0; n < 100_000; n++) trust.note(PEER, 'call:completed')
    await trust.stop()
    expect(writes).toBe(1)
    expect((await open(store)).trust.why(PEER).evidence).toMatchObject([{ count: 100_000 }])
  })

  it('that the disk refused is written the next time', async () => {
    const store = await memory()
    let refusals = 1
    const write: Store['write'] = (statements) =>
      refusals-- > 0 ? Promise.reject(new Error('full')) : store.write(statements)
    const { trust } = await open({ ...store, write })
    trust.note(PEER, 'schema:violated')
    await expect(trust.stop()).rejects.toThrow('full')
    await trust.stop()
    expect((await open(store)).trust.list()).toMatchObject([{ peer: PEER }])
  })

  it('of more strangers than are remembered displaces those with the least, and nobody the owner spoke of', async () => {
    const store = await memory()
    const { trust } = await open(store)
    await trust.set(PEER, { level: 'blocked' })
    for (let n = 0; n < 3; n++) trust.note(OTHER, 'schema:violated')
    for (let n = 0; n < MAX_PEERS; n++) trust.note(strangerOf(n), 'call:completed')
    expect(trust.list().length).toBeLessThanOrEqual(MAX_PEERS)
    expect(trust.of(PEER).level).toBe('blocked')
    expect(trust.why(OTHER).evidence).toHaveLength(1)
    await trust.stop()
    expect((await open(store)).trust.list()).toHaveLength(trust.list().length)
  })
})

describe('the owner', () => {
  it('sets level and alias, which hold across restarts with all evidence', async () => {
    const path = join(await tempFolder(), 'mesh.db')
    const store = await openStore({ path, migrations: [trustMigrations] })
    const first = await open(store)
    first.trust.note(PEER, 'call:completed')
    first.trust.note(PEER, 'limit:breached')
    await first.trust.set(PEER, { level: 'trusted', alias: 'carol', reason: 'met her' })
    await first.trust.stop()
    const report = first.trust.why(PEER)
    await store.close()
    const again = await openStore({ path, migrations: [trustMigrations] })
    onTestFinished(() => again.close())
    const { trust } = await open(again)
    expect(trust.why('carol')).toEqual(report)
    expect(trust.of(PEER)).toEqual({ level: 'trusted', alias: 'carol' })
    expect(trust.named('carol')).toBe(PEER)
    expect(report).toMatchObject({ changes: [{ from: 'unknown', to: 'trusted', by: 'owner', reason: 'met her' }] })
  })

  it('is heard once it is on disk, and once only', async () => {
    const store = await memory()
    const { trust, changes } = await open(store)
    const done = trust.set(PEER, { level: 'blocked' })
    expect(trust.of(PEER).level).toBe('unknown')
    await done
    await trust.set(PEER, { level: 'blocked' })
    expect(changes).toEqual([`${PEER} unknown>blocked`])
    expect((await open(store)).trust.of(PEER).level).toBe('blocked')
  })

  it('renames, and takes a name away', async () => {
    const { trust } = await open()
    await trust.set(PEER, { alias: 'carol' })
    await trust.set('carol', { alias: 'carla' })
    expect([trust.named('carol'), trust.named('carla')]).toEqual([undefined, PEER])
    await trust.set('carla', { alias: '' })
    expect(trust.of(PEER)).toEqual({ level: 'unknown' })
    expect(trust.named('carla')).toBeUndefined()
  })

  it('gives a name to one peer only, even at once', async () => {
    const { trust } = await open()
    const both = await Promise.allSettled([PEER, OTHER].map((peer) => trust.set(peer, { alias: 'carol' })))
    expect(both).toMatchObject([{ status: 'fulfilled' }, { status: 'rejected', reason: { code: 'ALREADY_EXISTS' } }])
  })

  it.each([
    { id: 'a peer that is none', peer: 'bob', standing: { level: 'known' } },
    { id: 'a level that is none', peer: PEER, standing: { level: 'friend' } },
    { id: 'an alias with a line break', peer: PEER, standing: { alias: 'a\nb' } },
    { id: 'an alias that is too long', peer: PEER, standing: { alias: 'a'.repeat(65) } },
    { id: "an alias that is a peer's id", peer: PEER, standing: { alias: OTHER } },
    { id: 'an empty reason', peer: PEER, standing: { level: 'known', reason: '' } }
  ])('is asked again for $id', async ({ peer, standing }) => {
    const { trust } = await open()
    // As a program without types would ask
    await expect(trust.set(peer, standing as Parameters<typeof trust.set>[1])).rejects.toMatchObject({
      code: 'INVALID_ARGUMENT'
    })
    expect(trust.list()).toEqual([])
  })

  it('changes nothing that the disk refuses', async () => {
    const store = await memory()
    const { trust, changes } = await open({ ...store, write: () => Promise.reject(new Error('full')) })
    await expect(trust.set(PEER, { level: 'blocked', alias: 'x' })).rejects.toThrow('full')
    expect([trust.of(PEER).level, trust.named('x'), changes]).toEqual(['unknown', undefined, []])
  })

  it('sees the last changes and the highest levels first', async () => {
    const { trust } = await open()
    for (let n = 0; n < 15; n++) {
      await trust.set(PEER, { level: 'known', reason: `up ${n}` })
      await trust.set(PEER, { level: 'unknown', reason: `down ${n}` })
    }
    const { changes } = trust.why(PEER)
    expect([changes.length, changes[0]?.reason]).toEqual([MAX_CHANGES_PER_PEER, 'down 14'])
    await trust.set(OTHER, { level: 'trusted' })
    expect(trust.list().map(({ peer }) => peer)).toEqual([OTHER, PEER])
  })

  it('is told that nothing is known of a stranger', async () => {
    const { trust } = await open()
    expect(trust.why(PEER)).toMatchObject({ level: 'unknown', setBy: 'default', evidence: [], changes: [] })
    expect(() => trust.why('nobody')).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})

type Opened = Awaited<ReturnType<typeof open>>

async function open(store?: Store) {
  const clock = { now: Date.parse('2026-11-23T10:00:00.000Z') }
  const events: unknown[] = []
  const changes: string[] = []
  const trust = await createTrust({
    store: store ?? (await memory()),
    emit: (_event, detail) => void events.push(detail),
    clock: () => clock.now
  })
  trust.onChange((peer, now, before) => void changes.push(`${peer} ${before.level}>${now.level}`))
  return { trust, clock, events, changes }
}

async function memory(): Promise<Store> {
  const store = await openStore({ migrations: [trustMigrations] })
  onTestFinished(() => store.close())
  return store
}

/** Ten good calls a day. */
function goodDays({ trust, clock }: Pick<Opened, 'trust' | 'clock'>, days: number): void {
  const kind: EvidenceKind = 'call:completed'
  for (let day = 0; day < days; day++) {
    for (let n = 0; n < 10; n++) trust.note(PEER, kind)
    clock.now += DAY_MS
  }
}

function strangerOf(n: number): string {
  const key = Buffer.alloc(32)
  key.writeUInt32BE(n)
  return peerIdFromKey(key)
}
