import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import type { Walk, WalkAnswer, WalkInit, WalkStep } from '../../src/network/walk.ts'
import { closestTo, contacts, FakeMesh, fakeId, KEY_POSITION } from './fake-mesh.ts'

const never = () => new Promise<never>(() => {})
const abortedAfter = (ms: number): AbortSignal => AbortSignal.timeout(ms)

describe('a walk', { timeout: 30_000 }, () => {
  it('finds the 20 closest of 300, wherever it begins, and asks nobody twice', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(2 ** 31), fc.constantFrom(1, 2, 3), async (seed, paths) => {
        const mesh = new FakeMesh(300, seed)
        const { complete, closest, messages } = await mesh.walk({ paths }).summary
        expect(complete).toBe(true)
        expect(closest).toEqual(closestTo(KEY_POSITION, mesh.peers).slice(0, 20))
        expect(new Set(mesh.asked).size).toBe(mesh.asked.length)
        expect(messages).toBe(mesh.asked.length)
      }),
      { numRuns: 8 }
    )
  })

  it('as wide as publishing wants it reaches the 60 closest', async () => {
    const mesh = new FakeMesh(300, 1)
    const { closest } = await mesh.walk({ paths: 1, alpha: 6, width: 60 }).summary
    expect(closest).toHaveLength(60)
    const truth = new Set(closestTo(KEY_POSITION, mesh.peers).slice(0, 60))
    expect(closest.filter((id) => truth.has(id)).length).toBeGreaterThanOrEqual(57)
  })

  it('yields each answer as it comes, before the walk has ended', async () => {
    const mesh = new FakeMesh(50, 2)
    let askedAtFirst = 0
    for await (const { peer, value } of mesh.walk()) {
      if (askedAtFirst === 0) askedAtFirst = mesh.asked.length
      expect(value).toBe(peer)
    }
    expect(askedAtFirst).toBeLessThan(mesh.asked.length)
  })

  it('asks nobody any more, and cuts off those under way, once the loop is left', async () => {
    const mesh = new FakeMesh(300, 3)
    const cut: unknown[] = []
    const ask: WalkInit<string>['ask'] = async (id, { signal }) => {
      mesh.asked.push(id)
      if (mesh.asked.length > 3) {
        signal.addEventListener('abort', () => cut.push(signal.reason))
        await never()
      }
      return { closer: mesh.answer(id), value: id }
    }
    const walk = mesh.walk({ ask })
    for await (const _ of walk) break
    const { complete, messages } = await walk.summary
    expect(complete).toBe(false)
    const asked = mesh.asked.length
    expect(messages).toBe(asked)
    expect(cut).toHaveLength(asked - 3)
    expect(cut[0]).toMatchObject({ code: 'CANCELLED' })
    await new Promise((resolve) => setImmediate(resolve))
    expect(mesh.asked).toHaveLength(asked)
  })

  it('keeps to its budget of messages, shared by the paths', async () => {
    const mesh = new FakeMesh(300, 4)
    const steps: WalkStep[] = []
    const summary = await mesh.walk({ maxMessages: 12, onStep: (step) => steps.push(step) }).summary
    expect(summary).toMatchObject({ complete: false, messages: 12 })
    expect(summary.estimate).toBeUndefined()
    expect([0, 1, 2].map((path) => steps.filter((step) => step.path === path).length)).toEqual([4, 4, 4])
  })

  it('ends when its signal fires, even if nobody heeds it', async () => {
    const mesh = new FakeMesh(300, 5)
    const walk = mesh.walk({ ask: never, signal: abortedAfter(20) })
    expect(await all(walk)).toEqual([])
    expect(await walk.summary).toMatchObject({ complete: false, messages: 12, closest: [] })
    const late = mesh.walk({ signal: AbortSignal.abort() })
    expect(await all(late)).toEqual([])
    expect(await late.summary).toMatchObject({ complete: false, messages: 0 })
  })

  it('ends at once, incomplete, when nobody is known', async () => {
    const walk = new FakeMesh(3, 6).walk({}, { start: [] })
    expect(await all(walk)).toEqual([])
    expect(await walk.summary).toEqual({ complete: false, messages: 0, closest: [], crowded: false })
  })

  it('is not held up by peers that never answer', async () => {
    const mesh = new FakeMesh(200, 7)
    const hung = mesh.peers.filter((_, i) => i % 5 === 0)
    for (const id of hung) mesh.strange.set(id, never)
    const steps: WalkStep[] = []
    const { complete, closest } = await mesh.walk({ onStep: (step) => steps.push(step) }, { timeoutMs: () => 30 })
      .summary
    expect(complete).toBe(true)
    const living = mesh.peers.filter((id) => !hung.includes(id))
    expect(closest).toEqual(closestTo(KEY_POSITION, living).slice(0, 20))
    const late = steps.filter(({ outcome }) => outcome === 'timeout')
    expect(late.length).toBeGreaterThan(0)
    expect(late.every(({ peer, reason }) => hung.includes(peer) && reason === 'no answer in time')).toBe(true)
  })
})

