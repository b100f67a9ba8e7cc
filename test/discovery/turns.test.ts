import { setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DIAL_LANES, MAX_CANDIDATES } from '../../src/discovery/constants.ts'
import type { FindStep } from '../../src/discovery/index.ts'
import { createFairLane } from '../../src/discovery/lane.ts'
import { namedByWorth, recordsByWorth } from '../../src/discovery/worth.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { all, TestMesh } from './mesh.ts'
import { tool, unsigned } from './records.ts'

describe('a fair lane', () => {
  it('takes work of each giver in turn, however much one gives', async () => {
    const lane = createFairLane(1)
    const { signal } = new AbortController()
    const done: string[] = []
    const work = (giver: string, n: number) => lane.run(giver, async () => void done.push(`${giver}${n}`), signal)
    const running = [0, 1, 2, 3].map((n) => work('liar', n))
    await Promise.all([...running, work('a', 0), work('b', 0), work('a', 1)])
    expect(done).toEqual(['liar0', 'liar1', 'a0', 'b0', 'liar2', 'a1', 'liar3'])
  })

  it('does all work once, so many at a time, and starts none after the signal', async () => {
    const jobs = fc.array(fc.record({ giver: fc.constantFrom('a', 'b', 'c'), fails: fc.boolean() }), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(jobs, fc.integer({ min: 1, max: 4 }), async (given, width) => {
        const lane = createFairLane(width)
        let running = 0
        let done = 0
        const work = (fails: boolean) => async () => {
          running++
          expect(running).toBeLessThanOrEqual(width)
          await Promise.resolve()
          running--
          done++
          if (fails) throw new Error('its own affair')
        }
        const { signal } = new AbortController()
        await Promise.allSettled(given.map(({ giver, fails }) => lane.run(giver, work(fails), signal)))
        expect(done).toBe(given.length)
        await Promise.allSettled(given.map(({ giver }) => lane.run(giver, work(false), AbortSignal.abort())))
        expect(done).toBe(given.length)
      })
    )
  })
})

describe('liars among the holders', () => {
  it('waste their own turns: the first that holds is found while each of them names nineteen who are not there', async () => {
    const { mesh, a, agent, liars } = await lied(6)
    const walked = Promise.withResolvers<void>()
    mesh.walk = async () => {
      walked.resolve()
      return true
    }
    // Longer than a record takes to be verified
    mesh.dial = () => walked.promise.then(() => sleep(20))
    const steps: FindStep[] = []
    const results = a.discovery.find({ name: 'db.query', limit: 1, onStep: (step) => steps.push(step) })
    expect(await all(results)).toMatchObject([{ agent, source: 'dht' }])
    const asked = steps.filter(({ step }) => step === 'owner')
    expect(asked.length).toBeLessThanOrEqual(liars.length + 2 * DIAL_LANES)
    expect(mesh.walks.at(-1)).toMatchObject({ maxMessages: 40 })
  })

  it('are counted with what they named and nobody confirmed', async () => {
    const { a } = await lied(3)
    const results = a.discovery.find({ name: 'db.query' })
    expect(await all(results)).toHaveLength(1)
    const { complete } = await results.summary
    expect(complete).toBe(true)
    expect(a.discovery.status()).toMatchObject({ candidates: 58, falseCandidates: 57, finds: 1, walkedFinds: 1 })
  })

  it('make a find incomplete when they name more than it may ask', async () => {
    const { a } = await lied(15)
    const results = a.discovery.find({ name: 'db.query' })
    expect(await all(results)).toHaveLength(1)
    expect((await results.summary).complete).toBe(false)
    expect(a.discovery.status().candidates).toBe(MAX_CANDIDATES)
  })

  /** A searcher that knows nobody, a provider, and holders of which all but the last lie. */
  async function lied(count: number) {
    const mesh = new TestMesh()
    const fakes = new Map(Array.from({ length: count }, (_, i) => [`liar${i}`, Array.from({ length: 19 }, fakeId)]))
    const b = await mesh.node({ catalogueNodes: 0 })
    const agent = await b.offer('sql', ['db.query'])
    const a = await mesh.node({ catalogueNodes: 0 })
    const liars = [...fakes.keys()]
    mesh.holders = [...liars, 'honest']
    mesh.named = (holder) => fakes.get(holder) ?? [b.id]
    return { mesh, a, b, agent, liars }
  }
})

describe('worth', () => {
  const trusted = createIdentity()
  const stranger = createIdentity()
  const trustOf = (peer: string) => (peer === trusted.id ? 'trusted' : 'unknown')

  it('is trust before nearness, nearness before version, version before age', () => {
    const of = (identity: Identity, name: string, seq: number, version: string) =>
      unsigned({ identity, name, seq, capabilities: [tool('x', { version })] })
    const records = [
      of(stranger, 'old', 1, '1.0.0'),
      of(stranger, 'new', 2, '1.0.0'),
      of(stranger, 'high', 1, '9.0.0'),
      of(trusted, 'mine', 1, '0.1.0')
    ]
    const match = (record: (typeof records)[number]['record']) => record.capabilities
    const ordered = recordsByWorth(records, { trustOf, isNear: () => false, match })
    expect(ordered.map(({ record }) => record.name)).toEqual(['mine', 'high', 'new', 'old'])
  })

  it('of those that are only named is trust, and no claim of a version but to have the right one', () => {
    const named = [
      { peer: 'wrong', versions: ['1.0.0'], addresses: [] },
      { peer: 'first', versions: ['2.0.0'], addresses: [] },
      { peer: 'second', versions: ['2.99.0'], addresses: [] },
      { peer: 'silent', versions: [], addresses: [] },
      { peer: trusted.id, versions: ['2.0.0'], addresses: [] }
    ]
    const ordered = namedByWorth(named, { trustOf, hasVersion: (version) => version.startsWith('2') })
    expect(ordered.map(({ peer }) => peer)).toEqual([trusted.id, 'first', 'second', 'silent', 'wrong'])
  })
})

function fakeId(): string {
  return createIdentity().id
}
