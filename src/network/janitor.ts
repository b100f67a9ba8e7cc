import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import {
  JANITOR_FAILURES,
  JANITOR_MAX_RETRIES,
  JANITOR_PARALLEL_PINGS,
  JANITOR_PING_TIMEOUT_MS,
  JANITOR_TICK_MS,
  MAX_REMOVED_PEERS,
  MAX_TABLE_PEERS,
  MAX_TRIMMED_PEERS
} from './constants.ts'
import { type KadNode, offerEntry, removeEntry, tableEntries } from './kad.ts'
import { distance, type Position } from './position.ts'

export interface JanitorInit {
  readonly kad: KadNode
  /** Of this node. */
  readonly self: Position
  readonly isConnected: (peer: string) => boolean
  /** True when this node has no connection at all: then it is not the others who are gone. */
  readonly isAlone: () => boolean
  /** Dials if need be. */
  readonly ping: (peer: string, options: { signal: AbortSignal }) => Promise<void>
  /** 0 ≤ x < 1 */
  readonly random: () => number
}

/**
 * Takes the dead out of the routing table: the library asks after them only when their bucket is full. Who is connected is taken to
 * live until a request of ours fails; of the others the one looked at longest ago is pinged 8 times a minute.
 */
export class Janitor {
  readonly #init: JanitorInit
  /** Failures in a row; who isn't in it hasn't been looked at since the start. In the order in which they were looked at. */
  readonly #failures = new Map<string, number>()
  readonly #pinging = new Set<string>()
  readonly #removed = new LRUCache<string, true>({ max: MAX_REMOVED_PEERS })
  readonly #stopping = new AbortController()
  #timer: NodeJS.Timeout | undefined
  pings = 0
  removed = 0

  constructor(init: JanitorInit) {
    this.#init = init
  }

  start(): void {
    if (this.#stopping.signal.aborted) return
    const wait = JANITOR_TICK_MS * (0.5 + this.#init.random())
    this.#timer = setTimeout(() => {
      void this.tick().finally(() => this.start())
    }, wait)
    this.#timer.unref()
  }

  stop(): void {
    clearTimeout(this.#timer)
    this.#stopping.abort(new MeshError('CANCELLED', 'the node stops'))
  }

  /** A round: the one looked at longest ago, and those that didn't answer the last time. Never rejects. */
  async tick(): Promise<void> {
    if (this.#init.isAlone()) return
    const entries = this.#unconnected()
    const inTable = new Set(tableEntries(this.#init.kad).map(({ id }) => id))
    for (const peer of this.#failures.keys()) if (!inTable.has(peer)) this.#failures.delete(peer)
    const failed = entries.filter((peer) => this.#failed(peer) > 0).slice(0, JANITOR_MAX_RETRIES)
    const next = entries.find((peer) => !this.#failures.has(peer)) ?? this.#oldest(entries)
    const due = next === undefined || failed.includes(next) ? failed : [...failed, next]
    await Promise.all([...due.map((peer) => this.#check(peer)), this.#trim()])
  }

  /** A request to the peer failed, or its dial: it is asked at once whether it lives. */
  async suspect(peer: string): Promise<void> {
    if (this.#pinging.has(peer) || this.#init.isAlone()) return
    if (!tableEntries(this.#init.kad).some(({ id }) => id === peer)) return
    this.#note(peer, this.#failed(peer) + 1)
    if (this.#pinging.size < JANITOR_PARALLEL_PINGS) await this.#check(peer)
  }

  /** The peer has answered something. Who was taken for dead comes back, though its connection isn't a new one. */
  seen(peer: string): void {
    if (this.#failures.has(peer)) this.#note(peer, 0)
    if (this.#removed.delete(peer)) offerEntry(this.#init.kad, peer)
  }

  #unconnected(): string[] {
    const { kad, isConnected } = this.#init
    return tableEntries(kad)
      .map(({ id }) => id)
      .filter((id) => !this.#pinging.has(id) && (!isConnected(id) || this.#failed(id) > 0))
  }

  #oldest(entries: readonly string[]): string | undefined {
    const candidates = new Set(entries)
    return this.#failures.keys().find((peer) => candidates.has(peer))
  }

  #failed(peer: string): number {
    return this.#failures.get(peer) ?? 0
  }

  /** Moves the peer to the end of the order. */
  #note(peer: string, failures: number): void {
    this.#failures.delete(peer)
    this.#failures.set(peer, failures)
  }

  async #check(peer: string): Promise<void> {
    this.#pinging.add(peer)
    this.pings++
    const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(JANITOR_PING_TIMEOUT_MS)])
    try {
      await this.#init.ping(peer, { signal })
      this.#note(peer, 0)
    } catch {
      await this.#failedAgain(peer)
    } finally {
      this.#pinging.delete(peer)
    }
  }

  async #failedAgain(peer: string): Promise<void> {
    if (this.#stopping.signal.aborted || this.#init.isAlone()) return
    const failures = this.#failed(peer) + 1
    this.#note(peer, failures)
    if (failures < JANITOR_FAILURES) return
    this.#failures.delete(peer)
    this.removed++
    this.#removed.set(peer, true)
    await this.#remove(peer)
  }

  /**
   * The table takes whoever was ever connected. Above its size the far half gives way first, as it is known best: the distance with
   * the most peers loses those that aren't connected.
   */
  async #trim(): Promise<void> {
    const { kad, self, isConnected } = this.#init
    const entries = tableEntries(kad)
    const surplus = Math.min(entries.length - MAX_TABLE_PEERS, MAX_TRIMMED_PEERS)
    if (surplus <= 0) return
    const byDistance = Object.groupBy(entries, ({ position }) => magnitude(distance(position, self)))
    const [fullest = []] = Object.values(byDistance).sort((a, b) => (b?.length ?? 0) - (a?.length ?? 0))
    const leaving = fullest.filter(({ id }) => !isConnected(id)).slice(0, surplus)
    for (const { id } of leaving) await this.#remove(id)
  }

  async #remove(peer: string): Promise<void> {
    try {
      await removeEntry(this.#init.kad, peer)
    } catch {
      // only fails with the cache that its tag is written to
    }
  }
}

/** Position of the first bit that is set. */
function magnitude(distance: Uint8Array): number {
  const byte = distance.findIndex((value) => value !== 0)
  return byte === -1 ? 8 * distance.length : 8 * byte + Math.clz32(distance[byte] ?? 0) - 24
}
