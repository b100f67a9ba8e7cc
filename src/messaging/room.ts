import { abortError, MeshError, throwIfAborted } from '../errors.ts'
import type { Store } from '../store/index.ts'
import * as limits from './constants.ts'
import { number, text } from './rows.ts'

interface Load {
  count: number
  bytes: number
}

interface Waiter {
  readonly peer: string
  /** It has given up, or has its place. */
  isOver: boolean
  readonly go: () => void
}

export interface OutboxLimits {
  readonly maxQueuedPerPeer: number
  readonly maxQueued: number
}

/** Counts what waits to be sent, and makes whoever sends more than there is room for wait. */
export class Room {
  readonly #limits: OutboxLimits
  readonly #peers = new Map<string, Load>()
  readonly #total: Load = { count: 0, bytes: 0 }
  readonly #waiters = new Set<Waiter>()
  /** Room that was given away and isn't counted yet, by peer. */
  readonly #reserved = new Map<string, number>()
  #reservedTotal = 0

  constructor(store: Store, init: OutboxLimits) {
    this.#limits = init
    const rows = store.all(
      `SELECT peer, count(*) AS count, sum(bytes) AS bytes FROM message_out WHERE state = 'queued' GROUP BY peer`
    )
    for (const row of rows) this.add(text(row, 'peer'), number(row, 'count'), number(row, 'bytes'))
  }

  get queued(): number {
    return this.#total.count
  }

  get peers(): IterableIterator<string> {
    return this.#peers.keys()
  }

  has(peer: string): boolean {
    return this.#peers.has(peer)
  }

  add(peer: string, count: number, bytes: number): void {
    const load = this.#peers.get(peer) ?? { count: 0, bytes: 0 }
    this.#peers.set(peer, load)
    load.count += count
    load.bytes += bytes
    this.#total.count += count
    this.#total.bytes += bytes
  }

  /** They aren't queued any more. */
  remove(peer: string, count: number, bytes: number): void {
    const load = this.#peers.get(peer)
    if (load === undefined) return
    load.count -= count
    load.bytes -= bytes
    this.#total.count -= count
    this.#total.bytes -= bytes
    if (load.count <= 0) this.#peers.delete(peer)
    this.#letIn()
  }

  /** A message takes its place; to be called when it is counted by {@link add}, or wasn't written. */
  release(peer: string): void {
    const reserved = (this.#reserved.get(peer) ?? 0) - 1
    if (reserved <= 0) this.#reserved.delete(peer)
    else this.#reserved.set(peer, reserved)
    this.#reservedTotal -= 1
    this.#letIn()
  }

  /** Takes a place if there is one. */
  take(peer: string): boolean {
    if (!this.isFree(peer)) return false
    this.#reserved.set(peer, (this.#reserved.get(peer) ?? 0) + 1)
    this.#reservedTotal += 1
    return true
  }

  /** Waits for a place. @throws {MeshError} BUSY, CANCELLED */
  async wait(peer: string, timeoutMs: number, signal: AbortSignal | undefined): Promise<void> {
    throwIfAborted(signal)
    if (this.#waiters.size >= limits.MAX_WAITING_SENDS) throw full()
    const { promise, resolve, reject } = Promise.withResolvers<void>()
    const waiter: Waiter = { peer, isOver: false, go: resolve }
    const giveUp = (err: MeshError): void => {
      waiter.isOver = true
      reject(err)
    }
    const onAbort = (): void => {
      if (signal !== undefined) giveUp(abortError(signal))
    }
    const timer = setTimeout(() => giveUp(full()), timeoutMs)
    signal?.addEventListener('abort', onAbort, { once: true })
    this.#waiters.add(waiter)
    try {
      await promise
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      this.#waiters.delete(waiter)
    }
  }

  #letIn(): void {
    for (const waiter of this.#waiters) {
      if (waiter.isOver || !this.take(waiter.peer)) continue
      waiter.isOver = true
      this.#waiters.delete(waiter)
      waiter.go()
    }
  }

  isFree(peer: string): boolean {
    const { count, bytes } = this.#peers.get(peer) ?? { count: 0, bytes: 0 }
    return (
      count + (this.#reserved.get(peer) ?? 0) < this.#limits.maxQueuedPerPeer &&
      bytes < limits.MAX_QUEUED_BYTES_PER_PEER &&
      this.#total.count + this.#reservedTotal < this.#limits.maxQueued &&
      this.#total.bytes < limits.MAX_QUEUED_BYTES
    )
  }
}

/** States of a message that somebody waits for. */
export class Waiting {
  readonly #waiters = new Map<string, Set<() => void>>()

  /** Tells whoever waits for these. */
  tell(ids: Iterable<string>): void {
    if (this.#waiters.size === 0) return
    for (const id of ids) for (const look of this.#waiters.get(id) ?? []) look()
  }

  /** Calls `look` now and after each change until it gives something. @throws {MeshError} TIMEOUT, CANCELLED, what `look` throws */
  async until<T>(id: string, signal: AbortSignal, look: () => T | undefined): Promise<T> {
    throwIfAborted(signal)
    const { promise, resolve, reject } = Promise.withResolvers<T>()
    const check = (): void => {
      try {
        const found = look()
        if (found !== undefined) resolve(found)
      } catch (err) {
        reject(err)
      }
    }
    const onAbort = (): void => reject(abortError(signal))
    const waiters = this.#waiters.get(id) ?? new Set()
    this.#waiters.set(id, waiters.add(check))
    signal.addEventListener('abort', onAbort, { once: true })
    try {
      check()
      return await promise
    } finally {
      signal.removeEventListener('abort', onAbort)
      waiters.delete(check)
      if (waiters.size === 0) this.#waiters.delete(id)
    }
  }
}

function full(): MeshError {
  return new MeshError('BUSY', 'the outbox is full', {
    hint: 'see what waits, and for whom: pryx-mesh outbox'
  })
}
