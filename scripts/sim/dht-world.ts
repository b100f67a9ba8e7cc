/** A mesh of DHT nodes in this process, laid out by the seed: what the checks of the DHT are run in. */
import type * as identities from '../../src/identity/index.ts'
import type { Identity } from '../../src/identity/index.ts'
import { built } from '../bench/built.ts'
import { type Depth, type DhtFind, type DhtNode, startDhtNode } from './dht-node.ts'
import type { Ledger } from './meter.ts'
import type { Random } from './random.ts'
import { layOut } from './world.ts'

const { createIdentity } = await built<typeof identities>('identity/index.js')

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
        const owners = (offers.get(name) ?? []).filter((node) => !stopped.has(node) && node.misbehaviour === undefined)
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
  // Who has just come has a table of its contacts: publishing, it meets those near its names
  await world.publishAll()
  return world
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
