import type { Caller, Session } from '../auth/index.ts'
import type { MeshError } from '../errors.ts'
import type { ReadyItems, RequestContext } from './index.ts'

/** A request that is being answered, and what its handler gets as context. */
export class RunningRequest implements RequestContext {
  readonly id: number
  readonly caller: Caller
  readonly session: Session
  /** Monotonic milliseconds. */
  deadline = Number.POSITIVE_INFINITY
  /** Bytes of items that the other side still takes. */
  credit: number
  /** Of a streamed answer. */
  iterator: AsyncIterator<unknown> | undefined
  cost = 0
  #controller: AbortController | undefined
  #stopReason: MeshError | undefined
  #wake: (() => void) | undefined

  constructor(id: number, session: Session, credit: number) {
    this.id = id
    this.session = session
    this.caller = session.caller
    this.credit = credit
  }

  get charge(): (amount: number) => void {
    return (amount) => {
      if (Number.isFinite(amount) && amount > 0) this.cost += amount
    }
  }

  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController()
      if (this.#stopReason !== undefined) this.#controller.abort(this.#stopReason)
    }
    return this.#controller.signal
  }

  /** Nothing more is wanted of it. */
  get isStopped(): boolean {
    return this.#stopReason !== undefined
  }

  stop(reason: MeshError): void {
    if (this.#stopReason !== undefined) return
    this.#stopReason = reason
    this.#controller?.abort(reason)
    if (this.iterator !== undefined) discard(this.iterator)
    this.wake()
  }

  /** Resolves at the next {@link wake}. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve
    })
  }

  wake(): void {
    const wake = this.#wake
    this.#wake = undefined
    wake?.()
  }
}

/** Tells an iterator that nobody reads on. */
export function discard(iterator: AsyncIterator<unknown>): void {
  try {
    // What its clean-up throws has nobody left to tell.
    iterator.return?.().catch(() => {})
  } catch {}
}

export function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function'
}

export function isAsyncIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

/** How to take what is there already from an iterator; undefined when it knows no such thing. */
export function takerOf<T>(iterator: AsyncIterator<T>): (() => IteratorYieldResult<T> | undefined) | undefined {
  return isReady(iterator) ? () => iterator.takeReady() : undefined
}

function isReady<T>(iterator: AsyncIterator<T>): iterator is ReadyItems<T> {
  return 'takeReady' in iterator
}
