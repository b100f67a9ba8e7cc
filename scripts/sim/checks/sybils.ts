import type { DhtNode } from '../dht-node.ts'
import { placeOf } from '../dht-node.ts'
import { type DhtWorld, inTurn } from '../dht-world.ts'
import { createHiding, grind } from '../hostile.ts'
import { type Check, share } from './check.ts'

const SYBILS = 20
/** Nodes that each of them makes itself known to. */
const CONTACTS = 30
const SHORT_CONTACTS = 8
const FINDS = 40
const SHORT_FINDS = 20
const NARROW = 20
/** Below this many nodes, 60 wide is everybody, and 20 wide a third of all: nothing can be hidden from who asks that many. */
const MIN_NODES_FOR_CONTRAST = 200

export const sybils: Check<DhtWorld> = {
  name: 'sybils',
  bound: '20 ids beside a key hide it from a mesh that publishes 20 wide (15 % find it), and not from ours (95 %)',
  async run(world) {
    const wide = { what: 'found as we publish, %', value: await besieged(world, 'wide.tool'), atLeast: 95 }
    if (world.nodes.length < MIN_NODES_FOR_CONTRAST) return [wide]
    const narrow = await besieged(world, 'narrow.tool', NARROW)
    return [wide, { what: 'found when published 20 wide, %', value: narrow, atMost: 15 }]
  }
}

/** @returns how many % of the finds succeed */
async function besieged(world: DhtWorld, name: string, width?: number): Promise<number> {
  const ids = grind(placeOf(name), SYBILS, world.nodes)
  const crowd: DhtNode[] = []
  const contacts = world.isShort ? SHORT_CONTACTS : CONTACTS
  await inTurn(ids, 4, async (identity, i) => void crowd.push(await world.join(`${name}-${i}`, contacts, identity)))
  const hiding = createHiding(crowd)
  for (const sybil of crowd) sybil.misbehaviour = hiding
  try {
    const owner = world.random.pick(world.alive())
    await owner.publish(name, width)
    const finders = world.alive().filter((node) => node !== owner)
    const owners = new Set([owner.id])
    const runs = []
    for (let i = 0; i < (world.isShort ? SHORT_FINDS : FINDS); i++) {
      runs.push(await world.random.pick(finders).find(name, owners, 'first'))
    }
    return share(runs, ({ isFound }) => isFound)
  } finally {
    await Promise.all(crowd.map((sybil) => sybil.stop()))
  }
}
