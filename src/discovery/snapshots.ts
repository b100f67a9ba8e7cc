import { peerOf, type RecordCache } from './cache.ts'
import { MAX_SNAPSHOT_HINTS, MIN_PEERS, SNAPSHOT_FIRST_MS, SNAPSHOT_GIVERS, SNAPSHOT_MS } from './constants.ts'
import type { Hints } from './hints.ts'
import type { Hint } from './messages.ts'
import type { Puller } from './pull.ts'

/** What peers know of others, taken over when they join and again and again, for gossip promises nothing. */
export interface Snapshots {
  /** True when so many peers, but not more than two, have told what they know, and the last told nothing new. */
  isSettled(connected: number): boolean
  /** Whether one more peer should tell, because fewer than two have lately. */
  readonly areFew: boolean
  /** Takes over what the peer knows; never throws. */
  take(peer: string, signal: AbortSignal): Promise<void>
  /** Forgets that the peer told. */
  left(peer: string): void
  /** Has somebody asked from time to time: `next` is to take a snapshot. */
  start(next: () => void): void
  /** Agents of nodes that may be dialled, one of each, as many as there are peers missing. */
  strangers(peers: number, isKnown: (peer: string) => boolean): readonly string[]
  stop(): void
}

export interface SnapshotsComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly puller: Puller
  readonly cache: RecordCache
  readonly hints: Hints
  readonly now: () => number
  /** Whether nobody was there when the peer was last asked. */
  readonly isGone: (peer: string) => boolean
  /** Called with each hint that was news. */
  readonly onHint: (hint: Hint, giver: string) => void
}

export function createSnapshots(components: SnapshotsComponents): Snapshots {
  const { cache, hints, isGone, now, onHint, peer: self, puller } = components
  /** When each connected peer last told. */
  const givenAt = new Map<string, number>()
  let isCalm = false
  let waitMs = SNAPSHOT_FIRST_MS
  let timer: NodeJS.Timeout | undefined

  /** @returns whether it was news to this node */
  function learn(hint: Hint, giver: string): boolean {
    const { id, seq } = hint
    // Withdrawn, or replaced: it would go round for as long as it is valid.
    if (peerOf(id) === self || cache.isOutdated(id, seq)) return false
    const isKnown = cache.get(id)?.record.seq === seq || (hints.get(id)?.seq ?? 0) >= seq
    if (hints.put({ hint, giver }) !== 'new') return false
    onHint(hint, giver)
    return !isKnown && !isGone(peerOf(id))
  }

  function later(next: () => void): void {
    timer = setTimeout(
      () => {
        next()
        later(next)
      },
      waitMs * (0.75 + Math.random() / 2)
    )
  }

  return {
    isSettled: (connected) => isCalm && givenAt.size >= Math.min(SNAPSHOT_GIVERS, connected),
    get areFew() {
      const since = now() - SNAPSHOT_MS
      return [...givenAt.values()].filter((at) => at > since).length < SNAPSHOT_GIVERS
    },
    async take(peer, signal) {
      try {
        const given = await puller.hints(peer, { signal, limit: MAX_SNAPSHOT_HINTS })
        const news = given.filter((hint) => learn(hint, peer)).length
        // One that is full may have left something out.
        isCalm = news === 0 && given.length < MAX_SNAPSHOT_HINTS
        waitMs = news > 0 ? SNAPSHOT_FIRST_MS : Math.min(SNAPSHOT_MS, 2 * waitMs)
        givenAt.set(peer, now())
      } catch {
        // Another one is asked instead, when it joins or with the next round.
      }
    },
    left: (peer) => void givenAt.delete(peer),
    start(next) {
      if (timer === undefined) later(next)
    },
    strangers(peers, isKnown) {
      const agents = new Map<string, string>()
      if (peers >= MIN_PEERS) return []
      for (const { id, addrs } of hints.all()) {
        if (addrs !== undefined && !isKnown(peerOf(id))) agents.set(peerOf(id), id)
      }
      const shuffled = [...agents.values()].map((id) => ({ id, rank: Math.random() })).sort((a, b) => a.rank - b.rank)
      return shuffled.slice(0, MIN_PEERS - peers).map(({ id }) => id)
    },
    stop: () => clearTimeout(timer)
  }
}
