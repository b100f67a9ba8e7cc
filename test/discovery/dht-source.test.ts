import type { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import {
  FIND_WIDTH,
  MAX_READ_MESSAGES,
  MAX_SHARDS_READ,
  PUBLISH_WIDTH,
  REGION_POINTS,
  SHARD_SIZE
} from '../../src/discovery/constants.ts'
import type { HolderAnswer, NamedProvider } from '../../src/discovery/dht-holders.ts'
import {
  createDhtSource,
  medianTotal,
  type ReadOptions,
  type ReadSummary,
  shardDepth
} from '../../src/discovery/dht-source.ts'
import type { StepDetail } from '../../src/discovery/explain.ts'
import { nameKey, shardBits, shardKey } from '../../src/discovery/names.ts'
import { placeBeside, sharesBits } from '../../src/discovery/region.ts'
import { MeshError } from '../../src/errors.ts'
import { hash, positionOf } from '../../src/network/position.ts'
import type { WalkInit, WalkSummary } from '../../src/network/walk.ts'

const KEY = nameKey('tool', 'db.query')

interface Holder {
  readonly has: readonly string[]
  readonly total?: number
  readonly fails?: 'TIMEOUT' | 'UNREACHABLE'
}

interface World {
  /** By the key's text. */
  readonly holders: (key: CID) => ReadonlyMap<string, Holder>
  readonly crowded?: boolean
  readonly complete?: boolean
  /** Those beside the key. */
  readonly beside?: readonly string[]
}

/** A DHT whose walks ask all holders of a key in their order, 20 of what each has at a time. */
function sourceOf({ holders, crowded = false, complete = true, beside = [] }: World) {
  const asked: { peer: string; key: string; offset: number | undefined }[] = []
  const walks: { position: Uint8Array; maxMessages: number; width: number }[] = []
  async function ask(peer: string, key: CID, options: { offset?: number }): Promise<HolderAnswer> {
    const { offset } = options
    asked.push({ peer, key: key.toString(), offset })
    const holder = holders(key).get(peer) ?? { has: [] }
    if (holder.fails !== undefined) throw new MeshError(holder.fails, 'no answer')
    const named = holder.has.slice(offset ?? 0, (offset ?? 0) + 20).map(named1)
    return { closer: [], named, total: holder.total ?? holder.has.length, held: holder.has.length }
  }
  let key = KEY
  const keyAt = new Map<string, CID>()
  const dht = {
    size: 100_000,
    askCloser: () => Promise.resolve([]),
    walk<T>(init: WalkInit<T>) {
      walks.push({ position: init.position, maxMessages: init.maxMessages, width: init.width })
      const isBeside = !keyAt.has(Buffer.from(init.position).toString('hex'))
      key = keyAt.get(Buffer.from(init.position).toString('hex')) ?? key
      const summary = Promise.withResolvers<WalkSummary>()
      async function* answers() {
        const closest: string[] = []
        let messages = 0
        try {
          for (const peer of isBeside ? beside : holders(key).keys()) {
            if (messages >= init.maxMessages || init.signal.aborted) break
            messages++
            const step = { peer, path: 0, ms: 1, closer: 0 }
            const value = await init.ask(peer, { signal: init.signal }).then(
              (answer) => answer.value,
              () => undefined
            )
            const isDead = holders(key).get(peer)?.fails === 'UNREACHABLE'
            init.onStep?.({ ...step, outcome: isDead ? 'unreachable' : 'answered' })
            if (isDead) continue
            closest.push(peer)
            yield { peer, ms: 1, value: value as T }
          }
        } finally {
          summary.resolve({ complete: complete && !init.signal.aborted, messages, closest, crowded })
        }
      }
      return { [Symbol.asyncIterator]: answers, summary: summary.promise }
    }
  }
  const source = createDhtSource({ peer: 'self', dht, holders: { ask, own: () => [] }, random: () => 0 })
  const read = async (options: Partial<ReadOptions> = {}, at: readonly CID[] = [KEY]) => {
    for (const each of at) keyAt.set(Buffer.from(positionOf(each)).toString('hex'), each)
    const steps: StepDetail[] = []
    const named: { holder: string; peers: readonly string[] }[] = []
    const summary: ReadSummary = await source.read(KEY, {
      signal: new AbortController().signal,
      explain: (step) => steps.push(step),
      depth: 'all',
      isSuspicious: () => false,
      onNamed: async (holder, peers) => void named.push({ holder, peers: peers.map(({ peer }) => peer) }),
      ...options
    })
    return { summary, steps, named, distinct: new Set(named.flatMap(({ peers }) => peers)).size }
  }
  return { read, asked, walks }
}

const named1 = (peer: string): NamedProvider => ({ peer, versions: [], addresses: [] })
const range = (count: number, prefix = 'p') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)
const twenty = (of: (i: number) => Holder) => new Map(range(20, 'h').map((id, i) => [id, of(i)]))

