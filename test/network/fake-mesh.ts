import { createHash } from 'node:crypto'
import { base58btc } from 'multiformats/bases/base58'
import { distance, nearer, type Position, positionOfPeer } from '../../src/network/position.ts'
import { type Contact, startWalk, type Walk, type WalkComponents, type WalkInit } from '../../src/network/walk.ts'

export const KEY_POSITION: Position = createHash('sha256').update('a key').digest()

/** A PeerId that nobody has the key of. */
export function fakeId(text: string): string {
  const key = createHash('sha256').update(text).digest()
  return base58btc.baseEncode(Buffer.concat([Buffer.from('002408011220', 'hex'), key]))
}

/** 0 ≤ x < 1, the same for the same seed. */
export function seeded(seed: number): () => number {
  let count = 0
  return () => createHash('sha256').update(`${seed}/${count++}`).digest().readUInt32BE() / 2 ** 32
}

const positions = new Map<string, Position>()

/** @returns the ids, the closest first */
export function closestTo(position: Position, ids: readonly string[]): string[] {
  const at = (id: string): Position => {
    const known = positions.get(id) ?? positionOfPeer(id)
    positions.set(id, known)
    return known
  }
  return ids
    .map((id) => ({ id, distance: distance(at(id), position) }))
    .sort((a, b) => nearer(a.distance, b.distance))
    .map(({ id }) => id)
}

type Ask = WalkInit<string>['ask']

/** Nodes that know their neighbourhood and some of the rest, and answer without a network. */
export class FakeMesh {
  readonly self = fakeId('self')
  readonly peers: readonly string[]
  /** Who was asked, in order. */
  readonly asked: string[] = []
  /** Those that don't answer like the others. */
  readonly strange = new Map<string, Ask>()
  readonly #tables: ReadonlyMap<string, readonly string[]>
  readonly #start: readonly string[]

  constructor(size: number, seed: number) {
    const random = seeded(seed)
    this.peers = Array.from({ length: size }, (_, i) => fakeId(`${seed}/${i}`))
    const some = (count: number) =>
      Array.from({ length: count }, () => this.peers[Math.floor(random() * size)] ?? this.self)
    this.#tables = new Map(
      this.peers.map((id) => [id, [...closestTo(positionOfPeer(id), this.peers).slice(1, 21), ...some(40)]])
    )
    this.#start = [...new Set(some(40))]
  }

  /** What an honest peer answers. */
  answer(id: string): readonly Contact[] {
    return contacts(closestTo(KEY_POSITION, [...new Set(this.#tables.get(id))]).slice(0, 20))
  }

  walk(init: Partial<WalkInit<string>> = {}, components: Partial<WalkComponents> = {}): Walk<string> {
    const ask: Ask = async (id, options) => {
      this.asked.push(id)
      await new Promise((resolve) => setImmediate(resolve))
      return this.strange.get(id)?.(id, options) ?? { closer: this.answer(id), value: id }
    }
    const defaults = { position: KEY_POSITION, paths: 3, alpha: 4, width: 20, maxMessages: 1_000 }
    return startWalk(
      { ...defaults, signal: new AbortController().signal, ...init, ask: init.ask ?? ask },
      {
        self: this.self,
        start: contacts(this.#start),
        connect: async () => {},
        timeoutMs: () => 60_000,
        clock: () => 0,
        size: undefined,
        ...components
      }
    )
  }
}

export function contacts(ids: readonly string[]): Contact[] {
  return ids.map((id) => ({ id, addresses: [`/memory/${id}`] }))
}
