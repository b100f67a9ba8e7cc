import type { Network } from '../network/index.ts'
import type { Rpc } from '../rpc/index.ts'
import { peerOf, type RecordCache } from './cache.ts'
import { CHANGED_MS, CHANGED_PER_RECORD_MS, MAX_PEER_HINTS } from './constants.ts'
import { type Hints, hintAddresses, hintOf } from './hints.ts'
import type { LocalRecords } from './local.ts'
import type { Hint } from './messages.ts'
import type { Peers } from './peers.ts'
import { recordsProtocol } from './records.ts'

export interface TellerComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: Pick<Network, 'addressesOf' | 'status'>
  readonly rpc: Pick<Rpc, 'request'>
  readonly local: LocalRecords
  readonly cache: RecordCache
  readonly hints: Hints
  readonly peers: Peers
  readonly now: () => number
  readonly stopping: AbortSignal
}

/** Tells peers on their connections what topics don't tell them. */
export class Teller {
  readonly #components: TellerComponents
  #timer: NodeJS.Timeout | undefined
  #toldAt = Number.NEGATIVE_INFINITY

  constructor(components: TellerComponents) {
    this.#components = components
    components.stopping.addEventListener('abort', () => clearTimeout(this.#timer), { once: true })
  }

  /** Tells connected peers that there are other records for them; those that miss it learn when they ask again by themselves. */
  changed(isConcerned: (peer: string) => boolean): void {
    const { peers, rpc, stopping: signal } = this.#components
    for (const peer of peers.connected()) {
      if (isConcerned(peer)) void rpc.request(peer, recordsProtocol, { op: 'changed' }, { signal }).catch(() => {})
    }
  }

  /** Many changes together, at a pace that asking for all records bears. */
  changedSoon(): void {
    const { local, now, stopping } = this.#components
    if (this.#timer !== undefined || stopping.aborted) return
    const records = [...local.all()].length
    const waitMs = Math.max(CHANGED_MS, this.#toldAt + records * CHANGED_PER_RECORD_MS - now())
    this.#timer = setTimeout(() => {
      this.#timer = undefined
      this.#toldAt = now()
      this.changed(() => true)
    }, waitMs).unref()
  }

  /** Hints for a node that joins: own ones, then those of records this node has seen, then what it was told. */
  *hints(): Iterable<Hint> {
    const { peer: self, network, local, cache, hints } = this.#components
    const told = new Set<string>()
    const counts = new Map<string, number>()
    const own = hintAddresses(network.status().addresses)
    for (const signed of [...local.all(), ...cache.all()]) {
      const { audience, id } = signed.record
      const peer = peerOf(id)
      const count = counts.get(peer) ?? 0
      // Others take no more of one node, which itself tells them of the rest
      if (audience !== 'public' || count >= MAX_PEER_HINTS) continue
      counts.set(peer, count + 1)
      told.add(id)
      yield hintOf(signed, peer === self ? own : this.#addressesOf(peer))
    }
    for (const hint of hints.all()) if (!told.has(hint.id)) yield hint
  }

  /** Where a peer listens, by its own word if it is connected. */
  #addressesOf(peer: string): readonly string[] {
    const said = this.#components.network.addressesOf(peer)
    return said.length > 0 ? hintAddresses(said) : this.#components.hints.addressesOf(peer)
  }
}