describe('reading a key', () => {
  it('tells whom each holder names as it answers, and that it was all', async () => {
    const { read } = sourceOf({ holders: () => twenty(() => ({ has: range(7) })) })
    const { summary, named, steps } = await read()
    expect(summary).toEqual({ complete: true, messages: 20, total: 7 })
    expect(named[1]).toEqual({ holder: 'h0', peers: range(7) })
    expect(steps.filter(({ step }) => step === 'holder')).toHaveLength(20)
    expect(steps[0]).toMatchObject({ step: 'holder', peer: 'h0', outcome: 'answered', named: 7, total: 7 })
  })

  it('goes through all that three holders have when they have more than one answer carries', async () => {
    const { read, asked } = sourceOf({ holders: () => twenty(() => ({ has: range(90) })) })
    const { summary, distinct } = await read()
    expect(summary).toEqual({ complete: true, messages: 20 + 3 * 5, total: 90 })
    expect(distinct).toBe(90)
    expect(asked.filter(({ peer, offset }) => peer === 'h0' && offset !== undefined)).toMatchObject(
      [0, 20, 40, 60, 80].map((offset) => ({ offset }))
    )
  })

  it('goes on to other holders when the first leave something out', async () => {
    const holders = twenty((i) => ({ has: i < 5 ? range(30) : range(60), total: 60 }))
    const { read } = sourceOf({ holders: () => holders })
    const { summary, distinct } = await read()
    expect(distinct).toBe(60)
    expect(summary.complete).toBe(true)
  })

  it('is not complete when a walk is not, or the messages are used up', async () => {
    const cut = sourceOf({ complete: false, holders: () => twenty(() => ({ has: range(3) })) })
    expect((await cut.read()).summary.complete).toBe(false)
    const large = sourceOf({ holders: () => twenty((i) => ({ has: range(280, `${i % 2}-`), total: 990 })) })
    const { summary } = await large.read()
    expect(summary).toMatchObject({ complete: false, messages: MAX_READ_MESSAGES })
  })

  it('goes through no list for who needs only one', async () => {
    const { read, asked, walks } = sourceOf({ holders: () => twenty(() => ({ has: range(90) })) })
    await read({ depth: 'any' })
    expect(asked).toHaveLength(20)
    expect(walks[0]).toMatchObject({ maxMessages: 40, width: FIND_WIDTH })
  })

  it('asks as wide as was published when the first wave has brought nothing, and nobody twice', async () => {
    const { read, asked, walks } = sourceOf({
      complete: false,
      holders: () => new Map([...range(90, 'h')].map((id) => [id, { has: [] }]))
    })
    const { summary, steps } = await read({ depth: 'any' })
    // The second passes those of the first, which costs nothing
    const [first, second] = [{ maxMessages: 40 }, { maxMessages: MAX_READ_MESSAGES, width: PUBLISH_WIDTH }]
    expect(walks).toMatchObject([first, second])
    expect(summary.messages).toBe(90)
    expect(asked).toHaveLength(90)
    expect(steps.filter(({ step }) => step === 'holder')).toHaveLength(90)
  })

  it.each([
    { id: 'everybody there has answered', found: 19, depth: 'any' as const, has: [], widths: [FIND_WIDTH] },
    { id: 'somebody was named to who wants all', found: 20, depth: 'all' as const, has: ['p'], widths: [FIND_WIDTH] },
    { id: 'nobody was named to who wants all', found: 20, depth: 'all' as const, has: [], widths: [20, PUBLISH_WIDTH] },
    { id: 'who needs one has nothing yet', found: 20, depth: 'any' as const, has: ['p'], widths: [20, PUBLISH_WIDTH] }
  ])('asks wider or not: $id', async ({ found, depth, has, widths }) => {
    const { read, walks } = sourceOf({ holders: () => new Map(range(found, 'h').map((id) => [id, { has }])) })
    const { summary } = await read({ depth })
    expect(walks.map(({ width }) => width)).toEqual(widths)
    expect(summary).toMatchObject({ complete: true, messages: found })
  })

  it('finds by asking wider what those nearest to the key hide', async () => {
    const holders = new Map(range(60, 'h').map((id, i) => [id, { has: i < 45 ? [] : ['hidden'] }]))
    const { read, asked } = sourceOf({ holders: () => holders })
    const found = new AbortController()
    const onNamed = async (_: string, named: readonly NamedProvider[]) => {
      if (named.length > 0) found.abort()
    }
    await read({ depth: 'any', signal: found.signal, onNamed })
    expect(asked).toHaveLength(46)
  })

  it('ends with the signal, and asks nobody more', async () => {
    const { read, asked } = sourceOf({ holders: () => twenty(() => ({ has: range(90) })) })
    const giveUp = new AbortController()
    const onNamed = async (holder: string) => {
      if (holder === 'h2') giveUp.abort()
    }
    const { summary } = await read({ signal: giveUp.signal, onNamed })
    expect(summary.complete).toBe(false)
    expect(asked).toHaveLength(3)
  })

  it('bears holders that fail, on the walk and when asked again', async () => {
    let calls = 0
    const flaky: Holder = {
      has: range(50),
      get fails() {
        return calls++ > 0 ? ('TIMEOUT' as const) : undefined
      }
    } as Holder
    const holders = new Map<string, Holder>([
      ['dead', { has: [], fails: 'UNREACHABLE' }],
      ['flaky', flaky],
      ...range(4, 'h').map((id) => [id, { has: range(50) }] as const)
    ])
    const { summary, distinct, steps } = await sourceOf({ holders: () => holders }).read()
    expect(distinct).toBe(50)
    expect(summary.complete).toBe(true)
    expect(steps.filter((step) => step.step === 'holder' && step.outcome === 'timeout')).not.toEqual([])
  })
})

