import { setImmediate, setTimeout as sleep } from 'node:timers/promises'
import { pushable } from 'it-pushable'
import type { CID } from 'multiformats/cid'
import { MeshError } from '../errors.ts'
import type { HealthState } from '../health/index.ts'
import type { Query, SignedRecord } from '../registry/messages.ts'
import { type Asking, createAsking } from './asking.ts'
import { keyOf, type Match, peerOf } from './cache.ts'
import { FIND_TIMEOUT_MS, MAX_RESULTS, TRUSTED_MS } from './constants.ts'
import { type Explain, explainTo } from './explain.ts'
import type { FindComponents } from './find-components.ts'
import type { FindOptions, FindResults, FindSource, FindSummary, Found, Missing } from './index.ts'
import { capabilityMatch, hintMatches } from './match.ts'
import type { Hint } from './messages.ts'
import { type Expected, expectedOf } from './missing.ts'
import { queryKeys } from './names.ts'
import { rankRecords } from './ranking.ts'

/** @throws {MeshError} INVALID_ARGUMENT at once when the options make no sense */
export function find(components: FindComponents, options: FindOptions): FindResults {
  const { timeoutMs = FIND_TIMEOUT_MS, limit = MAX_RESULTS, signal, onStep, ...query } = options
  if (!Number.isInteger(limit) || limit < 1) throw new MeshError('INVALID_ARGUMENT', 'limit is a number from 1')
  if (!Number.isFinite(timeoutMs) || timeoutMs < 0)
    throw new MeshError('INVALID_ARGUMENT', 'timeoutMs is a number from 0')
  const init = { timeoutMs, limit: Math.min(limit, MAX_RESULTS), explain: explainTo(onStep) }
  const search = new Search(components, query, init)
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
  readonly explain: Explain
}

/** One find: all sources side by side, each result once, until nothing is left to ask. */
class Search {
  readonly #components: FindComponents
  readonly #query: Query
  readonly #init: SearchInit
  readonly #match: Match
  readonly #hintMatches: (hint: Hint) => boolean
  readonly #expected: Expected
  readonly #results = pushable<Found>({ objectMode: true })
  readonly #ended = new AbortController()
  readonly #seen = new Set<string>()
  /** Ids of agents by `<kind> <name>` of what was found of them. */
  readonly #found = new Map<string, Set<string>>()
  readonly #asking: Asking
  #messages = 0
  #pending = 0
  #count = 0
  /** How many offer a match, as the DHT's holders say. */
  #total = 0
  /** Nothing has been left out so far. */
  #isWhole = true
  #isExhausted = false
  /** The reader took everything. */
  #isRead = false
  #isWalking = false
  #missing: readonly Missing[] = []
  #why: 'limit' | 'deadline' | 'cancelled' | 'exhausted' = 'cancelled'

