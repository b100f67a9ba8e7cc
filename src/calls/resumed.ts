import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, MeshError } from '../errors.ts'
import type { ItemStream, ReadyItems, RequestOptions } from '../rpc/index.ts'
import { CALL, RESUME_FIRST_WAIT_MS, RESUME_LONGEST_WAIT_MS } from './constants.ts'
import type { CallRequest } from './messages.ts'

export interface ResumedComponents {
  readonly ask: (peer: string, body: CallRequest, options: RequestOptions) => ItemStream
  /** Asks a peer whether it knows about resuming: one that doesn't would begin anew. */
  readonly canResume: (peer: string, signal: AbortSignal) => Promise<boolean>
  /** Whatever there is to show the peer, on a new connection too. */
  readonly prepare: (peer: string) => Promise<unknown> | undefined
  readonly random: () => number
  /** How long a peer is tried for that can't be reached. */
  readonly resumeMs: number
}

type Resumed = (peer: string, body: CallRequest, options: RequestOptions) => ReadyItems<unknown>

/** Streams of peers that survive their connections. */
export function createResumed(components: ResumedComponents): Resumed {
  return (peer, body, options) => new ResumedItems(components, { peer, body, options })
}

const DONE = { done: true, value: undefined } as const

class ResumedItems implements ReadyItems<unknown> {
  readonly #components: ResumedComponents
  readonly #peer: string
  readonly #body: CallRequest
  readonly #signal: AbortSignal | undefined
  readonly #id: string
  readonly #over = new AbortController()
  /** By `performance.now()`. */
  readonly #deadline: number
  /** Items that came. */
  #count: number
  #items: ItemStream
  #reading: Promise<IteratorResult<unknown>> | undefined

  constructor(components: ResumedComponents, call: { peer: string; body: CallRequest; options: RequestOptions }) {
    const { peer, body, options } = call
    this.#components = components
    this.#peer = peer
    this.#body = body
    this.#signal = options.signal
    this.#id = body.stream?.id ?? randomBytes(16).toString('base64url')
    this.#count = body.stream?.after ?? 0
    this.#deadline = performance.now() + (options.timeoutMs ?? CALL.timeoutMs)
    this.#items = this.#ask(options)
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  takeReady(): IteratorYieldResult<unknown> | undefined {
    const item = this.#reading === undefined ? this.#items.takeReady?.() : undefined
    if (item !== undefined) this.#count += 1
    return item
  }

  next(): Promise<IteratorResult<unknown>> {
    // What is read ahead waits: only the first of them would see that the connection broke
    if (this.#reading !== undefined) {
      return this.#reading.then(
        () => this.next(),
        () => this.next()
      )
    }
    const reading = this.#read()
    const read = (): void => {
      this.#reading = undefined
    }
    this.#reading = reading
    reading.then(read, read)
    return reading
  }

  async return(): Promise<IteratorResult<unknown>> {
    this.#over.abort(new MeshError('CANCELLED', 'nobody reads on'))
    await this.#items.return?.()
    return DONE
  }

  #read(): Promise<IteratorResult<unknown>> {
    const items = this.#items
    return items.next().then(
      (result) => {
        if (result.done !== true) this.#count += 1
        return result
      },
      (err: unknown) => (isBroken(err, items) ? this.#resume(err) : Promise.reject(err))
    )
  }

  /** Asks for the rest until it comes. @param broken why that is needed */
  async #resume(broken: MeshError): Promise<IteratorResult<unknown>> {
    const { resumeMs } = this.#components
    const until = Math.min(performance.now() + resumeMs, this.#deadline)
    const signal = AbortSignal.any([this.#over.signal, ...(this.#signal === undefined ? [] : [this.#signal])])
    for (let attempt = 0; ; attempt += 1) {
      await this.#pause(attempt, signal)
      const leftMs = this.#deadline - performance.now()
      if (leftMs <= 0) throw new MeshError('TIMEOUT', 'the deadline passed')
      if (performance.now() >= until) throw broken
      const items = await this.#reconnect(broken, AbortSignal.any([signal, AbortSignal.timeout(Math.ceil(leftMs))]))
      if (items === undefined) continue
      this.#items = items
      try {
        const result = await items.next()
        if (result.done !== true) this.#count += 1
        return this.#over.signal.aborted ? DONE : result
      } catch (err) {
        if (!isBroken(err, items) && !isUnreachable(err, items)) throw err
      }
    }
  }

  /** @returns undefined when the peer can't be reached just now @throws {MeshError} `broken` when it can't resume */
  async #reconnect(broken: MeshError, signal: AbortSignal): Promise<ItemStream | undefined> {
    const { canResume, prepare } = this.#components
    try {
      if (!(await canResume(this.#peer, signal))) throw broken
      await prepare(this.#peer)
    } catch (err) {
      if (this.#over.signal.aborted || this.#signal?.aborted === true) throw abortError(signal)
      if (err !== broken && MeshError.from(err).retryable) return undefined
      throw broken
    }
    return this.#ask({
      timeoutMs: Math.max(1, this.#deadline - performance.now()),
      ...(this.#signal && { signal: this.#signal })
    })
  }

  #ask(options: RequestOptions): ItemStream {
    const stream = { id: this.#id, after: this.#count }
    return this.#components.ask(this.#peer, { ...this.#body, stream }, options)
  }

  async #pause(attempt: number, signal: AbortSignal): Promise<void> {
    const longestMs = Math.min(RESUME_FIRST_WAIT_MS * 2 ** attempt, RESUME_LONGEST_WAIT_MS)
    try {
      await sleep(this.#components.random() * longestMs, undefined, { signal })
    } catch {
      throw abortError(signal)
    }
  }
}

/** The connection is gone, and with it what was on its way. What the peer says itself is no such thing. */
function isBroken(err: unknown, { isRefused }: ItemStream): err is MeshError {
  return err instanceof MeshError && err.code === 'CONNECTION_LOST' && isRefused !== true
}

function isUnreachable(err: unknown, { isRefused }: ItemStream): boolean {
  return err instanceof MeshError && err.code === 'UNREACHABLE' && isRefused !== true
}
