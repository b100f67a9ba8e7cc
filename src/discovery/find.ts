import { setImmediate } from 'node:timers/promises'
import { pushable } from 'it-pushable'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import type { HealthState } from '../health/index.ts'
import type { Network } from '../network/index.ts'
import type { Query, SignedRecord } from '../registry/messages.ts'
import { keyOf, type Match, peerOf, type RecordCache } from './cache.ts'
import { DIAL_LANES, FIND_TIMEOUT_MS, MAX_CANDIDATES, MAX_RESULTS, PEER_LANES, TRUSTED_MS } from './constants.ts'
import type { Hints } from './hints.ts'
import type { FindOptions, FindResults, FindSource, FindSummary, Found } from './index.ts'
import { createLane } from './lane.ts'
import type { LocalRecords } from './local.ts'
import { capabilityMatch, hintMatches } from './match.ts'
import type { Hint } from './messages.ts'
import { queryKeys } from './names.ts'
import type { Peers } from './peers.ts'

export interface FindComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: Network
  readonly local: LocalRecords
  readonly cache: RecordCache
  readonly hints: Hints
  readonly peers: Peers
  /** How an agent is, by its id. */
  readonly healthOf: (agentId: string) => HealthState
  readonly now: () => number
  /** Milliseconds to wait yet for the first peers of a young node. */
  readonly settleMs: () => number
  /** True when this node has no peer yet and may still get one. */
  readonly isYoung: () => boolean
  /** Whether the mesh is so small that the catalogue tells everybody what there is. */
  readonly isSmall: () => boolean
  /** Tells of each new hint. @returns how to stop listening */
  readonly onHint: (listener: (hint: Hint) => void) => () => void
  /** Aborted when the node stops. */
  readonly stopping: AbortSignal
}

/** @throws {MeshError} INVALID_ARGUMENT at once when the options make no sense */
export function find(components: FindComponents, options: FindOptions): FindResults {
  const { timeoutMs = FIND_TIMEOUT_MS, limit = MAX_RESULTS, signal, ...query } = options
  if (!Number.isInteger(limit) || limit < 1) throw new MeshError('INVALID_ARGUMENT', 'limit is a number from 1')
  if (!Number.isFinite(timeoutMs) || timeoutMs < 0)
    throw new MeshError('INVALID_ARGUMENT', 'timeoutMs is a number from 0')
  const search = new Search(components, query, { timeoutMs, limit: Math.min(limit, MAX_RESULTS) })
  const ended = Promise.withResolvers<FindSummary>()
  let isStarted = false

  async function* results(): AsyncGenerator<Found> {
    if (isStarted) throw new MeshError('INVALID_ARGUMENT', 'the results of a find are read once')
    isStarted = true
    try {
      yield* search.run(signal)
    } finally {
      ended.resolve(search.summary)
    }
  }
  return { [Symbol.asyncIterator]: results, summary: ended.promise }
}

/** How agents are that are named after all others, in this order. */
const LAST: readonly HealthState[] = ['degraded', 'sleeping', 'down']

/** Cached records looked at between two turns of the loop: a millisecond's work when words are looked for. */
const SLICE = 256

interface SearchInit {
  readonly timeoutMs: number
  readonly limit: number
}

/** One find: all sources side by side, each result once, until nothing is left to ask. */
class Search {
  readonly #components: FindComponents
  readonly #query: Query
  readonly #init: SearchInit
  readonly #match: Match
  readonly #hintMatches: (hint: Hint) => boolean
  readonly #results = pushable<Found>({ objectMode: true })
  readonly #ended = new AbortController()
  readonly #seen = new Set<string>()
  readonly #asked = new Set<string>()
  readonly #peerLane = createLane(PEER_LANES)
  readonly #dialLane = createLane(DIAL_LANES)
  #candidates = 0
  #pending = 0
  #count = 0
  /** Nothing has been left out so far. */
  #isWhole = true
  #isExhausted = false
  /** The reader took everything. */
  #isRead = false
  #isWalking = false

  constructor(components: FindComponents, query: Query, init: SearchInit) {
    this.#components = components
    this.#query = query
    this.#init = init
    this.#match = capabilityMatch(query)
    this.#hintMatches = hintMatches(query)
  }