  constructor(components: FindComponents, query: Query, init: SearchInit) {
    this.#components = components
    this.#query = query
    this.#init = init
    this.#match = remembered(capabilityMatch(query))
    this.#hintMatches = hintMatches(query)
    this.#expected = expectedOf(query, components.pinned)
    this.#asking = createAsking(components, {
      query,
      explain: init.explain,
      signal: this.#ended.signal,
      work: (work) => this.#work(work),
      onRecord: (signed, source) => this.#yield(signed, source)
    })
  }

  get summary(): FindSummary {
    const complete = this.#isExhausted && this.#isWhole && this.#asking.isWhole && this.#isRead
    const agents = new Set([...this.#found.values()].flatMap((each) => [...each])).size
    return {
      complete,
      count: this.#count,
      estimate: Math.max(agents, this.#total),
      ...(complete && this.#missing.length > 0 && { missing: this.#missing })
    }
  }

  async *run(signal: AbortSignal | undefined): AsyncGenerator<Found> {
    const end = () => this.#end('cancelled')
    const timer = setTimeout(() => this.#end('deadline'), this.#init.timeoutMs)
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
      this.#conclude()
    }
  }

  #start(): void {
    const { counts, hints, isSmall, peers, settleMs } = this.#components
    counts.add('finds')
    this.#tellBegin()
    void this.#work(async () => {
      const cached = this.#fromCache()
      if (this.#query.id !== undefined) this.#ask(peerOf(this.#query.id), 'peer')
      for (const peer of peers.connected()) this.#ask(peer, 'peer')
      for (const hint of hints.all()) this.#follow(hint)
      await cached
    })
    void this.#work(async () => {
      const { signal } = this.#ended
      const waitMs = settleMs()
      if (waitMs > 0) await sleep(waitMs, undefined, { signal }).catch(() => {})
      if (!isSmall()) this.#fromDht()
      await peers.settled(signal)
    })
  }

  /** Whatever any search brings in while this one runs is a result of this one too. */
  #listen(): () => void {
    const { cache, isSmall, onHint, peers, refusals } = this.#components
    // A walk through a large mesh connects to whom it asks: they needn't all be asked for their own records too.
    const isPassing = () => this.#isWalking && !isSmall()
    const stop = [
      cache.onChange(({ after, source }) => after && this.#yield(after, source)),
      onHint((hint) => this.#follow(hint)),
      peers.onJoin((peer) => isPassing() || this.#ask(peer, 'peer')),
      refusals.onRefusal((peer, reason) => this.#init.explain({ step: 'refused', peer, reason }))
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

  /** Yields the most trusted peers' records first, then those of connected ones, then the newest; asks owners for what may be out of date. */
  #fromSlice(slice: readonly SignedRecord[]): void {
    const { cache, hints, now, peer: self, peers, trustOf } = this.#components
    const isNear = (peer: string) => peer === self || peers.isConnected(peer)
    for (const signed of rankRecords(slice, { trustOf, isNear, match: this.#match })) {
      const { id, seq } = signed.record
      const isTrusted = isNear(peerOf(id)) || now() - (cache.verifiedAt(id) ?? 0) < TRUSTED_MS
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
    const keys = queryKeys(this.#query) ?? []
    if (keys.length > 0) this.#components.counts.add('walkedFinds')
    else this.#tell('dht', 'not asked: only a name, or a name space, has a key')
    for (const key of keys) void this.#work(() => this.#read(key))
  }

  async #read(key: CID): Promise<void> {
    const { counts, dht } = this.#components
    const { complete, messages, total } = await dht.read(key, {
      signal: this.#ended.signal,
      explain: this.#init.explain,
      depth: this.#init.limit === 1 ? 'any' : 'all',
      isSuspicious: () => this.#expected.missing(this.#found).length > 0,
      onNamed: (holder, named) => this.#asking.askNamed(holder, named)
    })
    counts.add('messages', messages)
    this.#messages += messages
    this.#total += total
    this.#isWhole &&= complete
  }

  #ask(peer: string, source: FindSource, options: { readonly isTold?: boolean } = {}): void {
    void this.#asking.ask(peer, source, options) // never rejects
  }

  /** @returns whether anything of it matches */
  #yield(signed: SignedRecord, source: FindSource): boolean {
    const { cache, now } = this.#components
    const { id: agent, seq, expiresAt } = signed.record
    const matches = this.#match(signed.record)
    for (const capability of matches) {
      const key = `${agent} ${keyOf(capability)}`
      if (this.#ended.signal.aborted || this.#seen.has(key)) continue
      this.#seen.add(key)
      const agents = this.#found.get(keyOf(capability))
      this.#found.set(keyOf(capability), (agents ?? new Set()).add(agent))
      this.#init.explain({ step: 'found', agent, name: capability.name, source })
      const verifiedAt = new Date(cache.verifiedAt(agent) ?? now()).toISOString()
      this.#results.push({ agent, peer: peerOf(agent), capability, source, record: { seq, expiresAt }, verifiedAt })
      if (this.#seen.size >= this.#init.limit) this.#end('limit')
    }
    return matches.length > 0
  }

  /** Keeps the search going until the work is done; never rejects. */
  async #work(work: () => Promise<void>): Promise<void> {
    if (this.#ended.signal.aborted) return
    this.#pending++
    try {
      await work()
    } catch {
      this.#isWhole = false
    }
    this.#pending--
    if (this.#pending > 0 || this.#ended.signal.aborted) return
    if (this.#mayNeedDht()) this.#fromDht()
    if (this.#pending > 0) return
    this.#isExhausted = true
    this.#end('exhausted')
  }

  #end(why: 'limit' | 'deadline' | 'cancelled' | 'exhausted'): void {
    if (this.#ended.signal.aborted) return
    this.#why = why
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

  #conclude(): void {
    this.#missing = this.#expected.missing(this.#found)
    const { complete } = this.summary
    if (complete) this.#components.onMissing(this.#missing)
    const messages = this.#messages + this.#asking.messages
    this.#init.explain({ step: 'ended', why: this.#why, complete, messages, candidates: this.#asking.candidates })
  }

  #tellBegin(): void {
    const { cache, hints, isSmall, network, peers } = this.#components
    const { routingTable } = network.status()
    const nodes = network.dht.size
    this.#init.explain({
      step: 'began',
      catalogue: isSmall() ? 'on' : 'off',
      ...(nodes !== undefined && { nodes }),
      peers: peers.connected().length,
      routingTable,
      records: cache.size,
      hints: hints.size
    })
  }

  #tell(source: FindSource, says: string): void {
    this.#init.explain({ step: 'source', source, says })
  }
}

/** Words are looked for once in each record that has them, not again when it is put in order and when it is yielded. */
function remembered(match: Match): Match {
  const matched = new WeakMap<SignedRecord['record'], ReturnType<Match>>()
  return (record) => {
    const known = matched.get(record)
    if (known !== undefined) return known
    const capabilities = match(record)
    if (capabilities.length > 0) matched.set(record, capabilities)
    return capabilities
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
