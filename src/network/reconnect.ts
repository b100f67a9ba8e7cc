import { setMaxListeners } from 'node:events'
import { MeshError } from '../errors.ts'
import { OTHER_MESH_RETRY_MS, RECONNECT_MAX_MS, RECONNECT_MIN_MS, RECONNECT_STABLE_MS } from './constants.ts'

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
  /** When it was last connected, on the monotonic clock. */
  upSince: number
}

export function createReconnector({ dial, isConnected, random }: ReconnectComponents): Reconnector {
  const kept = new Set<Kept>()
  const stopped = new AbortController()
  setMaxListeners(0, stopped.signal)

  const find = (peer: string): Kept | undefined => [...kept].find(({ target }) => target.peer === peer)
  const isUp = ({ target }: Kept): boolean => target.peer !== undefined && isConnected(target.peer)

  const attempt = async (entry: Kept): Promise<void> => {
    if (entry.isDialling || isUp(entry)) return
    clearTimeout(entry.timer)
    if (await isItself(entry, dial(entry.target, stopped.signal))) kept.delete(entry)
    if (!isUp(entry)) schedule(entry)
  }
  const schedule = (entry: Kept): void => {
    if (stopped.signal.aborted || !kept.has(entry) || entry.isDialling) return
    clearTimeout(entry.timer)
    entry.timer = setTimeout(() => void attempt(entry), pauseMs(entry, random))
  }

  return {
    keep(target) {
      const known = target.peer === undefined ? undefined : find(target.peer)
      const isSame = [...kept].some((entry) => entry.target.addresses.join() === target.addresses.join())
      if (known !== undefined || (target.peer === undefined && isSame)) return
      const entry: Kept = { target, attempts: 0, isForeign: false, isDialling: false, upSince: 0 }
      kept.add(entry)
      void attempt(entry)
    },
    lost(peer) {
      const entry = find(peer)
      if (entry === undefined) return
      // A peer that throws us out at once is not to be asked every second.
      entry.attempts = performance.now() - entry.upSince < RECONNECT_STABLE_MS ? entry.attempts + 1 : 0
      schedule(entry)
    },
    seen(peer) {
      const entry = find(peer)
      if (entry === undefined) return
      entry.attempts = 0
      void attempt(entry)
    },
    forget(peer) {
      const entry = find(peer)
      clearTimeout(entry?.timer)
      if (entry !== undefined) kept.delete(entry)
    },
    stop() {
      stopped.abort()
      for (const { timer } of kept) clearTimeout(timer)
      kept.clear()
    }
  }
}

/** Notes what came of a dial. @returns true when it was this node itself that answered */
async function isItself(entry: Kept, dialled: Promise<string | undefined>): Promise<boolean> {
  entry.isDialling = true
  entry.isForeign = false
  try {
    entry.target.peer = (await dialled) ?? entry.target.peer
    entry.upSince = performance.now()
    return (await dialled) === undefined
  } catch (err) {
    entry.attempts++ // whatever the reason, it is tried again
    entry.isForeign = err instanceof MeshError && err.code === 'UNSUPPORTED_VERSION'
    return false
  } finally {
    entry.isDialling = false
  }
}

function pauseMs({ attempts, isForeign }: Kept, random: () => number): number {
  return isForeign ? OTHER_MESH_RETRY_MS * (0.5 + random()) : backoffMs(attempts, random)
}

/** Full jitter: uniform in 0 to min(60 s, 1 s × 2^attempts). */
export function backoffMs(attempts: number, random: () => number): number {
  return random() * Math.min(RECONNECT_MAX_MS, RECONNECT_MIN_MS * 2 ** attempts)
}
