import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import type { Network } from '../network/index.ts'
import type { Query, SignedRecord } from '../registry/messages.ts'
import { peerOf, type RecordCache } from './cache.ts'
import {
  CANDIDATE_TIMEOUT_MS,
  FIRST_FRESH_MS,
  FRESH_MS,
  JOIN_JITTER_MS,
  MAX_FETCHES,
  MAX_SILENT_MS,
  MAX_SILENT_PEERS,
  RESYNC_MS,
  RETRY_MS,
  SYNC_LANES,
  SYNC_TIMEOUT_MS,
  UPKEEP_MS
} from './constants.ts'
import type { Hints } from './hints.ts'
import type { FindSource } from './index.ts'
import { createLane } from './lane.ts'
import type { Hint } from './messages.ts'
import { newPeerState, type PeerState } from './peer-state.ts'
import type { Puller } from './pull.ts'
import { createSnapshots, type Snapshots } from './snapshots.ts'

/** What became of a question: answered, nobody there any more, or no answer though somebody may be there. */
type Outcome = 'answered' | 'gone' | 'silent'

interface AskOptions {
  readonly signal: AbortSignal
  readonly source: FindSource
  /** Called with each verified record that came. */
  readonly onRecord?: (signed: SignedRecord) => void
}

/** The peers this node is connected to, and how well it knows their records. */
export interface Peers {
  /** Connected ones that speak the records protocol, as far as is known. */
  connected(): readonly string[]
  isConnected(peer: string): boolean
  /** True when the cache has had all records of a connected peer within FRESH_MS, and no newer one is told of. */
  isFresh(peer: string): boolean
  /** True when as many peers as there are, but not more than two, have told what they know of others, and the last brought nothing new. */
  readonly isSettled: boolean
  /**
   * Resolves when it is settled, or nothing under way would settle it, or nothing has come of that for as long as a candidate may take,
   * or the signal fires; never throws.
   */
  settled(signal: AbortSignal): Promise<void>
  /** Asks one peer for what matches, dialling it if need be; takes CANDIDATE_TIMEOUT_MS at most and never throws. */
  ask(peer: string, query: Query, options: AskOptions): Promise<Outcome>
  /** Gets one agent's record from its owner in the background. */
  fetch(agent: string, source: FindSource): void
  /** Has the connected peers push their changes for as long as somebody wants it. @returns how to let go */
  follow(): () => void
  joined(peer: string): void
  left(peer: string): void
  /** What is here of its records is not all any more, as it says itself. */
  outdated(peer: string): void
  /** Has one of the peers tell again what it knows of others. */
  askAgain(): void
  /** Takes over again what isn't fresh any more. */
  upkeep(): void
  /** @returns how to stop listening */
  onJoin(listener: (peer: string) => void): () => void
  /** Ends when all background work has. */
  stop(): Promise<void>
}

export interface PeersComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: Network
  readonly puller: Puller
  readonly cache: RecordCache
  readonly hints: Hints
  readonly now: () => number
  /** Called with each hint that a snapshot brought and that was news. */
  readonly onHint: (hint: Hint, giver: string) => void
}

export function createPeers(components: PeersComponents): Peers {
  return new ConnectedPeers(components)
}

class ConnectedPeers implements Peers {
  readonly #components: PeersComponents
  readonly #states = new Map<string, PeerState>()
  /** Until when a peer that didn't answer isn't asked again. */
  readonly #silent = new LRUCache<string, { until: number; outcome: Outcome; times: number }>({ max: MAX_SILENT_PEERS })
  readonly #lane = createLane(SYNC_LANES)
  readonly #listeners = new Set<(peer: string) => void>()
  readonly #fetching = new Set<string>()
  readonly #timers = new Set<NodeJS.Timeout>()
  readonly #work = new Set<Promise<void>>()
  readonly #stopping = new AbortController()
  readonly #waiting = new Set<() => void>()
  #followers = 0
  /** Peers that are being dialled for what they know. */
  #dialling = 0
  readonly #snapshots: Snapshots

  constructor(components: PeersComponents) {
    this.#components = components
    this.#snapshots = createSnapshots({ ...components, isGone: (peer) => this.#silent.peek(peer)?.outcome === 'gone' })
  }

  get isSettled(): boolean {
    const connected = this.connected().length
    return connected === 0 || this.#snapshots.isSettled(connected)
  }

