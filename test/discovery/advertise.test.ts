import type { CID } from 'multiformats/cid'
import { describe, expect, it } from 'vitest'
import { type AdvertiserComponents, createAdvertiser } from '../../src/discovery/advertise.ts'
import {
  HINT_LIFETIME_MS,
  LAZY_PROVIDE_MS,
  PROVIDER_RECORDS,
  PUBLISH_MS,
  PUBLISH_RETRY_MS,
  PUBLISH_WIDTH,
  REGION_POINTS,
  STEADY_AFTER_MS,
  STEADY_HINT_LIFETIME_MS,
  STEADY_PUBLISH_MS
} from '../../src/discovery/constants.ts'
import type { Publication } from '../../src/discovery/dht-holders.ts'
import { createFindCounts } from '../../src/discovery/find-counts.ts'
import { nameKey, segmentKey, shardBits, shardKey } from '../../src/discovery/names.ts'
import { shardDepths } from '../../src/discovery/publish.ts'
import { createIdentity } from '../../src/identity/index.ts'
import type { WalkInit, WalkSummary } from '../../src/network/walk.ts'
import { until } from './mesh.ts'
import { tool, unsigned } from './records.ts'

const SELF = createIdentity()
const range = (count: number, prefix = 'h') => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

/** An advertiser whose every walk comes to the same holders. */
function advertising() {
  const world = {
    ms: 0,
    holders: range(100),
    total: 5,
    table: 200,
    crowded: false,
    isSmall: false,
    takes: (_holder: string): boolean => true,
    connected: new Set<string>()
  }
  const puts: { peer: string; key: string; withProviderRecord: boolean }[] = []
  const published: Publication[] = []
  const withdrawn: { peer: string; keys: readonly string[] }[] = []
  const walks: { width: number; isBeside: boolean }[] = []
  const dht = {
    size: 100_000,
    askCloser: () => Promise.resolve([]),
    walk<T>(init: WalkInit<T>) {
      const summary = Promise.withResolvers<WalkSummary>()
      const { crowded } = world
      async function* answers() {
        const closest = world.holders.slice(0, init.width)
        try {
          for (const peer of closest) yield { peer, ms: 1, value: (await init.ask(peer, init)).value }
        } finally {
          summary.resolve({ complete: true, messages: closest.length, closest, crowded })
        }
      }
      walks.push({ width: init.width, isBeside: init.width < PUBLISH_WIDTH })
      return { [Symbol.asyncIterator]: answers, summary: summary.promise }
    }
  }
  const counts = createFindCounts()
  const components: AdvertiserComponents = {
    peer: SELF.id,
    network: {
      dht,
      peers: () => [{ peer: 'x', address: '', direction: 'outbound', connectedAt: '' }],
      isConnected: (peer) => world.connected.has(peer),
      status: () => ({ addresses: [], lan: 'off', mesh: 'main', connections: 1, routingTable: world.table })
    },
    holders: {
      ask: () => Promise.resolve({ closer: [], named: [], total: world.total, held: 0 }),
      own: () => [],
      sign: async (publication) => {
        published.push(publication)
        return new Uint8Array()
      },
      async put(peer, key, _hint, { withProviderRecord }) {
        puts.push({ peer, key: key.toString(), withProviderRecord })
        return world.takes(peer)
      },
      async withdraw(peer, keys) {
        withdrawn.push({ peer, keys: keys.map(String) })
      }
    },
    counts,
    isSmall: () => world.isSmall,
    now: () => world.ms,
    random: () => 0.5
  }
  const advertiser = createAdvertiser(components)
  /** Publishes what is due, to the end. */
  const step = async (ms: number) => {
    world.ms += ms
    const before = published.length
    advertiser.upkeep()
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve))
    return published.length - before
  }
  return { world, puts, published, withdrawn, walks, counts, advertiser, step }
}

const offering = (name: string, ...versions: string[]) =>
  versions.map((version, i) => unsigned({ identity: SELF, name: `a${i}`, capabilities: [tool(name, { version })] }))

const texts = (...keys: CID[]) => keys.map(String)