describe('how many there are', () => {
  it('is the median of what the nearest say, so that few liars change little', () => {
    const totals = new Map(range(20, 'h').map((id, i) => [id, i < 7 ? 10 ** 9 : 300 + i]))
    expect(medianTotal(range(20, 'h'), totals)).toBeLessThan(330)
    expect(medianTotal([], totals)).toBe(0)
    expect(medianTotal(range(4, 'h'), totals)).toBe(10_000_000)
  })

  it.each([
    [0, 0],
    [SHARD_SIZE, 0],
    [SHARD_SIZE + 1, 1],
    [2000, 1],
    [2001, 2],
    [100_000, 7]
  ])('splits %i providers by %i bits', (total, bits) => {
    expect(shardDepth(total)).toBe(bits)
  })
})

describe('shards', () => {
  it('are read when there are too many for one key, by who wants all', async () => {
    const shards = ['00', '01', '10', '11'].map((bits) => shardKey(KEY, bits))
    const holders = (key: CID) =>
      key.equals(KEY)
        ? twenty(() => ({ has: range(20, 'root'), total: 3500 }))
        : twenty(() => ({ has: range(10, key.toString()) }))
    const { read, asked } = sourceOf({ holders })
    const { summary, distinct } = await read({}, [KEY, ...shards])
    expect(new Set(asked.map(({ key }) => key))).toEqual(new Set([KEY, ...shards].map(String)))
    expect(distinct).toBe(20 + 4 * 10)
    expect(summary).toMatchObject({ complete: true, total: 3500 })
  })

  it('are read eight at most, and then it is not all', async () => {
    const all = range(128).map((_, i) => shardKey(KEY, i.toString(2).padStart(7, '0')))
    const holders = (key: CID) =>
      twenty(() => ({ has: range(1, key.toString()), total: key.equals(KEY) ? 100_000 : 1 }))
    const { read, asked } = sourceOf({ holders })
    const { summary } = await read({}, [KEY, ...all])
    expect(new Set(asked.map(({ key }) => key)).size).toBe(1 + MAX_SHARDS_READ)
    expect(summary).toMatchObject({ complete: false, total: 100_000 })
  })

  it('are told apart by the first bits of the hash of a PeerId', () => {
    expect(shardBits('12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy', 16)).toMatch(/^[01]{16}$/)
    const bits = shardBits('12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy', 16)
    expect(shardBits('12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy', 3)).toBe(bits.slice(0, 3))
    expect(shardKey(KEY, '0')).not.toEqual(shardKey(KEY, '1'))
  })
})

