import { takerOf } from '../rpc/index.ts'

/** Where items come from, and what each must pass. */
export interface ItemSource {
  readonly iterator: AsyncIterator<unknown>
  /** Throws, or returns a promise that rejects, for an item that doesn't fit; absent when anything does. */
  readonly check?: ((item: unknown) => void | Promise<void>) | undefined
}

/**
 * Reads items from a source that is opened at the first read. Leaving it, or an item that doesn't fit, ends the source.
 *
 * Not a generator: items pass here by the hundred thousand, and each generator costs three turns of the microtask queue.
 */
export function readItems(open: () => ItemSource | Promise<ItemSource>): AsyncIterableIterator<unknown> {
  return new Items(open)
}

const DONE = { done: true, value: undefined } as const

class Items implements AsyncIterableIterator<unknown> {
  readonly #open: () => ItemSource | Promise<ItemSource>
  #opening: Promise<ItemSource> | undefined
  #source: ItemSource | undefined
  #take: ReturnType<typeof takerOf<unknown>>
  /** Made once, for the check. */
  #pass: ((result: IteratorResult<unknown>) => IteratorResult<unknown> | Promise<IteratorResult<unknown>>) | undefined
  #isOver = false

  constructor(open: () => ItemSource | Promise<ItemSource>) {
    this.#open = open
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<unknown>> {
    if (this.#isOver) return Promise.resolve(DONE)
    if (this.#source === undefined) return this.#readFirst()
    const ready = this.#take?.()
    if (ready === undefined) return this.#read(this.#source)
    return Promise.resolve(this.#pass === undefined ? ready : this.#pass(ready))
  }

  async return(): Promise<IteratorResult<unknown>> {
    this.#isOver = true
    const source = await this.#opening?.catch(() => undefined)
    await source?.iterator.return?.()
    return DONE
  }

  async #readFirst(): Promise<IteratorResult<unknown>> {
    this.#opening ??= Promise.resolve(this.#open())
    try {
      this.#source = await this.#opening
      const { iterator, check } = this.#source
      this.#take = takerOf(iterator)
      if (check !== undefined) this.#pass = (result) => this.#checked(result, check)
    } catch (err) {
      this.#isOver = true
      throw err
    }
    return this.#isOver ? DONE : this.#read(this.#source)
  }

  #read({ iterator }: ItemSource): Promise<IteratorResult<unknown>> {
    const next = iterator.next()
    return this.#pass === undefined ? next : next.then(this.#pass)
  }

  #checked(
    result: IteratorResult<unknown>,
    check: (item: unknown) => void | Promise<void>
  ): IteratorResult<unknown> | Promise<IteratorResult<unknown>> {
    if (result.done === true) return result
    try {
      const pending = check(result.value)
      return pending === undefined ? result : pending.then(() => result).catch((err: unknown) => this.#fail(err))
    } catch (err) {
      return this.#fail(err)
    }
  }

  async #fail(err: unknown): Promise<never> {
    await this.return()
    throw err
  }
}