describe('a liar', { timeout: 30_000 }, () => {
  it.each([
    [
      'names more peers than an answer may',
      async () => ({ closer: contacts(many(21)), value: 'x' }),
      'invalid',
      /21 peers/
    ],
    [
      'names what is no peer',
      async () => ({ closer: [{ id: 'x'.repeat(500), addresses: [] }], value: 'x' }),
      'invalid',
      /^it named 'x{100}'/
    ],
    ['throws nonsense', () => Promise.reject(new TypeError('boom')), 'invalid', /boom/],
    ['refuses', () => Promise.reject(new MeshError('UNSUPPORTED_VERSION', 'no DHT here')), 'refused', /no DHT/],
    ['breaks off', () => Promise.reject(new MeshError('CONNECTION_LOST', 'gone')), 'unreachable', /gone/]
  ] as const)('that %s is left out, and the walk goes on', async (_, ask, outcome, reason) => {
    const mesh = new FakeMesh(100, 8)
    const liar = closestTo(KEY_POSITION, mesh.peers)[0] ?? ''
    mesh.strange.set(liar, ask)
    const steps: WalkStep[] = []
    const walk = mesh.walk({ onStep: (step) => steps.push(step) })
    const answers = await all(walk)
    const { complete, closest } = await walk.summary
    expect(complete).toBe(true)
    expect(closest).toEqual(closestTo(KEY_POSITION, mesh.peers).slice(1, 21))
    expect(answers.map(({ peer }) => peer)).not.toContain(liar)
    const step = steps.find(({ peer }) => peer === liar)
    expect(step).toMatchObject({ outcome, closer: 0, reason: expect.stringMatching(reason) })
  })

  it('of every third node, naming nobody but fakes nearer than any real one, ends no walk before the closest are found', async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(2 ** 31), async (seed) => {
        const mesh = new FakeMesh(200, seed)
        const liars = mesh.peers.filter((_, i) => i % 10 < 3)
        for (const liar of liars) mesh.strange.set(liar, async (id) => ({ closer: contacts(near(id, 20)), value: id }))
        const connect = async ({ id }: { id: string }) => {
          if (!mesh.peers.includes(id)) throw new MeshError('UNREACHABLE', 'nobody there')
        }
        const { closest } = await mesh.walk({ maxMessages: 2_000 }, { connect }).summary
        const honest = closestTo(KEY_POSITION, mesh.peers).slice(0, 20)
        expect(closest.filter((id) => honest.includes(id)).length).toBeGreaterThanOrEqual(19)
      }),
      { numRuns: 10 }
    )
  })

  it('that names somebody new for ever is followed no further than the budget, and not on every path', async () => {
    const mesh = new FakeMesh(100, 9)
    let made = 0
    const spin: WalkInit<string>['ask'] = async (id) => ({ closer: contacts(near(`${made++}`, 20)), value: id })
    const ask: WalkInit<string>['ask'] = async (id, options) =>
      mesh.peers.indexOf(id) >= 5 ? { closer: mesh.answer(id), value: id } : spin(id, options)
    const steps: WalkStep[] = []
    const { messages, closest } = await mesh.walk({ ask, maxMessages: 120, onStep: (step) => steps.push(step) }).summary
    expect(messages).toBeLessThanOrEqual(120)
    expect(closest).toHaveLength(20)
    const paths = new Set(steps.filter(({ peer }) => mesh.peers.includes(peer)).map(({ path }) => path))
    expect(paths.size).toBe(3)
  })

  it("can't make the walk dial this node, nor remember a book of addresses", async () => {
    const mesh = new FakeMesh(30, 10)
    const liar = closestTo(KEY_POSITION, mesh.peers)[0] ?? ''
    const target = fakeId('target')
    const addresses = [...Array.from({ length: 50 }, (_, i) => `/memory/${i}`), `/memory/${'x'.repeat(1_000)}`]
    const closer = [
      { id: mesh.self, addresses: [] },
      { id: target, addresses: addresses.toReversed() }
    ]
    mesh.strange.set(liar, async () => ({ closer, value: liar }))
    let dialled: readonly string[] = []
    const connect = async (peer: { id: string; addresses: readonly string[] }) => {
      if (peer.id === target) dialled = peer.addresses
    }
    await mesh.walk({}, { connect }).summary
    expect(mesh.asked).not.toContain(mesh.self)
    expect(dialled).toEqual(addresses.toReversed().slice(1, 9))
  })
})

describe('the size of the mesh', () => {
  it('is told by a walk that ended by itself, within a factor of two', async () => {
    for (const size of [60, 300]) {
      const { estimate } = await new FakeMesh(size, size).walk().summary
      expect(estimate).toBeGreaterThan(size / 2)
      expect(estimate).toBeLessThan(size * 2)
    }
  })

  it('is counted while everybody can be reached', async () => {
    expect(await new FakeMesh(12, 11).walk().summary).toMatchObject({ complete: true, estimate: 13 })
    expect((await new FakeMesh(12, 11).walk({ width: 5 }).summary).estimate).toBeUndefined()
  })

  it('tells when a place is more crowded than chance allows', async () => {
    const mesh = new FakeMesh(300, 12)
    expect((await mesh.walk({}, { size: 300 }).summary).crowded).toBe(false)
    const sybils = ground(20)
    for (const id of sybils) mesh.strange.set(id, async () => ({ closer: contacts(sybils), value: id }))
    const start = contacts([...mesh.peers.slice(0, 20), ...sybils])
    expect((await mesh.walk({}, { size: 300, start }).summary).crowded).toBe(true)
    expect((await mesh.walk({}, { start }).summary).crowded).toBe(false)
  })
})

async function all<T>(walk: Walk<T>): Promise<WalkAnswer<T>[]> {
  const answers: WalkAnswer<T>[] = []
  for await (const answer of walk) answers.push(answer)
  return answers
}

function many(count: number, salt = ''): string[] {
  return Array.from({ length: count }, (_, i) => fakeId(`${salt}/fake/${i}`))
}

/** Fakes, nearer to the key than most. */
function near(salt: string, count: number): string[] {
  return closestTo(KEY_POSITION, many(10 * count, salt)).slice(0, count)
}

/** Ids found by trying, as a sybil finds them: 16 times nearer than chance would have them among 300. */
function ground(count: number): string[] {
  return closestTo(KEY_POSITION, many(16 * 300, 'sybil')).slice(0, count)
}
