/** What is laid out before a node starts: who offers what, who joins by whom. */

import type { Random } from './random.ts'
import { zipf } from './random.ts'

const NAMES = 100
const NAMESPACES = 10
const OFFERS_PER_NODE = 3
const CONTACTS_PER_NODE = 3

export interface World {
  /** Capability names of each node. */
  readonly offers: readonly (readonly string[])[]
  /** Nodes by which each node joins, all of them earlier. */
  readonly contacts: readonly (readonly number[])[]
  /** Nodes that offer a name. */
  readonly owners: ReadonlyMap<string, readonly number[]>
}

export function layOut(nodes: number, random: Random): World {
  const rank = zipf(NAMES, random)
  const offers = Array.from({ length: nodes }, () => {
    const names = new Set<string>()
    while (names.size < OFFERS_PER_NODE) names.add(nameOf(rank()))
    return [...names]
  })
  const contacts = offers.map((_, node) => {
    const chosen = new Set<number>()
    while (chosen.size < Math.min(CONTACTS_PER_NODE, node)) chosen.add(random.below(node))
    return [...chosen]
  })
  const owners = new Map<string, number[]>()
  for (const [node, names] of offers.entries()) {
    for (const name of names) owners.set(name, [...(owners.get(name) ?? []), node])
  }
  return { offers, contacts, owners }
}

function nameOf(rank: number): string {
  return `ns${rank % NAMESPACES}.tool${rank}`
}
