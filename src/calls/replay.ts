import { MeshError } from '../errors.ts'
import type { GrantUse } from '../grants/index.ts'
import { EncodedItem, encodeItem, isAsyncIterable, type ReadyItems, type RequestContext } from '../rpc/index.ts'
import {
  ITEM_FRAME_BYTES,
  ITEM_MEMORY_BYTES,
  KEPT_BYTES,
  MAX_AHEAD_BYTES,
  READ_AHEAD_BYTES,
  TRIM_BYTES
} from './constants.ts'

export interface ReplayInit {
  /** What was asked for: only the same is resumed. */
  readonly resource: string
  readonly context: Pick<RequestContext, 'caller' | 'session'>
  /** Told how much more memory it takes. */
  readonly onKept: (bytes: number) => void
  /** Somebody reads it. */
  readonly onRead: () => void
  /** Nobody reads it any more, or it isn't wanted. */
  readonly onLeft: (isWanted: boolean) => void
}

const DONE = { done: true, value: undefined } as const

/** A streamed answer that outlives its connection: its items by number, from 1, as far as they may be asked for again. */
export class Replay {
  readonly resource: string
  /** What let it in, when that was no rule. */
  use: GrantUse | undefined
  readonly #init: ReplayInit
  readonly #controller = new AbortController()
  /** JSON of those that are kept, in order: texts alone are less to look through for the collector of garbage. */
  readonly #kept: string[] = []
  /** The number of the first of them. */
  #first = 1
  /** The last that was given to a reader. */
  #delivered = 0
  /** Frame bytes of the kept ones up to `#delivered`, and of those after it. */
  #deliveredBytes = 0
  #aheadBytes = 0
  #memoryBytes = 0
  #cost = 0
  #iterator: AsyncIterator<unknown> | undefined
  #isPulling = false
  #end: { readonly error: MeshError | undefined } | undefined
  #reader: ReplayReader | undefined

  constructor(init: ReplayInit) {
    this.#init = init
    this.resource = init.resource
  }

  /** What the agent gets: not the connection's, which may break. */
  get context(): RequestContext {
    const { signal } = this.#controller
    const costOf = (): number => this.#cost
    return {
      ...this.#init.context,
      signal,
      charge: (amount) => {
        if (Number.isFinite(amount) && amount > 0) this.#cost += amount
      },
      get cost() {
        return costOf()
      }
    }
  }

  get isRead(): boolean {
    return this.#reader !== undefined
  }

  get hasEnded(): boolean {
    return this.#end !== undefined
  }

  get memoryBytes(): number {
    return this.#memoryBytes
  }

  /** Takes what the agent answered: a result, items, or a promise of either. */
  begin(result: unknown): void {
    if (result instanceof Promise) {
      result.then(
        (value: unknown) => this.begin(value),
        (err: unknown) => this.#finish(MeshError.from(err))
      )
      return
    }
    if (!isAsyncIterable(result)) {
      if (result !== undefined) this.#keep(result)
      this.#finish()
      return
    }
    const iterator = result[Symbol.asyncIterator]()
    if (this.#end === undefined) {
      this.#iterator = iterator
      this.#pull()
    } else {
      discard(iterator)
    }
  }

  /** @returns itself @throws {MeshError} INVALID_ARGUMENT unless that was asked for */
  of(resource: string): this {
    if (this.resource === resource) return this
    throw new MeshError('INVALID_ARGUMENT', 'the stream of that id is of another capability')
  }

  /** Whether the items after this one are all kept, or still to be made. */
  isKept(after: number): boolean {
    return after >= this.#first - 1 && after <= this.#last
  }

