import { MAX_TABLE_PEERS_PER_SUBNET } from './constants.ts'
import { type KadNode, onEntry, removeEntry } from './kad.ts'
import { subnetOf } from './subnet.ts'

/**
 * Keeps one network from filling the routing table, and with it every walk: addresses of one subnet are cheap to have together, and
 * keys cost nothing. Peers of this machine and of private nets aren't counted.
 */
export class TableGuard {
  readonly #kad: KadNode
  readonly #addressOf: (peer: string) => string | undefined
  readonly #subnets = new Map<string, string>()
  readonly #counts = new Map<string, number>()
  readonly #off: readonly (() => void)[]
  /** Peers that were taken out because their subnet has enough others in the table. */
  turnedAway = 0

  /** @param addressOf multiaddr that a connected peer is connected by */
  constructor(kad: KadNode, addressOf: (peer: string) => string | undefined) {
    this.#kad = kad
    this.#addressOf = addressOf
    this.#off = [
      onEntry(kad, 'peer:add', (peer) => this.#added(peer)),
      onEntry(kad, 'peer:remove', (peer) => this.#removed(peer))
    ]
  }

  stop(): void {
    for (const off of this.#off) off()
  }

  #added(peer: string): void {
    const subnet = subnetOf(this.#addressOf(peer))
    if (subnet === undefined || this.#subnets.has(peer)) return
    const count = this.#counts.get(subnet) ?? 0
    this.#subnets.set(peer, subnet)
    this.#counts.set(subnet, count + 1)
    if (count < MAX_TABLE_PEERS_PER_SUBNET) return
    this.turnedAway += 1
    removeEntry(this.#kad, peer).catch(() => {
      // only fails with the cache that its tag is written to
    })
  }

  #removed(peer: string): void {
    const subnet = this.#subnets.get(peer)
    if (subnet === undefined) return
    this.#subnets.delete(peer)
    const left = (this.#counts.get(subnet) ?? 1) - 1
    if (left === 0) this.#counts.delete(subnet)
    else this.#counts.set(subnet, left)
  }
}
