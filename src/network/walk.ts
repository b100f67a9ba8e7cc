import { type ErrorCode, MeshError } from '../errors.ts'
import { KAD_BUCKET_PEERS, MAX_HEARD_ADDRESS_LENGTH, MAX_HEARD_ADDRESSES } from './constants.ts'
import { distance, nearer, type Position, positionOfPeer } from './position.ts'
import { estimateSize, isCrowded } from './size.ts'

/** A peer and where it may be, by hearsay. */
export interface Contact {
  readonly id: string
  /** Multiaddrs, with or without `/p2p/…`. */
  readonly addresses: readonly string[]
}

export interface WalkAnswer<T> {
  readonly peer: string
  /** From the dial, if one was needed, to the answer. */
  readonly ms: number
  readonly value: T
}

/** What came of asking one peer. Those cut off by the end of a walk are not told of. */
export interface WalkStep {
  readonly peer: string
  /** Index of the path, from 0. */
  readonly path: number
  readonly ms: number
  readonly outcome: 'answered' | 'timeout' | 'unreachable' | 'refused' | 'invalid'
  /** Peers that it named, at most 20. */
  readonly closer: number
  readonly reason?: string
}

export interface WalkInit<T> {
  readonly position: Position
  /** Asks one peer, to which a connection is open. What it throws is noted and counted; the walk goes on. */
  readonly ask: (peer: string, options: { signal: AbortSignal }) => Promise<{ closer: readonly Contact[]; value: T }>
  /** Disjoint paths, ≥ 1: no peer is asked on two of them, and a liar on one can't lead the others. */
  readonly paths: number
  /** Requests at once on each path. */
  readonly alpha: number
  /** A path ends when this many of the closest peers that it knows have answered. */
  readonly width: number
  /** Peers asked at most, on all paths together. */
  readonly maxMessages: number
  readonly signal: AbortSignal
  readonly onStep?: (step: WalkStep) => void
}

export interface WalkSummary {
  /** The walk ended by itself: nobody closer is left to ask, and somebody has answered. */
  readonly complete: boolean
  readonly messages: number
  /** Peers that answered, the closest first, at most `width`. */
  readonly closest: readonly string[]
  /** How many nodes the mesh has, as the density around the position says; only of a complete walk. */
  readonly estimate?: number
  /** The 20 closest are more than 8 times nearer than the size of the mesh explains: somebody may sit there on purpose. */
  readonly crowded: boolean
}

/**
 * Answers as they come, to be read once. The walk begins at once; leaving the loop ends it, and with it every request that is
 * under way. Never throws.
 */
export interface Walk<T> extends AsyncIterable<WalkAnswer<T>> {
  /** Resolves when the walk has ended, for whatever reason. */
  readonly summary: Promise<WalkSummary>
}

/** What a walk needs of the node. */
export interface WalkComponents {
  /** PeerId of this node, which is not asked. */
  readonly self: string
  /** The closest known peers. */
  readonly start: readonly Contact[]
  /** Makes sure of a connection. @throws {MeshError} UNREACHABLE, FORBIDDEN, TIMEOUT */
  readonly connect: (peer: Contact, options: { signal: AbortSignal }) => Promise<void>
  /** For dial and request together; asked anew for each peer. */
  readonly timeoutMs: () => number
  readonly clock: () => number
  /** Nodes of the mesh, as far as known. */
  readonly size: number | undefined
}

/** Asks its way to a position, from the peers known towards those that they name. */
export function startWalk<T>(init: WalkInit<T>, components: WalkComponents): Walk<T> {
  return new IterativeWalk(init, components)
}

interface Candidate extends Contact {
  readonly distance: Uint8Array
  state: 'new' | 'asked' | 'answered' | 'failed'
}

interface Path {
  readonly index: number
  /** All that were named on this path, the closest first. */
  readonly known: Candidate[]
  running: number
}