describe('a crowded key', () => {
  it('is looked for beside it too, at three places', async () => {
    const holders = () => twenty(() => ({ has: [] }))
    const { read, walks, asked } = sourceOf({ holders, crowded: true, beside: range(5, 'beside') })
    const { summary } = await read({ depth: 'any' })
    expect(walks.map(({ width }) => width)).toEqual([...Array(1 + REGION_POINTS).fill(FIND_WIDTH), PUBLISH_WIDTH])
    expect(asked.filter(({ peer }) => peer.startsWith('beside'))).toHaveLength(5)
    expect(summary.messages).toBeLessThanOrEqual(MAX_READ_MESSAGES)
  })

  it('is looked beside although those that were named hang', async () => {
    const { read, walks } = sourceOf({ holders: () => twenty(() => ({ has: range(3) })), crowded: true, beside: ['x'] })
    const giveUp = new AbortController()
    const onNamed = (holder: string) => {
      if (holder === 'x') giveUp.abort()
      return giveUp.signal.aborted
        ? Promise.resolve()
        : new Promise<void>((resolve) => giveUp.signal.addEventListener('abort', () => resolve()))
    }
    await read({ signal: giveUp.signal, onNamed })
    expect(walks.length).toBeGreaterThan(1)
  })

  it('is one too when something that was called before is not there', async () => {
    const { read, walks } = sourceOf({ holders: () => twenty(() => ({ has: ['p'] })) })
    await read({ isSuspicious: () => true })
    expect(walks).toHaveLength(1 + REGION_POINTS)
  })

  it('has places beside it that share its first bits, as many as the size of the mesh says', () => {
    const position = positionOf(KEY)
    for (const [nodes, bits] of [
      [10, 0],
      [48 * 16, 4],
      [48 * 4096, 12]
    ] as const) {
      const place = placeBeside(position, nodes)
      expect(hash(place.target)).toEqual(place.position)
      expect(sharesBits(place.position, position, bits)).toBe(true)
    }
    expect(sharesBits(Uint8Array.of(0b1010_0000), Uint8Array.of(0b1011_0000), 3)).toBe(true)
    expect(sharesBits(Uint8Array.of(0b1010_0000), Uint8Array.of(0b1011_0000), 4)).toBe(false)
  })
})