describe('publishing', () => {
  it('goes to all that answer of the 60 nearest, and leaves provider records at the 20 nearest', async () => {
    const { advertiser, puts, published, counts, walks } = advertising()
    advertiser.offer(offering('db.query', '1.0.0', '2.0.0'))
    await until(() => counts.all().published === 2 * PUBLISH_WIDTH)
    const [name, segment] = texts(nameKey('tool', 'db.query'), segmentKey('tool', 'db'))
    const ofName = puts.filter(({ key }) => key === name)
    expect(ofName.map(({ peer }) => peer)).toEqual(range(PUBLISH_WIDTH))
    expect(ofName.filter(({ withProviderRecord }) => withProviderRecord).map(({ peer }) => peer)).toEqual(
      range(PROVIDER_RECORDS)
    )
    expect(published.find(({ key }) => key.toString() === name)).toMatchObject({
      versions: ['2.0.0', '1.0.0'],
      expiresAt: HINT_LIFETIME_MS
    })
    expect(published.find(({ key }) => key.toString() === segment)).toMatchObject({ versions: [] })
    expect(walks).toEqual([PUBLISH_WIDTH, PUBLISH_WIDTH].map((width) => ({ width, isBeside: false })))
  })

  it('comes again hourly for a day, then every six hours with hints that live longer', async () => {
    const { advertiser, published, step } = advertising()
    advertiser.offer(offering('echo', '1.0.0'))
    await until(() => published.length === 2)
    expect(await step(PUBLISH_MS - 1)).toBe(0)
    expect(await step(1)).toBe(2)
    expect(await step(STEADY_AFTER_MS)).toBe(2)
    expect(published.at(-1)).toMatchObject({ expiresAt: STEADY_AFTER_MS + PUBLISH_MS + STEADY_HINT_LIFETIME_MS })
    expect(await step(STEADY_PUBLISH_MS - 1)).toBe(0)
    expect(await step(1)).toBe(2)
  })

  it('comes again at once when a version changes, soon when nobody took it, and when there are twice as many to tell', async () => {
    const { advertiser, published, step, world } = advertising()
    world.table = 10
    advertiser.offer(offering('echo', '1.0.0'))
    await until(() => published.length === 2)
    await step(0)
    advertiser.offer(offering('echo', '1.1.0'))
    await until(() => published.length === 3)
    expect(published.at(-1)).toMatchObject({ versions: ['1.1.0'] })
    world.takes = () => false
    world.table = 20
    expect(await step(30_000)).toBe(2)
    expect(await step(PUBLISH_RETRY_MS - 1)).toBe(0)
    expect(await step(1)).toBe(2)
  })

  it('waits as long as the catalogue covers the mesh, then takes one key at a time', async () => {
    const { advertiser, step, world } = advertising()
    world.isSmall = true
    advertiser.offer(offering('echo', '1.0.0'))
    expect(await step(LAZY_PROVIDE_MS - 1)).toBe(0)
    expect(await step(1)).toBe(1)
    expect(await step(30_000)).toBe(1)
    expect(await step(30_000)).toBe(0)
  })

  it('goes beside a crowded key too', async () => {
    const { advertiser, puts, walks, world } = advertising()
    world.crowded = true
    advertiser.offer(offering('echo', '1.0.0'))
    await until(() => walks.length === 2 * (1 + REGION_POINTS))
    expect(walks.filter(({ isBeside }) => isBeside)).toHaveLength(2 * REGION_POINTS)
    await until(() => puts.length === 2 * PUBLISH_WIDTH)
  })

  it('goes to a shard too when there are too many for one key', async () => {
    const { advertiser, published, world } = advertising()
    world.total = 3000
    advertiser.offer(offering('echo', '1.0.0'))
    await until(() => published.length === 4)
    const root = nameKey('tool', 'echo')
    expect(published.map(({ key }) => key.toString())).toEqual(
      expect.arrayContaining(texts(root, shardKey(root, shardBits(SELF.id, 2))))
    )
  })

  it.each([
    [850, []],
    [900, [1]],
    [1100, [1]],
    [1500, [1]],
    [1900, [1, 2]],
    [2100, [2, 1]],
    [3000, [2]]
  ])('of %i providers is in the shards of %j bits', (total, depths) => {
    expect(shardDepths(total)).toEqual(depths)
  })
})

describe('withdrawing', () => {
  it('tells those who took it, the connected ones first, all keys at once', async () => {
    const { advertiser, counts, withdrawn, world } = advertising()
    world.takes = (holder) => holder !== 'h3'
    world.connected.add('h7')
    advertiser.offer(offering('echo', '1.0.0'))
    await until(() => counts.all().published === 2 * (PUBLISH_WIDTH - 1))
    await advertiser.stop()
    expect(withdrawn[0]?.peer).toBe('h7')
    expect(withdrawn.map(({ peer }) => peer).sort()).toEqual(
      range(PUBLISH_WIDTH)
        .filter((id) => id !== 'h3')
        .sort()
    )
    expect([...(withdrawn[0]?.keys ?? [])].sort()).toEqual(
      texts(nameKey('tool', 'echo'), segmentKey('tool', 'echo')).sort()
    )
  })

  it('follows at once for what is not offered any more', async () => {
    const { advertiser, counts, withdrawn } = advertising()
    advertiser.offer([...offering('echo', '1.0.0'), ...offering('read', '1.0.0')])
    await until(() => counts.all().published === 4 * PUBLISH_WIDTH)
    advertiser.offer(offering('echo', '1.0.0'))
    await until(() => withdrawn.length === 2 * PUBLISH_WIDTH)
    expect(new Set(withdrawn.flatMap(({ keys }) => keys))).toEqual(
      new Set(texts(nameKey('tool', 'read'), segmentKey('tool', 'read')))
    )
  })
})