class IterativeWalk<T> implements Walk<T> {
  readonly summary: Promise<WalkSummary>
  readonly #init: WalkInit<T>
  readonly #components: WalkComponents
  readonly #candidates = new Map<string, Candidate>()
  readonly #paths: readonly Path[]
  readonly #running = new Set<AbortController>()
  readonly #answers: WalkAnswer<T>[] = []
  readonly #resolve: (summary: WalkSummary) => void
  readonly #onAbort = (): void => this.#end(false)
  #wake = Promise.withResolvers<void>()
  #messages = 0
  #hasEnded = false

  constructor(init: WalkInit<T>, components: WalkComponents) {
    this.#init = init
    this.#components = components
    this.#paths = Array.from({ length: Math.max(1, init.paths) }, (_, index) => ({ index, known: [], running: 0 }))
    const { promise, resolve } = Promise.withResolvers<WalkSummary>()
    this.summary = promise
    this.#resolve = resolve
    init.signal.addEventListener('abort', this.#onAbort)
    const start = components.start.flatMap((contact) => this.#admit(contact) ?? [])
    start.sort((a, b) => nearer(a.distance, b.distance))
    for (const [i, candidate] of start.entries()) this.#paths[i % this.#paths.length]?.known.push(candidate)
    if (init.signal.aborted) this.#end(false)
    else this.#advance()
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<WalkAnswer<T>> {
    try {
      for (;;) {
        const answer = this.#answers.shift()
        if (answer !== undefined) yield answer
        else if (this.#hasEnded) return
        else await this.#wake.promise
      }
    } finally {
      this.#end(false)
    }
  }

  /** Starts what may be started: a request on each path in turn, so that the budget is shared. */
  #advance(): void {
    if (this.#hasEnded) return
    const { alpha, maxMessages } = this.#init
    let hasStarted = true
    while (hasStarted) {
      hasStarted = false
      for (const path of this.#paths) {
        if (path.running >= alpha || this.#messages >= maxMessages) continue
        const next = this.#next(path)
        if (next === undefined) continue
        hasStarted = true
        void this.#step(path, next)
      }
    }
    if (this.#running.size > 0) return
    const isDone = this.#paths.every((path) => this.#next(path) === undefined)
    this.#end(isDone && this.#closest().length > 0)
  }

  /** The closest that hasn't been asked, if it is among the `width` closest of this path that haven't failed. */
  #next(path: Path): Candidate | undefined {
    let left = this.#init.width
    for (const candidate of path.known) {
      if (left === 0) return undefined
      if (candidate.state === 'new') return candidate
      if (candidate.state !== 'failed') left--
    }
    return undefined
  }

  async #step(path: Path, candidate: Candidate): Promise<void> {
    const { clock } = this.#components
    const cut = new AbortController()
    this.#running.add(cut)
    this.#messages++
    path.running++
    candidate.state = 'asked'
    const startedAt = clock()
    let outcome: Pick<WalkStep, 'outcome' | 'closer' | 'reason'>
    try {
      const { closer, value } = await this.#ask(candidate, cut)
      const named = this.#read(closer)
      candidate.state = 'answered'
      for (const other of named) insert(path.known, other)
      outcome = { outcome: 'answered', closer: named.length }
      if (!this.#hasEnded) this.#yield({ peer: candidate.id, ms: clock() - startedAt, value })
    } catch (err) {
      candidate.state = 'failed'
      outcome = { ...judge(err), closer: 0 }
    }
    path.running--
    this.#running.delete(cut)
    if (this.#hasEnded) return
    this.#init.onStep?.({ peer: candidate.id, path: path.index, ms: clock() - startedAt, ...outcome })
    this.#advance()
  }

  /** Gives up when the time is over, also on who doesn't heed the signal. */
  async #ask({ id, addresses }: Candidate, cut: AbortController) {
    const { connect, timeoutMs } = this.#components
    const { promise: never, reject } = Promise.withResolvers<never>()
    const onCut = () => reject(cut.signal.reason as Error)
    cut.signal.addEventListener('abort', onCut)
    const timer = setTimeout(() => cut.abort(new MeshError('TIMEOUT', 'no answer in time')), timeoutMs())
    const ask = async () => {
      await connect({ id, addresses }, { signal: cut.signal })
      return this.#init.ask(id, { signal: cut.signal })
    }
    try {
      return await Promise.race([ask(), never])
    } finally {
      clearTimeout(timer)
      cut.signal.removeEventListener('abort', onCut)
    }
  }

  /** @throws {MeshError} INVALID_MESSAGE for a list that no honest peer would send */
  #read(closer: readonly Contact[]): readonly Candidate[] {
    if (closer.length > KAD_BUCKET_PEERS) {
      throw new MeshError('INVALID_MESSAGE', `it named ${closer.length} peers, of at most ${KAD_BUCKET_PEERS}`)
    }
    return closer.flatMap((contact) => this.#admit(contact) ?? [])
  }

  /** @throws {MeshError} INVALID_MESSAGE for what is no PeerId */
  #admit({ id, addresses }: Contact): Candidate | undefined {
    if (id === this.#components.self) return undefined
    const known = this.#candidates.get(id)
    if (known !== undefined) return known
    const candidate: Candidate = {
      id,
      addresses: boundAddresses(addresses),
      distance: distance(readPosition(id), this.#init.position),
      state: 'new'
    }
    this.#candidates.set(id, candidate)
    return candidate
  }

  #yield(answer: WalkAnswer<T>): void {
    this.#answers.push(answer)
    this.#signal()
  }

  #signal(): void {
    this.#wake.resolve()
    this.#wake = Promise.withResolvers()
  }

  #closest(): readonly Candidate[] {
    return [...this.#candidates.values()]
      .filter(({ state }) => state === 'answered')
      .sort((a, b) => nearer(a.distance, b.distance))
  }

  #end(complete: boolean): void {
    if (this.#hasEnded) return
    this.#hasEnded = true
    this.#init.signal.removeEventListener('abort', this.#onAbort)
    for (const cut of this.#running) cut.abort(new MeshError('CANCELLED', 'the walk has ended'))
    const closest = this.#closest()
    const distances = closest.map((candidate) => candidate.distance)
    const estimate = complete ? estimateSize(distances, this.#init.width) : undefined
    this.#resolve({
      complete,
      messages: this.#messages,
      closest: closest.slice(0, this.#init.width).map(({ id }) => id),
      crowded: isCrowded(distances, this.#components.size),
      ...(estimate === undefined ? {} : { estimate })
    })
    this.#signal()
  }
}

/** Puts a candidate where its distance wants it, once. */
function insert(known: Candidate[], candidate: Candidate): void {
  let low = 0
  let high = known.length
  while (low < high) {
    const middle = (low + high) >>> 1
    const other = known[middle]
    if (other !== undefined && nearer(other.distance, candidate.distance) < 0) low = middle + 1
    else high = middle
  }
  if (known[low] !== candidate) known.splice(low, 0, candidate)
}

/** As many addresses as an honest peer has, none longer than one is. */
export function boundAddresses(addresses: readonly string[]): readonly string[] {
  return addresses.filter(({ length }) => length <= MAX_HEARD_ADDRESS_LENGTH).slice(0, MAX_HEARD_ADDRESSES)
}

function readPosition(id: string): Position {
  try {
    return positionOfPeer(id)
  } catch (cause) {
    throw new MeshError('INVALID_MESSAGE', `it named '${id.slice(0, 100)}', which is no PeerId`, { cause })
  }
}

const OUTCOMES: Readonly<Partial<Record<ErrorCode, WalkStep['outcome']>>> = {
  TIMEOUT: 'timeout',
  UNREACHABLE: 'unreachable',
  CONNECTION_LOST: 'unreachable',
  UNSUPPORTED_VERSION: 'refused',
  FORBIDDEN: 'refused',
  UNAUTHENTICATED: 'refused',
  BUSY: 'refused',
  LIMIT_EXCEEDED: 'refused'
}

function judge(err: unknown): Pick<WalkStep, 'outcome' | 'reason'> {
  const outcome = err instanceof MeshError ? OUTCOMES[err.code] : undefined
  return { outcome: outcome ?? 'invalid', reason: err instanceof Error ? err.message : 'it failed' }
}