  get summary(): FindSummary {
    return { complete: this.#isExhausted && this.#isWhole && this.#isRead, count: this.#count }
  }

  async *run(signal: AbortSignal | undefined): AsyncGenerator<Found> {
    const end = () => this.#end()
    const timer = setTimeout(end, this.#init.timeoutMs)
    const signals = [this.#components.stopping, ...(signal === undefined ? [] : [signal])]
    for (const other of signals) other.addEventListener('abort', end, { once: true })
    const stopListening = this.#listen()
    try {
      if (signals.some(({ aborted }) => aborted)) end()
      else this.#start()
      for await (const found of this.#results) {
        this.#count++
        yield found
      }
      this.#isRead = true
    } finally {
      end()
      clearTimeout(timer)
      stopListening()
      for (const other of signals) other.removeEventListener('abort', end)
    }
  }

  #start(): void {
    const { hints, isSmall, peers, settleMs } = this.#components
    this.#work(async () => {
      const cached = this.#fromCache()
      if (this.#query.id !== undefined) this.#ask(peerOf(this.#query.id), 'peer')
      for (const peer of peers.connected()) this.#ask(peer, 'peer')
      for (const hint of hints.all()) this.#follow(hint)
      await cached
    })
    this.#work(async () => {
      const { signal } = this.#ended
      await sleep(settleMs(), signal)
      if (!isSmall()) this.#fromDht()
      await peers.settled(signal)
    })
  }

  /** Whatever any search brings in while this one runs is a result of this one too. */
  #listen(): () => void {
    const { cache, onHint, peers } = this.#components
    const stop = [
      cache.onChange(({ after, source }) => after && this.#yield(after, source)),
      onHint((hint) => this.#follow(hint)),
      peers.onJoin((peer) => this.#ask(peer, 'peer'))
    ]
    return () => {
      for (const stopListening of stop) stopListening()
    }
  }

  async #fromCache(): Promise<void> {
    const { cache, healthOf, local } = this.#components
    // Agents of this node that are down aren't in there; what isn't well or asleep comes after all that is
    const last = new Map(LAST.map((state) => [state, [] as SignedRecord[]]))
    const isLast = (signed: SignedRecord) => last.get(healthOf(signed.record.id))?.push(signed) !== undefined
    for (const signed of local.all()) if (!isLast(signed)) this.#yield(signed, 'cache')
    const candidates = Iterator.from(cache.candidates(this.#query))
    for (let slice = take(candidates); slice.length > 0 && !this.#ended.signal.aborted; slice = take(candidates)) {
      this.#fromSlice(slice.filter((signed) => this.#match(signed.record).length > 0 && !isLast(signed)))
      await setImmediate()
    }
    for (const records of last.values()) this.#fromSlice(records)
  }

  /** Yields connected peers' records first, then the newest; asks owners for what may be out of date. */
  #fromSlice(slice: SignedRecord[]): void {
    const { cache, hints, now, peers } = this.#components
    const isNear = ({ record: { id } }: SignedRecord) =>
      peerOf(id) === this.#components.peer || peers.isConnected(peerOf(id))
    slice.sort((a, b) => Number(isNear(b)) - Number(isNear(a)) || b.record.seq - a.record.seq)
    for (const signed of slice) {
      const { id, seq } = signed.record
      const isTrusted = isNear(signed) || now() - (cache.verifiedAt(id) ?? 0) < TRUSTED_MS
      if (hints.isReplaced(id, seq)) this.#ask(peerOf(id), 'topic')
      else if (isTrusted) this.#yield(signed, 'cache')
      else this.#ask(peerOf(id), 'cache')
    }
  }

  #follow(hint: Hint): void {
    if (this.#hintMatches(hint) && !this.#components.cache.isOutdated(hint.id, hint.seq)) {
      const { cache } = this.#components
      if (cache.get(hint.id)?.record.seq !== hint.seq) this.#ask(peerOf(hint.id), 'topic', { isTold: true })
    }
  }

  #fromDht(): void {
    if (this.#isWalking || this.#ended.signal.aborted) return
    this.#isWalking = true
    for (const key of queryKeys(this.#query) ?? []) this.#work(() => this.#walk(key))
  }

  async #walk(key: CID): Promise<void> {
    const onEnd = (complete: boolean) => {
      this.#isWhole &&= complete
    }
    const { signal } = this.#ended
    const found = this.#components.network.providers.find(key, { signal, onEnd })
    for await (const peer of found) this.#ask(peer, 'dht')
  }

  /** Asks a peer for what matches, once in this search; one whose records are all here only if a hint tells of another. */
  #ask(peer: string, source: FindSource, { isTold = false } = {}): void {
    const { cache, peers } = this.#components
    if (peer === this.#components.peer || this.#asked.has(peer) || (peers.isFresh(peer) && !isTold)) return
    this.#asked.add(peer)
    const isConnected = peers.isConnected(peer)
    if (!isConnected) this.#candidates++
    if (this.#candidates > MAX_CANDIDATES) {
      this.#isWhole = false
      return
    }
    const { signal } = this.#ended
    const lane = isConnected ? this.#peerLane : this.#dialLane
    const onRecord = (signed: SignedRecord) => this.#yield(signed, source)
    this.#work(() =>
      lane.run(async () => {
        const outcome = await peers.ask(peer, this.#query, { signal, source, onRecord })
        if (outcome === 'silent') this.#isWhole = false
        // Its records are older than TRUSTED_MS, or they wouldn't have been asked for.
        if (outcome === 'gone' && source === 'cache') for (const id of this.#idsOf(peer)) cache.forget(id)
      }, signal)
    )
  }

  #idsOf(peer: string): readonly string[] {
    return this.#components.cache.ofPeer(peer).map(({ record }) => record.id)
  }

  #yield(signed: SignedRecord, source: FindSource): void {
    const { id: agent, seq, expiresAt } = signed.record
    const { cache, now } = this.#components
    const verifiedAt = new Date(cache.verifiedAt(agent) ?? now()).toISOString()
    for (const capability of this.#match(signed.record)) {
      const key = `${agent} ${keyOf(capability)}`
      if (this.#ended.signal.aborted || this.#seen.has(key)) continue
      this.#seen.add(key)
      this.#results.push({ agent, peer: peerOf(agent), capability, source, record: { seq, expiresAt }, verifiedAt })
      if (this.#seen.size >= this.#init.limit) this.#end()
    }
  }

  /** Keeps the search going until the work is done. */
  #work(work: () => Promise<void>): void {
    if (this.#ended.signal.aborted) return
    this.#pending++
    work()
      .catch(() => {
        this.#isWhole = false
      })
      .finally(() => {
        this.#pending--
        if (this.#pending > 0 || this.#ended.signal.aborted) return
        if (this.#mayNeedDht()) this.#fromDht()
        if (this.#pending > 0) return
        this.#isExhausted = true
        this.#end()
      })
  }

  #end(): void {
    if (this.#ended.signal.aborted) return
    this.#isWhole &&= this.#isCovered()
    this.#ended.abort()
    this.#results.end()
  }

  /** A walk is long and dials many: in a small mesh it is the last resort, for who found nothing and may not know everything. */
  #mayNeedDht(): boolean {
    const { peers } = this.#components
    return this.#seen.size === 0 && !peers.isSettled
  }

  /** Whether somebody could offer a match without any source having told of it. */
  #isCovered(): boolean {
    const { isSmall, isYoung, peers } = this.#components
    if (isYoung()) return false
    // In a small mesh the DHT needn't have been told of anything yet.
    return isSmall() ? peers.isSettled : this.#isWalking && queryKeys(this.#query) !== undefined
  }
}

/** The next so many. */
function take<T>(items: IteratorObject<T>): T[] {
  const taken: T[] = []
  while (taken.length < SLICE) {
    const { done, value } = items.next()
    if (done === true) break
    taken.push(value)
  }
  return taken
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  if (ms <= 0 || signal.aborted) return Promise.resolve()
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms)
    signal.addEventListener('abort', () => {
      clearTimeout(timer)
      resolve()
    })
  })
}
