import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import type { Store } from '../store/index.ts'
import { MAX_RECEIPTS, RETRY_MAX_MS, RETRY_MIN_MS } from './constants.ts'
import type { Receipt } from './messages.ts'
import { readReceipt, text } from './rows.ts'
import { signReceipts } from './signatures.ts'

export interface ReceiptsComponents {
  readonly store: Store
  readonly identity: Identity
  readonly clock: () => number
  readonly random: () => number
  /** Puts them to the peer. @throws {MeshError} */
  readonly push: (peer: string, receipts: string) => Promise<void>
}

interface Outgoing {
  attempt: number
  dueAt: number
  isPushing: boolean
}

/** How long receipts wait for others to the same peer: a signature each would cost more than the messages. */
const GATHER_MS = 20

/** Brings receipts that came after the answer to their authors; the latest of each message, until it is there. */
export class Receipts {
  readonly #components: ReceiptsComponents
  readonly #peers = new Map<string, Outgoing>()
  readonly #timers = new Map<string, NodeJS.Timeout>()
  #isStopped = false

  constructor(components: ReceiptsComponents) {
    this.#components = components
    for (const row of components.store.all('SELECT DISTINCT peer FROM message_receipt'))
      this.#peers.set(text(row, 'peer'), { attempt: 0, dueAt: 0, isPushing: false })
  }

  /** There are some for the peer. */
  add(peer: string): void {
    if (!this.#peers.has(peer)) this.#peers.set(peer, { attempt: 0, dueAt: 0, isPushing: false })
    if (this.#timers.has(peer) || this.#isStopped) return
    const timer = setTimeout(() => {
      this.#timers.delete(peer)
      this.wake(peer)
    }, GATHER_MS).unref()
    this.#timers.set(peer, timer)
  }

  wake(peer: string): void {
    const outgoing = this.#peers.get(peer)
    if (outgoing === undefined || outgoing.isPushing || this.#isStopped) return
    if (outgoing.dueAt > this.#components.clock()) return
    outgoing.isPushing = true
    void this.#push(peer, outgoing).finally(() => {
      outgoing.isPushing = false
    })
  }

  wakeNow(peer: string): void {
    const outgoing = this.#peers.get(peer)
    if (outgoing === undefined) return
    outgoing.attempt = 0
    outgoing.dueAt = 0
    this.wake(peer)
  }

  wakeAll(): void {
    for (const peer of this.#peers.keys()) this.wake(peer)
  }

  drop(peer: string): void {
    this.#peers.delete(peer)
  }

  stop(): void {
    this.#isStopped = true
    for (const timer of this.#timers.values()) clearTimeout(timer)
  }

  async #push(peer: string, outgoing: Outgoing): Promise<void> {
    const { store, identity, clock, random, push } = this.#components
    try {
      for (;;) {
        const rows = store.all('SELECT id, state, at, code, reason FROM message_receipt WHERE peer = ? LIMIT ?', [
          peer,
          MAX_RECEIPTS
        ])
        if (rows.length === 0) {
          this.#peers.delete(peer)
          return
        }
        if (this.#isStopped) return
        const items = rows.map(readReceipt)
        await push(peer, signReceipts(identity, items))
        await this.#forget(peer, items)
        outgoing.attempt = 0
      }
    } catch (err) {
      if (MeshError.from(err).code === 'CANCELLED') return
      outgoing.dueAt = clock() + random() * Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** outgoing.attempt)
      outgoing.attempt += 1
    }
  }

  /** Not those of which there is a later one by now. */
  async #forget(peer: string, items: readonly Receipt[]): Promise<void> {
    const keys = JSON.stringify(items.map(({ id, state }) => `${id} ${state}`))
    await this.#components.store.write([
      {
        sql: "DELETE FROM message_receipt WHERE peer = ? AND id || ' ' || state IN (SELECT value FROM json_each(?))",
        params: [peer, keys]
      }
    ])
  }
}
