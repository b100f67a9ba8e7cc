/** A mesh of DHT nodes in this process, laid out by the seed: what the checks of the DHT are run in. */
import type * as bounds from '../../src/discovery/constants.ts'
import type * as identities from '../../src/identity/index.ts'
import type { Identity } from '../../src/identity/index.ts'
import type * as positions from '../../src/network/position.ts'
import type { Position } from '../../src/network/position.ts'
import { built } from '../bench/built.ts'
import { type Depth, type DhtFind, type DhtNode, placeOf, startDhtNode } from './dht-node.ts'
import type { Ledger } from './meter.ts'
import type { Random } from './random.ts'
import { layOut } from './world.ts'

const { PUBLISH_WIDTH } = await built<typeof bounds>('discovery/constants.js')
const { createIdentity } = await built<typeof identities>('identity/index.js')
const { distance, nearer, positionOfPeer } = await built<typeof positions>('network/position.js')

const STARTS_AT_ONCE = 4
const PUBLISHES_AT_ONCE = 4

export interface DhtWorld {
  readonly random: Random
  /** Fewer repetitions, for a run of a minute. */
  readonly isShort: boolean
  /** All that were laid out, in the order of their start. */
  readonly nodes: readonly DhtNode[]
  /** Names, and who offers each. */
  readonly offers: ReadonlyMap<string, readonly DhtNode[]>
  /** Nodes that haven't stopped. */
  alive(): readonly DhtNode[]
  /** Publishes everything that those alive offer, once more. */
  publishAll(): Promise<void>
  /** Finds of random names by random nodes that don't offer them, one at a time. */
  finds(count: number, depth: Depth): Promise<readonly DhtFind[]>
  /** Starts one more that joins by so many random ones. */
  join(name: string, contacts: number, identity?: Identity): Promise<DhtNode>
  stop(node: DhtNode): Promise<void>
}

export interface DhtWorldInit {
  readonly nodes: number
  readonly random: Random
  readonly ledger: Ledger
  readonly isShort: boolean
}

export async function buildDhtWorld({ nodes: count, random, ledger, isShort }: DhtWorldInit): Promise<DhtWorld> {
  const plan = layOut(count, random)
  const nodes: DhtNode[] = []
  const stopped = new Set<DhtNode>()
  for (let from = 0; from < count; from += STARTS_AT_ONCE) {
    const more = Array.from({ length: Math.min(STARTS_AT_ONCE, count - from) }, (_, i) =>
      startDhtNode({ name: `dht-${from + i}`, random, ledger })
    )
    nodes.push(...(await Promise.all(more)))
  }
  await inTurn(nodes, STARTS_AT_ONCE, async (node, i) => {
    for (const contact of plan.contacts[i] ?? []) await node.network.connect((nodes[contact] as DhtNode).address)
  })
  const offers = new Map<string, DhtNode[]>()
  for (const [name, owners] of plan.owners)
    offers.set(
      name,
      owners.map((owner) => nodes[owner] as DhtNode)
    )

  const isProvider = (node: DhtNode): boolean =>
    !stopped.has(node) && (node.misbehaviour === undefined || node.misbehaviour.isProvider === true)
  const world: DhtWorld = {
    random,
    isShort,
    nodes,
    offers,
    alive: () => nodes.filter((node) => !stopped.has(node)),
    async publishAll() {
      const work = [...offers].flatMap(([name, owners]) => owners.map((owner) => ({ name, owner })))
      const due = work.filter(({ owner }) => !stopped.has(owner) && owner.misbehaviour === undefined)
      await inTurn(due, PUBLISHES_AT_ONCE, async ({ name, owner }) => void (await owner.publish(name)))
    },
    async finds(number, depth) {
      const runs: DhtFind[] = []
      while (runs.length < number) {
        const name = random.pick([...offers.keys()])
        const owners = (offers.get(name) ?? []).filter(isProvider)
        const finder = random.pick(world.alive())
        if (owners.length === 0 || owners.includes(finder) || finder.misbehaviour !== undefined) continue
        runs.push(await finder.find(name, new Set(owners.map(({ id }) => id)), depth))
      }
      return runs
    },
    async join(name, contacts, identity = createIdentity()) {
      const node = await startDhtNode({ name, random, ledger, identity })
      const met = new Set<DhtNode>()
      while (met.size < Math.min(contacts, world.alive().length)) met.add(random.pick(world.alive()))
      await inTurn([...met], STARTS_AT_ONCE, async ({ address }) => void (await node.network.connect(address)))
      return node
    },
    async stop(node) {
      stopped.add(node)
      await node.stop()
    }
  }
  await publishFirst(nodes, plan.offers)
  return world
}

/**
 * Who has just come has a table of its contacts: publishing its first name, it meets those that its walk passes. Its other names
 * are laid where publishing brings them: 140 messages for each take minutes in a large mesh, and prove nothing more.
 */
async function publishFirst(nodes: readonly DhtNode[], offers: readonly (readonly string[])[]): Promise<void> {
  await inTurn(nodes, PUBLISHES_AT_ONCE, async (node, i) => {
    const [first, ...others] = offers[i] ?? []
    if (first !== undefined) await node.publish(first)
    const rest = nodes.filter((other) => other !== node)
    for (const name of others) await node.leave(name, nearest(rest, placeOf(name), PUBLISH_WIDTH))
  })
}

/** The nodes nearest to a place, the nearest first. */
export function nearest(nodes: readonly DhtNode[], place: Position, count: number): readonly DhtNode[] {
  return nodes
    .map((node) => ({ node, away: distance(place, positionOfPeer(node.id)) }))
    .toSorted((a, b) => nearer(a.away, b.away))
    .slice(0, count)
    .map(({ node }) => node)
}

/** Does all of it, so much at a time. */
export async function inTurn<T>(
  items: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<void>
): Promise<void> {
  let next = 0
  const worker = async (): Promise<void> => {
    for (let i = next++; i < items.length; i = next++) await work(items[i] as T, i)
  }
  await Promise.all(Array.from({ length: width }, worker))
}
