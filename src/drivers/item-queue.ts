import { abortError, MeshError } from '../errors.ts'

export interface ItemQueueInit {
  /** Told after each item that was taken, with what is left. */
  readonly onTaken: (left: QueueSize) => void
  /** Told once, when the reader leaves before the end. */
  readonly onLeft: () => void
  /** How long a reader waits for an item. */
  readonly timeoutMs: number
}

export interface QueueSize {
  readonly items: number
  readonly bytes: number
}

const DONE = { done: true, value: undefined } as const

/** Items on their way from an agent to the one who reads them. */
export class ItemQueue implements AsyncIterableIterator<unknown> {
  readonly #init: ItemQueueInit
  #items: { item: unknown; bytes: number }[] = []
  #bytes = 0
  #waiting: PromiseWithResolvers<IteratorResult<unknown>> | undefined
  #timer: NodeJS.Timeout | undefined
  /** Set when nothing more will come; `undefined` inside for a good end. */
  #end: { readonly error: MeshError | undefined } | undefined

  constructor(init: ItemQueueInit) {
    this.#init = init
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  get size(): QueueSize {
    return { items: this.#items.length, bytes: this.#bytes }
  }

  push(item: unknown, bytes: number): void {
    if (this.#end !== undefined) return
    if (this.#waiting === undefined) {
      this.#items.push({ item, bytes })
      this.#bytes += bytes
      return
    }
    this.#answer().resolve({ done: false, value: item })
    this.#init.onTaken(this.size)
  }

  /** What has come already is still read, unless it failed. */
  end(error?: MeshError): void {
    if (this.#end !== undefined) return
    this.#end = { error }
    if (error !== undefined) this.#clear()
    if (this.#waiting === undefined) return
    if (error === undefined) this.#answer().resolve(DONE)
    else this.#answer().reject(error)
  }

  next(): Promise<IteratorResult<unknown>> {
    const first = this.#items.shift()
    if (first !== undefined) {
      this.#bytes -= first.bytes
      this.#init.onTaken(this.size)
      return Promise.resolve({ done: false, value: first.item })
    }
    if (this.#end?.error !== undefined) {
      const { error } = this.#end
      this.#end = { error: undefined } // A failed iterator is done afterwards, as a generator would be.
      return Promise.reject(error)
    }
    if (this.#end !== undefined) return Promise.resolve(DONE)
    if (this.#waiting !== undefined)
      return Promise.reject(new MeshError('INTERNAL', 'items are read one after the other'))
    this.#waiting = Promise.withResolvers()
    this.#timer = setTimeout(() => this.#late(), this.#init.timeoutMs)
    return this.#waiting.promise
  }

  return(): Promise<IteratorResult<unknown>> {
    this.#clear()
    const isEarly = this.#end === undefined
    this.#end = { error: undefined }
    if (this.#waiting !== undefined) this.#answer().resolve(DONE)
    if (isEarly) this.#init.onLeft()
    return Promise.resolve(DONE)
  }

  #late(): void {
    const isEarly = this.#end === undefined
    this.end(abortError(AbortSignal.abort(new DOMException('', 'TimeoutError'))))
    if (isEarly) this.#init.onLeft()
  }

  #answer(): PromiseWithResolvers<IteratorResult<unknown>> {
    const waiting = this.#waiting ?? Promise.withResolvers<IteratorResult<unknown>>()
    this.#waiting = undefined
    clearTimeout(this.#timer)
    return waiting
  }

  #clear(): void {
    this.#items = []
    this.#bytes = 0
  }
}
