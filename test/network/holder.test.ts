import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createHolder, type Holder, type HolderInit, type Publication } from '../../src/network/holder.ts'
import {
  MAX_BEST_PER_KEY,
  MAX_ENTRIES,
  MAX_ENTRIES_PER_ANSWER,
  MAX_ENTRIES_PER_SUBNET,
  MAX_KEYS_PER_PUBLISHER,
  MAX_KEYS_PER_WINDOW,
  MAX_PUTS_PER_WINDOW,
  MAX_SAMPLED_PER_KEY,
  QUOTA_WINDOW_MS
} from '../../src/network/holder-constants.ts'
import { subnetOf } from '../../src/network/subnet.ts'

const HOUR = 3_600_000
const KEY = 'k'.repeat(43)
const MOST = MAX_SAMPLED_PER_KEY + MAX_BEST_PER_KEY

/** Pseudo-random numbers that are the same in each run. @see Mulberry32 */
function seeded(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

class Clock {
  ms = 1_795_435_200_000
  readonly now = (): number => this.ms
}

function make(init: Partial<HolderInit> = {}) {
  const clock = new Clock()
  const holder = createHolder({ now: clock.now, random: seeded(1), salt: Buffer.alloc(32, 1), ...init })
  const put = (peer: string, changes: Partial<Publication> = {}) =>
    holder.put({ key: KEY, peer, expiresAt: clock.ms + HOUR, ...changes })
  const hint = (peer: string, seq: number, version?: string, text = `${seq}`) =>
    put(peer, { hint: { bytes: Buffer.from(text), seq, version } })
  return { clock, holder, put, hint }
}

function crowd(count: number, init: Partial<HolderInit> = {}) {
  const made = make(init)
  for (let i = 0; i < count; i++) made.put(`peer${i}`)
  return made
}

const peersOf = (entries: readonly { peer: string }[]): string[] => entries.map(({ peer }) => peer)

describe('a key with few publishers', () => {
  it('gives all of them, in random order, and counts them exactly', () => {
    const { holder } = crowd(15)
    expect(peersOf(holder.sample(KEY)).sort()).toEqual(Array.from({ length: 15 }, (_, i) => `peer${i}`).sort())
    expect(peersOf(holder.sample(KEY))).not.toEqual(peersOf(holder.sample(KEY)))
    expect(holder.count(KEY)).toBe(15)
    expect(holder.estimate(KEY)).toBe(15)
  })

  it('counts exactly up to the size of the sample', () => {
    const { holder } = crowd(MAX_SAMPLED_PER_KEY)
    expect(holder.estimate(KEY)).toBe(MAX_SAMPLED_PER_KEY)
  })

  it('has nothing under another key', () => {
    const { holder } = crowd(3)
    expect(holder.sample('o'.repeat(43))).toEqual([])
    expect(holder.estimate('o'.repeat(43))).toBe(0)
  })

  it('has one entry for each publisher, however often it puts', () => {
    const { holder, put, hint } = make()
    put('a')
    hint('a', 1, '1.0.0')
    put('a')
    expect(holder.count(KEY)).toBe(1)
    expect(holder.sample(KEY)[0]?.hint).toMatchObject({ seq: 1, version: '1.0.0' })
  })
})

describe.each([
  { id: '1,000', count: 1_000 },
  { id: '10,000', count: 10_000 }
])('a key with $id publishers', ({ count }) => {
  it('keeps at most 288 of them', () => {
    const { holder, hint } = crowd(count)
    for (let i = 0; i < 500; i++) hint(`new${i}`, 1, `2.0.${i}`)
    expect(holder.count(KEY)).toBeLessThanOrEqual(MOST)
    expect(holder.size).toBe(holder.count(KEY))
    expect(holder.status()).toMatchObject({ entries: holder.count(KEY), publishers: holder.count(KEY), keys: 1 })
  })

  it('answers with 20, none of which comes first in more than 15 % of 200 answers', () => {
    const { holder } = crowd(count)
    const firsts = new Map<string, number>()
    for (let i = 0; i < 200; i++) {
      const peers = peersOf(holder.sample(KEY))
      expect(new Set(peers).size).toBe(MAX_ENTRIES_PER_ANSWER)
      const [first = ''] = peers
      firsts.set(first, (firsts.get(first) ?? 0) + 1)
    }
    expect(Math.max(...firsts.values())).toBeLessThanOrEqual(30)
  })

  it('knows how many there are within 15 %, by the median of five holders', () => {
    const estimates = [1, 2, 3, 4, 5].map((salt) => crowd(count, { salt: Buffer.alloc(32, salt) }).holder.estimate(KEY))
    const [, , median = 0] = estimates.sort((a, b) => a - b)
    expect(Math.abs(median / count - 1)).toBeLessThan(0.15)
  })

  it('takes less than 20 ms of CPU for an answer', () => {
    const { holder } = crowd(count)
    const before = process.cpuUsage()
    for (let i = 0; i < 100; i++) {
      holder.sample(KEY)
      holder.estimate(KEY)
    }
    const { user, system } = process.cpuUsage(before)
    expect((user + system) / 100_000).toBeLessThan(20)
  })

  it('gives every entry, page by page', () => {
    const { holder } = crowd(count)
    const pages: string[] = []
    for (let offset = 0; offset < holder.count(KEY); offset += MAX_ENTRIES_PER_ANSWER) {
      pages.push(...peersOf(holder.page(KEY, offset)))
    }
    expect(new Set(pages).size).toBe(holder.count(KEY))
    expect(holder.page(KEY, MOST)).toEqual([])
  })
})

describe('the estimate', () => {
  it('follows a crowd that shrinks, without waiting for the rest to come again', () => {
    const { clock, holder, put } = make()
    for (let i = 0; i < 2_000; i++) put(`peer${i}`, { expiresAt: clock.ms + (i < 1_000 ? 1 : 2) * HOUR })
    clock.ms += HOUR
    expect(Math.abs(holder.estimate(KEY) / 1_000 - 1)).toBeLessThan(0.25)
    clock.ms += HOUR
    expect(holder.estimate(KEY)).toBe(0)
  })

  it('is not thrown off by those who take the places that were left', () => {
    const { clock, holder, put } = make()
    for (let i = 0; i < 4_000; i++) put(`peer${i}`, { expiresAt: clock.ms + 2 * HOUR })
    for (const peer of peersOf(holder.page(KEY, 0))) holder.withdraw(KEY, peer, 1)
    for (let i = 0; i < 20; i++) put(`late${i}`)
    expect(Math.abs(holder.estimate(KEY) / 4_000 - 1)).toBeLessThan(0.25)
  })

  it('has other samples at other holders, so that together they know more', () => {
    const union = new Set<string>()
    for (let salt = 0; salt < 20; salt++) {
      const { holder } = crowd(1_000, { salt: Buffer.alloc(32, salt) })
      for (let offset = 0; offset < MOST; offset += 20) for (const { peer } of holder.page(KEY, offset)) union.add(peer)
    }
    expect(union.size).toBeGreaterThan(970)
  })
})

describe('versions', () => {
  it('keeps those that claim the highest, whatever the crowd', () => {
    const { holder, hint } = make()
    hint('newest', 1, '3.1.0')
    hint('newer', 1, '3.1.0-rc.1')
    for (let i = 0; i < 1_000; i++) hint(`peer${i}`, 1, '1.0.0')
    expect(peersOf(holder.best(KEY)).slice(0, 2)).toEqual(['newest', 'newer'])
    expect(holder.best(KEY)).toHaveLength(MAX_ENTRIES_PER_ANSWER)
  })

  it('forgets the higher version when its publisher goes back', () => {
    const { holder, hint } = make()
    hint('a', 1, '9.0.0')
    hint('b', 1, '2.0.0')
    hint('a', 2, '1.0.0')
    expect(peersOf(holder.best(KEY))).toEqual(['b', 'a'])
  })

  it('takes what is no version for none', () => {
    const { holder, hint } = make()
    hint('a', 1, 'newest')
    expect(holder.best(KEY)).toEqual([])
    expect(holder.count(KEY)).toBe(1)
  })
})

describe('seq', () => {
  it('must rise, but for the same hint once more', () => {
    const { hint } = make()
    expect(hint('a', 5)).toBe('kept')
    expect(hint('a', 5)).toBe('kept')
    expect(hint('a', 5, undefined, 'other')).toBe('rolled-back')
    expect(hint('a', 4)).toBe('rolled-back')
    expect(hint('a', 6)).toBe('kept')
  })

  it('is remembered after a withdrawal until the hint would have expired', () => {
    const { clock, holder, hint } = make()
    hint('a', 5)
    expect(holder.withdraw(KEY, 'a', 4)).toBe(false)
    expect(holder.withdraw(KEY, 'a', 6)).toBe(true)
    expect(holder.count(KEY)).toBe(0)
    expect(hint('a', 6)).toBe('rolled-back')
    expect(hint('a', 7)).toBe('kept')
    holder.withdraw(KEY, 'a', 7)
    clock.ms += HOUR
    expect(hint('a', 1)).toBe('kept')
  })

  it('does nothing to withdraw what is not here', () => {
    const { holder } = make()
    expect(holder.withdraw(KEY, 'a', 1)).toBe(false)
    expect(holder.status().withdrawn).toBe(0)
  })
})

describe('expiry', () => {
  it('drops a provider record and a hint, each at its time', () => {
    const { clock, holder, put } = make()
    put('a', { expiresAt: clock.ms + 2 * HOUR })
    put('a', { expiresAt: clock.ms + HOUR, hint: { bytes: Buffer.from('x'), seq: 1 } })
    clock.ms += HOUR
    expect(holder.sample(KEY)).toEqual([{ peer: 'a', expiresAt: clock.ms + HOUR, hint: undefined }])
    clock.ms += HOUR
    expect(holder.sample(KEY)).toEqual([])
    expect(holder.status()).toMatchObject({ keys: 0, entries: 0, publishers: 0 })
  })

  it('leaves nothing behind when nobody asks', () => {
    const { clock, holder, put } = make()
    for (let i = 0; i < 300; i++) put('a', { key: `${i}`.padStart(43, 'k') })
    clock.ms += HOUR
    holder.expire()
    expect(holder.status()).toMatchObject({ keys: 0, entries: 0, publishers: 0 })
  })
})

describe('quotas', () => {
  it('let a publisher put 16 keys a minute, each as hint and record', () => {
    const { clock, holder } = make()
    const keys = Array.from({ length: MAX_KEYS_PER_WINDOW + 1 }, (_, i) => `${i}`)
    const admitted = keys.filter((key) => holder.admit('a', key))
    expect(admitted).toHaveLength(MAX_KEYS_PER_WINDOW)
    expect(admitted.every((key) => holder.admit('a', key))).toBe(true)
    expect(holder.admit('a', '0')).toBe(false)
    expect(holder.admit('b', '0')).toBe(true)
    expect(holder.status().puts['over-budget']).toBe(2)
    clock.ms += QUOTA_WINDOW_MS
    expect(holder.admit('a', keys.at(-1) ?? '')).toBe(true)
  })

  it('do not let one key be put again and again', () => {
    const { holder } = make()
    const admitted = Array.from({ length: 100 }, () => holder.admit('a', KEY)).filter(Boolean)
    expect(admitted).toHaveLength(MAX_PUTS_PER_WINDOW)
  })

  it('let one publisher have 128 keys', () => {
    const { holder, put } = make()
    for (let i = 0; i < MAX_KEYS_PER_PUBLISHER; i++) expect(put('a', { key: `${i}` })).toBe('kept')
    expect(put('a', { key: 'one more' })).toBe('too-many')
    expect(put('a', { key: '0' })).toBe('kept')
    expect(holder.size).toBe(MAX_KEYS_PER_PUBLISHER)
  })

  it('let one subnet have 8 entries of a key, and count those that leave', () => {
    const { clock, holder, put } = make()
    const subnet = subnetOf('/ip4/198.51.100.7/tcp/1')
    for (let i = 0; i < MAX_ENTRIES_PER_SUBNET; i++) expect(put(`a${i}`, { subnet })).toBe('kept')
    expect(put('one more', { subnet })).toBe('too-many')
    expect(put('one more', { subnet, key: 'another' })).toBe('kept')
    expect(put('elsewhere', { subnet: subnetOf('/ip4/198.51.101.7/tcp/1') })).toBe('kept')
    expect(put('a0', { subnet })).toBe('kept')
    holder.withdraw(KEY, 'a1', 1)
    expect(put('one more', { subnet })).toBe('kept')
    clock.ms += HOUR
    expect(put('later', { subnet })).toBe('kept')
  })
})

describe('the total', () => {
  it('is bounded, and who pushes most gives way to who pushes little', () => {
    const { holder, put } = make()
    const pushers = Math.ceil(MAX_ENTRIES / MAX_KEYS_PER_PUBLISHER) + 1
    for (let i = 0; i < pushers * MAX_KEYS_PER_PUBLISHER; i++) {
      put(`pusher${i % pushers}`, { key: `key${Math.floor(i / pushers)}-${i % pushers}` })
    }
    expect(holder.size).toBe(MAX_ENTRIES)
    expect(put('modest')).toBe('kept')
    expect(peersOf(holder.sample(KEY))).toEqual(['modest'])
    expect(holder.size).toBe(MAX_ENTRIES)
    expect(put('pusher0', { key: 'yet another' })).toBe('too-many')
  })

  it('is not turned over by many who have one each', () => {
    const { holder, put } = make()
    for (let i = 0; i < MAX_ENTRIES; i++) put(`peer${i}`, { key: `key${i % 1_000}` })
    expect(holder.size).toBe(MAX_ENTRIES)
    expect(put('late', { key: 'late' })).toBe('too-many')
    expect(holder.count('late')).toBe(0)
    expect(holder.status().keys).toBe(1_000)
  })
})

/** One thing that happens to a holder. */
type Step =
  | { t: 'put'; peer: number; key: number; life: number; seq: number | undefined; version: number; subnet: number }
  | { t: 'withdraw'; peer: number; key: number; seq: number }
  | { t: 'later'; ms: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 20,
    arbitrary: fc.record({
      t: fc.constant('put' as const),
      peer: fc.nat(600),
      key: fc.nat(2),
      life: fc.nat(3 * HOUR),
      seq: fc.option(fc.nat(5), { nil: undefined }),
      version: fc.nat(50),
      subnet: fc.nat(200)
    })
  },
  {
    weight: 3,
    arbitrary: fc.record({ t: fc.constant('withdraw' as const), peer: fc.nat(600), key: fc.nat(2), seq: fc.nat(5) })
  },
  { weight: 1, arbitrary: fc.record({ t: fc.constant('later' as const), ms: fc.nat(HOUR) }) }
)

