import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { DIAL_LANES, MAX_CANDIDATES } from '../../src/discovery/constants.ts'
import type { FindStep } from '../../src/discovery/index.ts'
import { createFairLane } from '../../src/discovery/lane.ts'
import { rankNamed, rankRecords } from '../../src/discovery/ranking.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { all, TestMesh } from './mesh.ts'
import { tool, unsigned } from './records.ts'

describe('a fair lane', () => {
  const { signal } = new AbortController()
  /** Work that ends when it is told to, and what has begun so far. */
  function lane(width: number, patienceMs = 3_600_000) {
    const fair = createFairLane(width, patienceMs)
    const begun: string[] = []
    const ends = new Map<string, (held: boolean | undefined) => void>()
    return {
      begun,
      give: (giver: string, ...candidates: readonly string[]): void => {
        for (const candidate of candidates) {
          const work = async () => {
            begun.push(candidate)
            return new Promise<boolean | undefined>((resolve) => ends.set(candidate, resolve))
          }
          void fair.run({ giver, candidate, work }, signal)
        }
      },
      end: async (candidate: string, held: boolean | undefined): Promise<void> => {
        ends.get(candidate)?.(held)
        await setImmediate()
      }
    }
  }

  it('gives the next turn to who had the fewest, however much another gives', async () => {
    const { begun, give, end } = lane(1)
    give('a', 'a0', 'a1', 'a2')
    give('b', 'b0')
    give('c', 'c0')
    for (const each of ['a0', 'b0', 'c0', 'a1']) await end(each, false)
    expect(begun).toEqual(['a0', 'b0', 'c0', 'a1', 'a2'])
  })

  it('keeps the other places for others, until one that a giver named holds', async () => {
    const { begun, give, end } = lane(3)
    give('a', 'a0', 'a1', 'a2', 'a3')
    expect(begun).toEqual(['a0'])
    give('b', 'b0')
    expect(begun).toEqual(['a0', 'b0'])
    await end('a0', true)
    expect(begun).toEqual(['a0', 'b0', 'a1', 'a2'])
  })

  it('gives a free place to whoever is next when nothing comes of the others for a while', async () => {
    const { begun, give } = lane(3, 1)
    give('a', 'a0', 'a1', 'a2', 'a3')
    expect(begun).toEqual(['a0'])
    await expect.poll(() => begun).toEqual(['a0', 'a1', 'a2'])
  })

  it('lets those who named somebody false wait while one that others named is looked at', async () => {
    const { begun, give, end } = lane(3)
    give('liar', 'fake0', 'fake1')
    give('accomplice', 'fake2', 'fake0', 'fake3')
    give('honest', 'real')
    await end('fake0', false)
    await end('fake2', false)
    expect(begun).toEqual(['fake0', 'fake2', 'real'])
    await end('real', true)
    expect(begun).toHaveLength(5)
  })

  it('takes those last who named what is known to be false already', async () => {
    const { begun, give, end } = lane(1)
    give('a', 'fake')
    await end('fake', false)
    give('b', 'b0')
    give('late', 'late0', 'fake')
    give('c', 'c0')
    await end('b0', true)
    expect(begun).toEqual(['fake', 'b0', 'c0'])
  })

  it('has all places for the doubted when there is nobody else', async () => {
    const { begun, give, end } = lane(2)
    give('a', 'gone', 'a1')
    give('b', 'b0', 'gone', 'b1')
    await end('gone', false)
    await end('b0', undefined)
    expect(begun).toEqual(['gone', 'b0', 'a1', 'gone'])
  })

  it('does all work once, so many at a time, and starts none after the signal', async () => {
    const job = { giver: fc.constantFrom('a', 'b', 'c'), candidate: fc.constantFrom('x', 'y', 'z') }
    const verdict = fc.constantFrom('held', 'failed', 'nothing', 'throws')
    const jobs = fc.array(fc.record({ ...job, verdict }), { maxLength: 40 })
    await fc.assert(
      fc.asyncProperty(jobs, fc.integer({ min: 1, max: 4 }), async (given, width) => {
        const fair = createFairLane(width)
        let [running, done] = [0, 0]
        const work = (verdict: string) => async () => {
          running++
          expect(running).toBeLessThanOrEqual(width)
          await Promise.resolve()
          running--
          done++
          if (verdict === 'throws') throw new Error('its own affair')
          return verdict === 'nothing' ? undefined : verdict === 'held'
        }
        await Promise.allSettled(
          given.map(({ verdict, ...turn }) => fair.run({ ...turn, work: work(verdict) }, signal))
        )
        expect(done).toBe(given.length)
        const over = AbortSignal.abort()
        await Promise.allSettled(given.map((turn) => fair.run({ ...turn, work: work('held') }, over)))
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
    const ordered = rankRecords(records, { trustOf, isNear: () => false, match })
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
    const ordered = rankNamed(named, { trustOf, hasVersion: (version) => version.startsWith('2') })
    expect(ordered.map(({ peer }) => peer)).toEqual([trusted.id, 'first', 'second', 'silent', 'wrong'])
  })
})

function fakeId(): string {
  return createIdentity().id
}