  async settled(signal: AbortSignal): Promise<void> {
    while (!signal.aborted && !this.isSettled && this.#isMeeting()) await this.#step(signal)
  }

  connected(): readonly string[] {
    const now = this.#components.now()
    return [...this.#states].filter(([, { muteUntil }]) => muteUntil <= now).map(([peer]) => peer)
  }

  isConnected(peer: string): boolean {
    return this.#states.has(peer)
  }

  isFresh(peer: string): boolean {
    const state = this.#states.get(peer)
    if (state === undefined || this.#components.now() - state.freshAt >= state.freshMs) return false
    return !this.#fetching.values().some((agent) => peerOf(agent) === peer)
  }

  async ask(peer: string, query: Query, options: AskOptions): Promise<Outcome> {
    const { hints, network, now, puller } = this.#components
    const silent = this.#silent.get(peer)
    if (silent !== undefined && silent.until > now()) return silent.outcome
    const times = (silent?.times ?? 0) + 1
    try {
      if (!this.isConnected(peer)) await network.learn(peer, hints.addressesOf(peer))
      await puller.pull(peer, query, { ...options, timeoutMs: CANDIDATE_TIMEOUT_MS })
      this.#silent.delete(peer)
      return 'answered'
    } catch (err) {
      const outcome = this.#outcomeOf(peer, err)
      if (outcome === 'gone') this.#components.hints.forget(peer)
      const isItsFault = outcome !== 'answered' && !options.signal.aborted
      if (isItsFault) this.#silent.set(peer, { until: now() + backoff(times, MAX_SILENT_MS), outcome, times })
      return outcome
    }
  }

  fetch(agent: string, source: FindSource): void {
    // A synchronisation that is still to come brings it too.
    if (this.#states.get(peerOf(agent))?.isWaiting === true) return
    if (this.#fetching.has(agent) || this.#fetching.size >= MAX_FETCHES) return
    this.#fetching.add(agent)
    this.#background(
      async (signal) => {
        await this.ask(peerOf(agent), { id: agent }, { signal, source })
      },
      () => this.#fetching.delete(agent)
    )
  }

  follow(): () => void {
    this.#followers++
    for (const peer of this.connected()) this.#followPeer(peer)
    return () => {
      this.#followers--
      if (this.#followers === 0) for (const { following } of this.#states.values()) following?.abort()
    }
  }

  joined(peer: string): void {
    if (this.#states.has(peer)) return
    this.#states.set(peer, newPeerState(this.#components.now()))
    this.#silent.delete(peer)
    for (const listener of this.#listeners) listener(peer)
    this.#welcomeIn(Math.random() * JOIN_JITTER_MS, peer)
    this.#snapshots.start(() => this.askAgain())
  }

  outdated(peer: string): void {
    const state = this.#states.get(peer)
    if (state === undefined) return
    state.changes++
    if (state.freshAt === -Infinity) return
    state.freshAt = -Infinity
    this.#welcomeIn(RESYNC_MS, peer)
  }

  left(peer: string): void {
    this.#states.get(peer)?.following?.abort()
    this.#states.delete(peer)
    this.#snapshots.left(peer)
    this.#progress()
  }

  askAgain(): void {
    const peers = this.connected().filter((peer) => this.isFresh(peer))
    const peer = peers[Math.floor(Math.random() * peers.length)]
    if (peer === undefined) return
    this.#background(
      (signal) => this.#takeSnapshot(peer, signal),
      () => {
        this.#meetMore()
        this.#progress()
      }
    )
  }

  upkeep(): void {
    const now = this.#components.now()
    for (const [peer, state] of this.#states) {
      const isDue = now - state.freshAt >= state.freshMs - UPKEEP_MS && now - state.triedAt >= UPKEEP_MS
      if (state.muteUntil > now) continue
      if (isDue) this.#welcome(peer)
      if (this.#followers > 0) this.#followPeer(peer)
    }
  }

  onJoin(listener: (peer: string) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const timer of this.#timers) clearTimeout(timer)
    this.#snapshots.stop()
    for (const { following } of this.#states.values()) following?.abort()
    await Promise.allSettled(this.#work)
  }

  #welcomeIn(ms: number, peer: string): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      this.#welcome(peer)
    }, ms)
    this.#timers.add(timer)
  }

  /** Its own records first: what it tells of itself in the snapshot is no news then. */
  #welcome(peer: string): void {
    const state = this.#states.get(peer)
    if (state === undefined || state.isWaiting || this.#stopping.signal.aborted) return
    state.isWaiting = true
    this.#background(
      async (signal) => {
        await this.#sync(peer, signal)
        state.metAt = performance.now()
        this.#progress()
        if (this.#snapshots.areFew) await this.#takeSnapshot(peer, signal)
      },
      () => {
        state.isWelcomed = true
        this.#meetMore()
        this.#progress()
      }
    )
    if (this.#followers > 0) this.#followPeer(peer)
  }

  /** Holds a watch at the peer; when it breaks, the next upkeep opens another. */
  #followPeer(peer: string): void {
    const state = this.#states.get(peer)
    if (state === undefined || state.following !== undefined || this.#stopping.signal.aborted) return
    const following = new AbortController()
    state.following = following
    const task = this.#components.puller
      .follow(peer, {}, { signal: following.signal })
      .catch((err: unknown) => {
        this.#outcomeOf(peer, err)
      })
      .finally(() => {
        state.following = undefined
        this.#work.delete(task)
      })
    this.#work.add(task)
  }

  /** Takes over all records of a peer, and lets go of those it doesn't give any more. */
  async #sync(peer: string, signal: AbortSignal): Promise<void> {
    const { cache, now, puller } = this.#components
    const state = this.#states.get(peer)
    if (state === undefined) return
    state.isWaiting = false
    state.triedAt = now()
    const { changes } = state
    const before = cache.ofPeer(peer)
    const given = new Set<string>()
    try {
      const onRecord = ({ record }: SignedRecord) => given.add(record.id)
      await puller.pull(peer, {}, { signal, source: 'peer', timeoutMs: SYNC_TIMEOUT_MS, onRecord })
    } catch (err) {
      state.failures++
      if (this.#outcomeOf(peer, err) === 'silent') this.#welcomeIn(backoff(state.failures, UPKEEP_MS), peer)
      return
    }
    state.failures = 0
    for (const signed of before) {
      const { id } = signed.record
      // One that was replaced meanwhile is newer than the answer.
      if (!given.has(id) && cache.get(id) === signed) cache.forget(id)
    }
    const isFirst = state.freshMs === 0
    // What changed while it was being asked may have been missed
    if (state.changes === changes) state.freshAt = now()
    state.freshMs = isFirst ? FIRST_FRESH_MS : FRESH_MS
    if (isFirst) this.#welcomeIn(FIRST_FRESH_MS * (0.25 + Math.random() / 2), peer)
  }

  async #takeSnapshot(peer: string, signal: AbortSignal): Promise<void> {
    // Who gives no sound records of its own isn't asked about others'.
    if (this.isFresh(peer)) await this.#snapshots.take(peer, signal)
  }

  /** Dials owners that hints tell of while there are few peers. */
  #meetMore(): void {
    if (this.#stopping.signal.aborted) return
    const isKnown = (peer: string) => this.#states.has(peer) || this.#silent.has(peer)
    for (const id of this.#snapshots.strangers(this.#states.size + this.#dialling, isKnown)) {
      this.#dialling++
      this.#background(
        async (signal) => {
          await this.ask(peerOf(id), { id }, { signal, source: 'topic' })
        },
        () => {
          this.#dialling--
          this.#progress()
        }
      )
    }
  }

  /** Whether somebody is being got to know. */
  #isMeeting(): boolean {
    const since = performance.now() - CANDIDATE_TIMEOUT_MS
    return this.#dialling > 0 || this.#states.values().some(({ isWelcomed, metAt }) => !isWelcomed && metAt > since)
  }

  #progress(): void {
    for (const check of this.#waiting) check()
  }

  /** Waits for the next step of getting to know somebody, but not for ever. */
  async #step(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, CANDIDATE_TIMEOUT_MS)
    this.#waiting.add(resolve)
    signal.addEventListener('abort', () => resolve(), { once: true })
    await promise
    clearTimeout(timer)
    this.#waiting.delete(resolve)
  }

  #outcomeOf(peer: string, err: unknown): Outcome {
    const { code } = MeshError.from(err)
    if (code === 'UNREACHABLE') return 'gone'
    if (code === 'FORBIDDEN') return 'answered'
    if (code !== 'UNSUPPORTED_VERSION') return 'silent'
    const state = this.#states.get(peer)
    if (state !== undefined) state.muteUntil = this.#components.now() + UPKEEP_MS
    return 'answered'
  }

  #background(work: (signal: AbortSignal) => Promise<void>, done = () => {}): void {
    const { signal } = this.#stopping
    const task = this.#lane
      .run(() => work(signal), signal)
      .finally(() => {
        this.#work.delete(task)
        done()
      })
    this.#work.add(task)
  }
}

/** One busy moment costs a moment; who stays silent is left alone longer and longer. */
function backoff(times: number, mostMs: number): number {
  return Math.min(mostMs, RETRY_MS * 2 ** (times - 1))
}