function apply(holder: Holder, clock: Clock, each: Step): void {
  if (each.t === 'later') {
    clock.ms += each.ms
    return
  }
  const [key, peer] = [`key${each.key}`, `peer${each.peer}`]
  if (each.t === 'withdraw') {
    holder.withdraw(key, peer, each.seq)
    return
  }
  const hint =
    each.seq === undefined
      ? undefined
      : {
          bytes: Buffer.of(each.seq, each.life % 256),
          seq: each.seq,
          version: each.version === 0 ? undefined : `1.${each.version}.0`
        }
  holder.put({ key, peer, expiresAt: clock.ms + each.life, subnet: `net${each.subnet}`, hint })
}

it('keeps its bounds and its books whatever happens', () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 300, maxLength: 1_500 }), (steps) => {
      const { clock, holder } = make()
      for (const each of steps) apply(holder, clock, each)
      const counts = ['key0', 'key1', 'key2'].map((key) => holder.count(key))
      expect(Math.max(...counts)).toBeLessThanOrEqual(MOST)
      expect(counts.reduce((sum, count) => sum + count, 0)).toBe(holder.size)
      for (const key of ['key0', 'key1', 'key2']) {
        const entries = Array.from({ length: 15 }, (_, page) => holder.page(key, page * 20)).flat()
        expect(new Set(peersOf(entries)).size).toBe(holder.count(key))
        expect(entries.every(({ expiresAt }) => expiresAt > clock.ms)).toBe(true)
        expect(holder.estimate(key)).toBeGreaterThanOrEqual(holder.count(key))
        expect(peersOf(entries)).toEqual(expect.arrayContaining(peersOf(holder.best(key))))
      }
      clock.ms += 4 * HOUR
      holder.expire()
      expect(holder.status()).toMatchObject({ keys: 0, entries: 0, publishers: 0 })
    }),
    { seed: 5, numRuns: 30 }
  )
})

