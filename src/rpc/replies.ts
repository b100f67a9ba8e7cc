import { MeshError } from '../errors.ts'
import type { AskedRequest, Reply } from './channel.ts'
import { MAX_COLLECTED_BYTES } from './constants.ts'
import type { ItemStream } from './index.ts'
import type { Frame } from './messages.ts'

type EndFrame = Frame & { t: 'end' }

/** The reply of {@link Rpc.request}: one value, or the items in an array. */
export function collectReply(resolve: (value: unknown) => void, reject: (error: MeshError) => void): Reply {
  let items: unknown[] | undefined
  let collectedBytes = 0
  return {
    item(body, bytes, request) {
      collectedBytes += bytes
      if (collectedBytes > MAX_COLLECTED_BYTES) {
        request.cancel(
          new MeshError('TOO_LARGE', `the items are over ${MAX_COLLECTED_BYTES} bytes`, {
            hint: 'Read them as a stream.'
          })
        )
        return
      }
      items ??= []
      items.push(body)
      request.consumed(bytes)
    },
    end(frame) {
      resolve(items ?? (frame.items === undefined ? frame.body : []))
    },
    fail: (error) => reject(error)
  }
}

interface Item {
  readonly body: unknown
  readonly bytes: number
}

interface Waiter {
  readonly resolve: (result: IteratorResult<unknown>) => void
  readonly reject: (error: MeshError) => void
}

/** The reply of {@link Rpc.stream}: asks when reading begins, holds at most one credit's worth of items, cancels when reading ends early. */
export class ItemReader implements Reply, ItemStream {
  readonly #ask: (reply: Reply) => AskedRequest
  #request: AskedRequest | undefined
  #items: Item[] = []
  /** Of `items`, the first that wasn't read: taking them off the front would move all the others, each time. */
  #head = 0
  #received = 0
  #waiters: Waiter[] = []
  /** No more items will come. */
  #isOver = false
  /** To be thrown once, after the items. */
  #error: MeshError | undefined
  #isRefused = false

  /** @param ask sends the request */
  constructor(ask: (reply: Reply) => AskedRequest) {
    this.#ask = ask
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  get isRefused(): boolean {
    return this.#isRefused
  }

  next(): Promise<IteratorResult<unknown>> {
    if (this.#request === undefined && !this.#isOver) this.#start()
    const ready = this.takeReady()
    if (ready !== undefined) return Promise.resolve(ready)
    const error = this.#error
    if (error !== undefined) {
      this.#error = undefined
      return Promise.reject(error)
    }
    if (this.#isOver) return Promise.resolve({ done: true, value: undefined })
    return new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject })
    })
  }

  takeReady(): IteratorYieldResult<unknown> | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#head += 1
    if (this.#head === this.#items.length) this.#forget()
    this.#request?.consumed(item.bytes)
    return { done: false, value: item.body }
  }

  return(): Promise<IteratorResult<unknown>> {
    this.#isOver = true
    this.#request?.cancel(new MeshError('CANCELLED', 'nobody reads on'))
    this.#forget()
    this.#error = undefined
    this.#endWaiters()
    return Promise.resolve({ done: true, value: undefined })
  }

  item(body: unknown, bytes: number, request: AskedRequest): void {
    this.#received += 1
    const waiter = this.#waiters.shift()
    if (waiter === undefined) {
      this.#items.push({ body, bytes })
    } else {
      request.consumed(bytes)
      waiter.resolve({ done: false, value: body })
    }
  }

  end(frame: EndFrame): void {
    // A plain result is the only item.
    if ('body' in frame && frame.items === undefined && this.#received === 0 && this.#request !== undefined) {
      this.item(frame.body, 0, this.#request)
    }
    this.#isOver = true
    this.#endWaiters()
  }

  fail(error: MeshError, isRefused = false): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#isRefused = isRefused
    const waiter = this.#waiters.shift()
    if (waiter === undefined) this.#error = error
    else waiter.reject(error)
    this.#endWaiters()
  }

  #forget(): void {
    this.#items = []
    this.#head = 0
  }

  #start(): void {
    try {
      this.#request = this.#ask(this)
    } catch (err) {
      this.fail(MeshError.from(err))
    }
  }

  #endWaiters(): void {
    for (const { resolve } of this.#waiters.splice(0)) resolve({ done: true, value: undefined })
  }
}
