/** How well this node knows the records of a peer that is connected. */
export interface PeerState {
  freshAt: number
  /** How long what it gave then counts as all it has. */
  freshMs: number
  /** How often it has said that what it has is not what it had. */
  changes: number
  /** A synchronisation is to come. */
  isWaiting: boolean
  /** Synchronisations that failed since one didn't. */
  failures: number
  triedAt: number
  /** It has been welcomed, whatever came of it. */
  isWelcomed: boolean
  /** When there was a step to that, on the monotonic clock. */
  metAt: number
  /** Until when it counts as not speaking the records protocol: it may have been starting. */
  muteUntil: number
  /** Ends the watch at this peer. */
  following: AbortController | undefined
}

/** @param now milliseconds since 1970 */
export function newPeerState(now: number): PeerState {
  return {
    freshAt: -Infinity,
    freshMs: 0,
    isWaiting: false,
    failures: 0,
    triedAt: now,
    isWelcomed: false,
    metAt: performance.now(),
    muteUntil: -Infinity,
    following: undefined,
    changes: 0
  }
}
