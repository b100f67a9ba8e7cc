import { setTimeout as sleep } from 'node:timers/promises'
import type { DhtNode } from '../dht-node.ts'
import { placeOf } from '../dht-node.ts'
import { type DhtWorld, inTurn } from '../dht-world.ts'
import { type Check, share } from './check.ts'

const FINDS = 150
const SHORT_FINDS = 40
const STOPS_AT_ONCE = 8
/** Entries of a table, all of them. */
const ALL = 10_000
const LONGEST_WAIT_MS = 300_000
const SHORT_WAIT_MS = 20_000
const LOOK_MS = 1_000
const MAX_DEAD = 20

/** Half of the nodes are gone for good after it. */
export const churn: Check<DhtWorld> = {
  name: 'churn',
  bound:
    'half of the nodes stop: their entries are below 20 % within 5 min, all is found after publishing once more; who withdraws is gone at once',
  async run(world) {
    const withdrawn = await namedAfterWithdrawal(world)
    const leaving = [...world.alive()].toSorted(() => world.random.next() - 0.5).slice(0, world.alive().length / 2)
    await inTurn(leaving, STOPS_AT_ONCE, (node) => world.stop(node))
    const atOnce = deadEntries(world)
    const from = performance.now()
    const longest = world.isShort ? SHORT_WAIT_MS : LONGEST_WAIT_MS
    // Finds go on meanwhile, as they would, and meet the dead
    while (performance.now() - from < longest && deadEntries(world) > MAX_DEAD) {
      await world.finds(10, 'first')
      await sleep(LOOK_MS)
    }
    const seconds = (performance.now() - from) / 1000
    const later = deadEntries(world)
    await world.publishAll()
    const runs = await world.finds(world.isShort ? SHORT_FINDS : FINDS, 'first')
    return [
      { what: 'named after it has withdrawn', value: withdrawn, atMost: 0 },
      { what: 'dead entries of the tables at once, %', value: atOnce, digits: 1 },
      { what: 'dead entries later, %', value: later, atMost: MAX_DEAD, digits: 1 },
      { what: 'later is after, s', value: seconds, digits: 1 },
      { what: 'found after one more publication, %', value: share(runs, ({ isFound }) => isFound), atLeast: 99 }
    ]
  }
}

/** Of the entries in the tables of those who are there, how many are of nodes that aren't: in %. */
function deadEntries(world: DhtWorld): number {
  const alive = new Set(world.alive().map(({ id }) => id))
  const known = new Set(world.nodes.map(({ id }) => id))
  const place = placeOf('anything')
  const entries = world.alive().flatMap(({ network }) => network.dht.closest(place, ALL).map(({ id }) => id))
  // Others than those laid out, such as hostile ones that have been stopped, are of other checks
  return share(
    entries.filter((id) => known.has(id)),
    (id) => !alive.has(id)
  )
}

/** @returns how many finders are still told of who has withdrawn */
async function namedAfterWithdrawal(world: DhtWorld): Promise<number> {
  const name = 'passing.tool'
  const [owner, ...finders] = world.alive() as [DhtNode, ...DhtNode[]]
  await owner.withdraw(name, await owner.publish(name))
  const asked = finders.slice(0, 10)
  const runs = []
  for (const finder of asked) runs.push(await finder.find(name, new Set([owner.id]), 'full'))
  return runs.filter(({ first }) => first !== undefined).length
}
