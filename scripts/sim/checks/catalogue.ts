import { setTimeout as sleep } from 'node:timers/promises'
import type { FindStep } from '../../../src/discovery/index.ts'
import type { Node } from '../../../src/node.ts'
import type { Ledger } from '../meter.ts'
import type { Random } from '../random.ts'
import { type Check, share } from './check.ts'

/** Whole nodes, at rest. */
export interface CatalogueWorld {
  readonly nodes: readonly Node[]
  /** Names that somebody offers. */
  readonly names: readonly string[]
  readonly random: Random
  readonly ledger: Ledger
  /** Of a node, a second, while nothing changes. */
  readonly idleBytesPerNodeSecond: number
  /** It has been there for some time: what its traffic is says something. */
  readonly isSettled: boolean
}

const FINDS = 100
const CHANGES = 3
/** Owners are asked so many at once: whoever answers first ends it, and the others have been asked for nothing. */
const ROUND = 3
/** Nodes asked whether they know of a change. */
const ASKED = 50
/** Two heartbeats of gossipsub. */
const HEARTBEATS_MS = 2_000
/** What each node changes, and how often. */
const CHANGE_EVERY_S = 600

export const catalogue: Check<CatalogueWorld> = {
  name: 'catalogue',
  bound:
    '98 % of finds ask three owners at once and nobody else; a change is known to 99 % within 2 heartbeats; 4 kB/s a node at a change in 10 min',
  async run(world) {
    const { nodes, names, random, ledger } = world
    const finds = []
    for (let i = 0; i < FINDS; i++) finds.push(await findOne(random.pick(nodes), random.pick(names)))
    const knowing: boolean[] = []
    let changeBytes = 0
    for (let i = 0; i < CHANGES; i++) {
      const [before, from] = [ledger.bytes(), performance.now()]
      const author = random.pick(nodes)
      await author.agents.add({ name: `news-${i}`, capabilities: [{ name: `news.n${i}`, handler: () => null }] })
      await sleep(HEARTBEATS_MS)
      const idle = (world.idleBytesPerNodeSecond * nodes.length * (performance.now() - from)) / 1_000
      changeBytes += Math.max(0, ledger.bytes() - before - idle) / CHANGES
      knowing.push(...(await whoKnows(world, author, `news.n${i}`)))
    }
    return [
      { what: 'found, %', value: share(finds, ({ isFound }) => isFound), atLeast: 100 },
      { what: 'asked one round of owners at most, %', value: share(finds, isOneRound), atLeast: 98 },
      { what: 'asked one owner at most, %', value: share(finds, (one) => isOneRound(one) && one.owners <= 1) },
      { what: 'know of a change after 2 heartbeats, %', value: share(knowing, (isKnown) => isKnown), atLeast: 99 },
      {
        what: 'traffic of a node, kB/s',
        // All change as often: each node's changes cost all of them together this much
        value: (world.idleBytesPerNodeSecond + changeBytes / CHANGE_EVERY_S) / 1_000,
        ...(world.isSettled && { atMost: 4 }),
        digits: 2
      }
    ]
  }
}

interface FindOne {
  readonly isFound: boolean
  /** Owners that were asked for their records. */
  readonly owners: number
  /** Holders of the DHT that were asked who offers it. */
  readonly holders: number
}

async function findOne(finder: Node, name: string, timeoutMs = 5_000): Promise<FindOne> {
  let [owners, holders] = [0, 0]
  const onStep = ({ step }: FindStep): void => {
    if (step === 'holder') holders++
    if (step === 'owner') owners++
  }
  const results = await Array.fromAsync(finder.find({ kind: 'tool', name, limit: 1, timeoutMs, onStep }))
  return { isFound: results.length > 0, owners, holders }
}

function isOneRound({ owners, holders }: FindOne): boolean {
  return holders === 0 && owners <= ROUND
}

/** One request to the author is what a node takes that knows of it; one that doesn't would ask the DHT. */
async function whoKnows({ nodes, random }: CatalogueWorld, author: Node, name: string): Promise<readonly boolean[]> {
  const others = nodes.filter((node) => node !== author)
  const asked = new Set<Node>()
  while (asked.size < Math.min(ASKED, others.length)) asked.add(random.pick(others))
  const known: boolean[] = []
  for (const node of asked) {
    const one = await findOne(node, name)
    known.push(one.isFound && one.owners <= 1 && one.holders === 0)
  }
  return known
}