describe('subnets', () => {
  it.each([
    { address: '/ip4/198.51.100.7/tcp/4001', subnet: '198.51.100' },
    { address: '/ip4/198.51.100.9/tcp/4002/ws/p2p/12D3KooWx', subnet: '198.51.100' },
    { address: '/ip6/2001:db8:1:2::9/tcp/4001', subnet: '2001:db8:1' },
    { address: '/ip6/2001:db8:1:ffff::1/tcp/4001', subnet: '2001:db8:1' },
    { address: '/ip6/::ffff:198.51.100.7/tcp/4001', subnet: '198.51.100' },
    { address: '/ip4/127.0.0.1/tcp/4001', subnet: undefined },
    { address: '/ip4/10.1.2.3/tcp/4001', subnet: undefined },
    { address: '/ip4/172.31.0.1/tcp/4001', subnet: undefined },
    { address: '/ip4/192.168.1.1/tcp/4001', subnet: undefined },
    { address: '/ip4/100.64.0.1/tcp/4001', subnet: undefined },
    { address: '/ip6/::1/tcp/4001', subnet: undefined },
    { address: '/ip6/fd00::1/tcp/4001', subnet: undefined },
    { address: '/ip6/fe80::1/tcp/4001', subnet: undefined },
    { address: '/memory/a', subnet: undefined },
    { address: '/dns4/mesh.example/tcp/4001', subnet: undefined },
    { address: undefined, subnet: undefined }
  ])('of $address is $subnet', ({ address, subnet }) => {
    expect(subnetOf(address)).toBe(subnet)
  })
})
