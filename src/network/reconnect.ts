import { setMaxListeners } from 'node:events'
import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import {
  MAX_LATELY_CONNECTED,
  OTHER_MESH_RETRY_MS,
  RECONNECT_LATELY_MAX_MS,
  RECONNECT_LATELY_MS,
  RECONNECT_MAX_MS,
  RECONNECT_MIN_MS,
  RECONNECT_STABLE_MS
} from './constants.ts'

/** What is kept connected: a peer, or an address whose peer shows when it answers. */
export interface Target {
  /** Unset until an address without a PeerId has answered. */
  peer: string | undefined
  readonly addresses: readonly string[]
}

export interface ReconnectComponents {
  /** Connects, or finds the connection that there is. @returns the PeerId, or undefined when it is this node itself */
  readonly dial: (target: Target, signal: AbortSignal) => Promise<string | undefined>
  readonly isConnected: (peer: string) => boolean
  /** 0 ≤ x < 1 */
  readonly random: () => number
}

/** Keeps peers connected: redials with full-jitter backoff, for ever. */
export interface Reconnector {
  /** Keeps the target from now on; dials at once unless it is connected. */
  keep(target: Target): void
  /** The last connection to a peer is gone. */
  lost(peer: string): void
  /** Something here waits for a peer that couldn't be reached: one that was connected lately is kept, until that is long ago. */
  wanted(peer: string): void
  /** The peer was seen on the network: dials it now, if it is kept and not connected. */
  seen(peer: string): void
  /** Keeps it no longer. */
  forget(peer: string): void
  stop(): void
}

interface Kept {
  readonly target: Target
  attempts: number
  /** It answered, and isn't of this mesh. */
  isForeign: boolean
  timer?: NodeJS.Timeout | undefined
  isDialling: boolean
  /** When it was connected, on the monotonic clock. */
  upSince: number
  /** When it was lost, or kept first. */
  downSince: number
  /** It is kept only while it was connected lately, because something waits for it. */
  readonly isPassing: boolean
}

export function createReconnector(components: ReconnectComponents): Reconnector {
  return new Redialler(components)
}

class Redialler implements Reconnector {
  readonly #components: ReconnectComponents
  readonly #kept = new Set<Kept>()
  /** Peers that aren't kept: when they were lost. */
  readonly #lately = new LRUCache<string, number>({ max: MAX_LATELY_CONNECTED })
  readonly #stopped = new AbortController()

  constructor(components: ReconnectComponents) {
    this.#components = components
    setMaxListeners(0, this.#stopped.signal)
  }

  keep(target: Target): void {
    const known = target.peer === undefined ? undefined : this.#find(target.peer)
    const isSame = [...this.#kept].some((entry) => entry.target.addresses.join() === target.addresses.join())
    if (known?.isPassing === false || (target.peer === undefined && isSame)) return
    if (known !== undefined) this.#remove(known)
    void this.#attempt(this.#add(target, { downSince: performance.now(), isPassing: false }))
  }

  lost(peer: string): void {
    const entry = this.#find(peer)
    const now = performance.now()
    if (entry?.isPassing !== false) this.#lately.set(peer, now)
    if (entry === undefined) return
    entry.downSince = now
    // A peer that throws us out at once is not to be asked every second.
    entry.attempts = now - entry.upSince < RECONNECT_STABLE_MS ? entry.attempts + 1 : 0
    this.#schedule(entry)
  }

  wanted(peer: string): void {
    const downSince = this.#lately.get(peer)
    if (downSince === undefined || !isLately(downSince)) return
    if (this.#find(peer) !== undefined || this.#components.isConnected(peer)) return
    this.#schedule(this.#add({ peer, addresses: [] }, { downSince, isPassing: true }))
  }

  seen(peer: string): void {
    const entry = this.#find(peer)
    if (entry === undefined) return
    entry.attempts = 0
    void this.#attempt(entry)
  }

  forget(peer: string): void {
    this.#lately.delete(peer)
    const entry = this.#find(peer)
    if (entry !== undefined) this.#remove(entry)
  }

  stop(): void {
    this.#stopped.abort()
    for (const entry of this.#kept) this.#remove(entry)
  }

  async #attempt(entry: Kept): Promise<void> {
    if (entry.isDialling || !this.#isNeeded(entry)) return
    clearTimeout(entry.timer)
    entry.isDialling = true
    entry.isForeign = false
    try {
      const peer = await this.#components.dial(entry.target, this.#stopped.signal)
      if (peer === undefined) this.#kept.delete(entry)
      else entry.target.peer = peer
      entry.upSince = performance.now()
    } catch (err) {
      entry.attempts++ // whatever the reason, it is tried again
      entry.isForeign = err instanceof MeshError && err.code === 'UNSUPPORTED_VERSION'
    } finally {
      entry.isDialling = false
    }
    if (this.#isNeeded(entry)) this.#schedule(entry)
  }

  /** It is to be dialled; one that is kept for a while is let go of when that is over. */
  #isNeeded(entry: Kept): boolean {
    const { target, isPassing, downSince } = entry
    const isUp = target.peer !== undefined && this.#components.isConnected(target.peer)
    if (isPassing && (isUp || !isLately(downSince))) this.#remove(entry)
    return !isUp && this.#kept.has(entry)
  }

  #schedule(entry: Kept): void {
    if (this.#stopped.signal.aborted || !this.#kept.has(entry) || entry.isDialling) return
    clearTimeout(entry.timer)
    entry.timer = setTimeout(() => void this.#attempt(entry), pauseMs(entry, this.#components.random))
  }

  #find(peer: string): Kept | undefined {
    return [...this.#kept].find(({ target }) => target.peer === peer)
  }

  #add(target: Target, { downSince, isPassing }: Pick<Kept, 'downSince' | 'isPassing'>): Kept {
    const entry: Kept = { target, attempts: 0, isForeign: false, isDialling: false, upSince: 0, downSince, isPassing }
    this.#kept.add(entry)
    return entry
  }

  #remove(entry: Kept): void {
    clearTimeout(entry.timer)
    this.#kept.delete(entry)
  }
}

function pauseMs(entry: Kept, random: () => number): number {
  return entry.isForeign ? OTHER_MESH_RETRY_MS * (0.5 + random()) : backoffMs(entry, random)
}

/** Full jitter: uniform in 0 to min(60 s, 1 s × 2^attempts); 15 s for what was connected lately. */
export function backoffMs(
  { attempts, downSince }: { readonly attempts: number; readonly downSince: number },
  random: () => number
): number {
  const longestMs = isLately(downSince) ? RECONNECT_LATELY_MAX_MS : RECONNECT_MAX_MS
  return random() * Math.min(longestMs, RECONNECT_MIN_MS * 2 ** attempts)
}

function isLately(at: number): boolean {
  return performance.now() - at < RECONNECT_LATELY_MS
}
