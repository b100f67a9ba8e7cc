/** Nodes that don't do what they should: liars, the hung, and those who sit down beside a key. */
import type * as dhtHint from '../../src/discovery/dht-hint.ts'
import type * as identities from '../../src/identity/index.ts'
import type { Identity } from '../../src/identity/index.ts'
import type * as positions from '../../src/network/position.ts'
import type { Position } from '../../src/network/position.ts'
import { built } from '../bench/built.ts'
import { type DhtNode, digestOf, type Misbehaviour } from './dht-node.ts'
import type { DhtWorld } from './dht-world.ts'

const { createIdentity } = await built<typeof identities>('identity/index.js')
const { signHint } = await built<typeof dhtHint>('discovery/dht-hint.js')
const { distance, nearer, positionOfPeer } = await built<typeof positions>('network/position.js')

/** As many as an answer may name. */
const FAKES_PER_ANSWER = 20
const LIFETIME_MS = 3_600_000

interface Request {
  readonly op: 'put' | 'get' | 'withdraw'
  readonly key?: string
  readonly hints: readonly unknown[]
}

/**
 * Liars name each other as closer, whatever is looked for, and claim that 20 offer it who don't exist, half of them with
 * hints that are signed as they should be: keys cost nothing. What is put with them is gone. What they offer themselves they
 * do offer: holders who don't lie name them for it, and a dial that finds it gone would not be the cost of a lie.
 */
export async function createLie(liars: readonly DhtNode[], names: Iterable<string>): Promise<Misbehaviour> {
  const fakes = Array.from({ length: FAKES_PER_ANSWER }, () => createIdentity())
  const half = FAKES_PER_ANSWER / 2
  const signed = new Map<string, readonly string[]>()
  for (const name of names) {
    const said = { key: digestOf(name), seq: Date.now(), expiresAt: Date.now() + LIFETIME_MS, versions: ['9.9.9'] }
    const hints = await Promise.all(fakes.slice(0, half).map((fake) => signHint(fake, said)))
    signed.set(
      said.key,
      hints.map((hint) => Buffer.from(hint).toString('base64url'))
    )
  }
  const closer = liars.slice(0, FAKES_PER_ANSWER).map(({ id, address }) => ({ id, addresses: [address] }))
  const providers = fakes.slice(half).map(({ id }) => id)
  const lie = answerWith((request) => ({
    hints: signed.get(request.key ?? '') ?? [],
    providers,
    total: FAKES_PER_ANSWER,
    held: FAKES_PER_ANSWER,
    closer
  }))
  return { ...lie, isProvider: true }
}

/** Those who hide a key name each other as closest, know nobody who offers anything, and lose what is put with them. */
export function createHiding(sybils: readonly { readonly id: string; readonly address: string }[]): Misbehaviour {
  const closer = sybils.slice(0, FAKES_PER_ANSWER).map(({ id, address }) => ({ id, addresses: [address] }))
  return answerWith(() => ({ hints: [], providers: [], total: 0, held: 0, closer }))
}

/** Connects, takes the request, and never answers. */
export const HUNG: Misbehaviour = { answer: () => new Promise(() => {}) }

function answerWith(get: (request: Request) => unknown): Misbehaviour {
  return {
    answer(body) {
      const request = body as Request // from our own client
      if (request.op === 'get') return get(request)
      if (request.op === 'withdraw') return { withdrawn: 0 }
      return { results: request.hints.map(() => ({ result: 'kept', total: 0 })) }
    }
  }
}

/** A share of the nodes, chosen by chance, that misbehave until they are told to stop. @returns how to end it */
export async function turn(
  world: DhtWorld,
  count: number,
  into: (chosen: readonly DhtNode[]) => Promise<Misbehaviour> | Misbehaviour
): Promise<() => void> {
  const chosen = new Set<DhtNode>()
  while (chosen.size < count) chosen.add(world.random.pick(world.alive()))
  const misbehaviour = await into([...chosen])
  for (const node of chosen) node.misbehaviour = misbehaviour
  return () => {
    for (const node of chosen) node.misbehaviour = undefined
  }
}

/** Keys whose ids are nearer to a place than any of the nodes': some N tries for each. */
export function grind(place: Position, count: number, nodes: readonly DhtNode[]): readonly Identity[] {
  const [nearest] = nodes.map(({ id }) => distance(place, positionOfPeer(id))).toSorted(nearer)
  const ground: Identity[] = []
  while (ground.length < count) {
    const identity = createIdentity()
    const away = distance(place, positionOfPeer(identity.id))
    if (nearest === undefined || nearer(away, nearest) < 0) ground.push(identity)
  }
  return ground
}