  /** The number of the last item that was made. */
  get #last(): number {
    return this.#first + this.#kept.length - 1
  }

  #item(number: number): string | undefined {
    return this.#kept[number - this.#first]
  }

  /** Goes on after an item; whoever read it before is told that it lost it. */
  attach(after: number, context: RequestContext): ReadyItems<EncodedItem> {
    this.#reader?.fail(new MeshError('CONNECTION_LOST', 'the stream was asked for again, on another connection'))
    this.#moveTo(after)
    this.#init.onRead()
    this.#reader = new ReplayReader(this, after, context)
    return this.#reader
  }

  /** The next item for its reader, if it is made already. */
  take(after: number): EncodedItem | undefined {
    const item = this.#item(after + 1)
    if (item === undefined) return undefined
    if (after + 1 > this.#delivered) this.#deliver(item)
    return new EncodedItem(item)
  }

  /** What became of the stream; undefined while more is to come, which the agent is asked for now. */
  endOrMore(): { readonly error: MeshError | undefined } | undefined {
    if (this.#end === undefined) this.#pull()
    return this.#end
  }

  /** @param reason why nothing more is wanted; undefined when only the connection is gone */
  left(reader: ReplayReader, reason: MeshError | undefined): void {
    if (reader !== this.#reader) return
    this.#reader = undefined
    if (reason !== undefined) this.stop(reason)
    else this.#pull()
    this.#init.onLeft(reason === undefined)
  }

  /** Ends the agent's work, and fails the reader, if there is one. */
  stop(reason: MeshError): void {
    const iterator = this.#iterator
    this.#finish(reason)
    this.#controller.abort(reason)
    if (iterator !== undefined) discard(iterator)
  }

  /** Forgets what was delivered. */
  trim(keptBytes = 0): void {
    let count = 0
    let memory = 0
    for (const item of this.#kept) {
      if (this.#deliveredBytes <= keptBytes || this.#first + count > this.#delivered) break
      count += 1
      memory += memoryBytes(item)
      this.#deliveredBytes -= frameBytes(item)
    }
    if (count === 0) return
    this.#kept.splice(0, count)
    this.#first += count
    this.#remember(-memory)
  }

  /** Asks the agent for its next item, unless it is ahead of its reader far enough. */
  #pull(): void {
    const aheadBytes = this.#reader === undefined ? MAX_AHEAD_BYTES : READ_AHEAD_BYTES
    if (this.#isPulling || this.#iterator === undefined || this.#aheadBytes >= aheadBytes) return
    this.#isPulling = true
    this.#iterator.next().then(this.#onPulled, this.#onFailed)
  }

  // Made once: items come by the hundred thousand
  readonly #onPulled = ({ done, value }: IteratorResult<unknown>): void => {
    this.#isPulling = false
    if (this.#end !== undefined) return
    if (done === true) this.#finish()
    else this.#keep(value)
  }

  readonly #onFailed = (err: unknown): void => {
    this.#isPulling = false
    this.#finish(MeshError.from(err))
  }

  #keep(value: unknown): void {
    let item: string
    try {
      item = encodeItem(value).json
    } catch (err) {
      this.stop(MeshError.from(err))
      return
    }
    this.#kept.push(item)
    this.#aheadBytes += frameBytes(item)
    this.#remember(memoryBytes(item))
    this.#reader?.ready()
    this.#pull()
  }

  #deliver(item: string): void {
    const bytes = frameBytes(item)
    this.#delivered += 1
    this.#aheadBytes -= bytes
    // Beside the newest: it may be as large as a frame, and those before it not be read yet
    if (this.#deliveredBytes > KEPT_BYTES + TRIM_BYTES) this.trim(KEPT_BYTES)
    this.#deliveredBytes += bytes
  }

  /** What comes after it counts as not delivered; what comes before is not asked for again. */
  #moveTo(after: number): void {
    for (; this.#delivered > after; this.#delivered -= 1) {
      const item = this.#item(this.#delivered)
      if (item === undefined) break
      this.#deliveredBytes -= frameBytes(item)
      this.#aheadBytes += frameBytes(item)
    }
    while (this.#delivered < after) {
      const item = this.#item(this.#delivered + 1)
      if (item === undefined) break
      this.#deliver(item)
    }
    this.trim()
  }

  #finish(error?: MeshError): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    this.#iterator = undefined
    this.#reader?.ready()
    if (this.#reader === undefined) this.#init.onLeft(true)
  }

  #remember(bytes: number): void {
    this.#memoryBytes += bytes
    this.#init.onKept(bytes)
  }
}

/** One reading of a replay, over one connection. */
class ReplayReader implements ReadyItems<EncodedItem> {
  readonly #replay: Replay
  readonly #context: RequestContext
  #after: number
  #waiter: PromiseWithResolvers<IteratorResult<EncodedItem>> | undefined
  #isWaking = false
  #error: MeshError | undefined
  #isOver = false

  constructor(replay: Replay, after: number, context: RequestContext) {
    this.#replay = replay
    this.#after = after
    this.#context = context
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  takeReady(): IteratorYieldResult<EncodedItem> | undefined {
    const item = this.#isOver ? undefined : this.#replay.take(this.#after)
    if (item === undefined) return undefined
    this.#after += 1
    return { done: false, value: item }
  }

  next(): Promise<IteratorResult<EncodedItem>> {
    const error = this.#error
    this.#error = undefined
    if (error !== undefined) return Promise.reject(error)
    if (this.#isOver) return Promise.resolve(DONE)
    const item = this.takeReady()
    if (item !== undefined) return Promise.resolve(item)
    const end = this.#replay.endOrMore()
    if (end === undefined) {
      this.#waiter = Promise.withResolvers()
      return this.#waiter.promise
    }
    this.#leave()
    return end.error === undefined ? Promise.resolve(DONE) : Promise.reject(end.error)
  }

  return(): Promise<IteratorResult<EncodedItem>> {
    if (!this.#isOver) this.#leave(goneFor(this.#context))
    this.#take()?.resolve(DONE)
    return Promise.resolve(DONE)
  }

  /** There is something new to be read. Told when the agent rests, or is far enough ahead: one waking for all that it made. */
  ready(): void {
    if (this.#isWaking || this.#waiter === undefined) return
    this.#isWaking = true
    process.nextTick(this.#wake)
  }

  readonly #wake = (): void => {
    this.#isWaking = false
    const waiter = this.#take()
    if (waiter !== undefined) this.next().then(waiter.resolve, waiter.reject)
  }

  fail(error: MeshError): void {
    this.#isOver = true
    const waiter = this.#take()
    if (waiter === undefined) this.#error = error
    else waiter.reject(error)
  }

  #take(): PromiseWithResolvers<IteratorResult<EncodedItem>> | undefined {
    const waiter = this.#waiter
    this.#waiter = undefined
    return waiter
  }

  #leave(reason?: MeshError): void {
    this.#isOver = true
    this.#replay.left(this, reason)
  }
}

/** Why nothing more is wanted: the caller gave up, or its time is over. Whatever else ended the request, the caller may come back. */
function goneFor({ signal }: RequestContext): MeshError | undefined {
  if (!signal.aborted) return new MeshError('CANCELLED', 'nobody reads on')
  const { reason } = signal
  const isMeant = !(reason instanceof MeshError) || reason.code === 'CANCELLED' || reason.code === 'TIMEOUT'
  return isMeant ? MeshError.from(reason) : undefined
}

function discard(iterator: AsyncIterator<unknown>): void {
  try {
    // What its clean-up throws has nobody left to tell
    iterator.return?.().catch(() => {})
  } catch {}
}

// A UTF-16 unit is a byte or more in the frame, so what is kept by this count is enough by the count of credit.
function frameBytes(json: string): number {
  return json.length + ITEM_FRAME_BYTES
}

function memoryBytes(json: string): number {
  return json.length + ITEM_MEMORY_BYTES
}
