import type * as dhtHint from '../../../src/discovery/dht-hint.ts'
import type * as identities from '../../../src/identity/index.ts'
import { built } from '../../bench/built.ts'
import { type DhtNode, digestOf, placeOf } from '../dht-node.ts'
import { type DhtWorld, nearest } from '../dht-world.ts'
import type { Check } from './check.ts'

const { createIdentity } = await built<typeof identities>('identity/index.js')
const { signHint } = await built<typeof dhtHint>('discovery/dht-hint.js')

const NAME = 'hot.tool'
const PROVIDERS = 1_000
const HOLDERS = 20
const SHORT_HOLDERS = 6
const FINDS = 200
const SHORT_FINDS = 60
const ANSWERS = 200
const LIFETIME_MS = 3_600_000

export const hotKey: Check<DhtWorld> = {
  name: 'hot key',
  bound:
    '1,000 providers under one key cost a holder 288 entries and 20 ms an answer of 20; nobody is named first too often',
  async run(world) {
    const holders = nearest(world.nodes, placeOf(NAME), world.isShort ? SHORT_HOLDERS : HOLDERS)
    const providers = await inject(holders)
    const [holder] = holders as [DhtNode]
    const { entries, cpuMs, named } = answers(holder)
    const finders = world.alive().filter((node) => !holders.includes(node))
    const firsts = new Map<string, number>()
    const finds = world.isShort ? SHORT_FINDS : FINDS
    for (let i = 0; i < finds; i++) {
      const finder = world.random.pick(finders.length === 0 ? world.alive() : finders)
      const { first } = await finder.find(NAME, providers, 'first')
      if (first !== undefined) firsts.set(first, (firsts.get(first) ?? 0) + 1)
    }
    const estimates = holders.map((each) => each.holder.estimate(digestOf(NAME))).toSorted((a, b) => a - b)
    const estimate = estimates[Math.floor(estimates.length / 2)] ?? Number.NaN
    return [
      { what: 'entries of a holder, most', value: entries, atMost: 288 },
      { what: 'providers in an answer, most', value: named, atMost: 20 },
      { what: 'CPU of an answer, ms', value: cpuMs, atMost: 20, digits: 2 },
      {
        what: 'named first most often, % of finds',
        value: (100 * Math.max(0, ...firsts.values())) / finds,
        atMost: 15
      },
      { what: 'finds that were named somebody, %', value: (100 * sum(firsts.values())) / finds, atLeast: 100 },
      { what: 'estimate of 1,000, median of holders', value: estimate, atLeast: 850, atMost: 1_150 }
    ]
  }
}

/** Each provider puts its own hint, as the holder would get it over the wire. @returns their ids */
async function inject(holders: readonly DhtNode[]): Promise<ReadonlySet<string>> {
  const providers = new Set<string>()
  for (let i = 0; i < PROVIDERS; i++) {
    const provider = createIdentity()
    providers.add(provider.id)
    const said = { key: digestOf(NAME), seq: Date.now(), expiresAt: Date.now() + LIFETIME_MS, versions: [`1.${i}.0`] }
    const hint = Buffer.from(await signHint(provider, said)).toString('base64url')
    for (const holder of holders) holder.serve({ op: 'put', hints: [hint] }, provider.id)
  }
  return providers
}

function answers(holder: DhtNode): { entries: number; cpuMs: number; named: number } {
  const before = process.cpuUsage()
  let named = 0
  let entries = 0
  for (let i = 0; i < ANSWERS; i++) {
    // What our own endpoint answers to get
    const answer = holder.serve({ op: 'get', key: digestOf(NAME) }, 'somebody') as {
      readonly hints: readonly string[]
      readonly providers: readonly string[]
      readonly held: number
    }
    named = Math.max(named, answer.hints.length + answer.providers.length)
    entries = Math.max(entries, answer.held)
  }
  const { user, system } = process.cpuUsage(before)
  return { entries, named, cpuMs: (user + system) / 1_000 / ANSWERS }
}

function sum(values: Iterable<number>): number {
  return [...values].reduce((all, value) => all + value, 0)
}
