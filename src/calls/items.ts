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
    const { check } = this.#source
    return Promise.resolve(check === undefined ? ready : this.#checked(ready, check))
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
      this.#take = takerOf(this.#source.iterator)
    } catch (err) {
      this.#isOver = true
      throw err
    }
    return this.#isOver ? DONE : this.#read(this.#source)
  }

  #read({ iterator, check }: ItemSource): Promise<IteratorResult<unknown>> {
    const next = iterator.next()
    return check === undefined ? next : next.then((result) => this.#checked(result, check))
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
