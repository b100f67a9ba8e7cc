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
  #isOver = false

  constructor(open: () => ItemSource | Promise<ItemSource>) {
    this.#open = open
  }

  [Symbol.asyncIterator](): this {
    return this
  }

  next(): Promise<IteratorResult<unknown>> {
    if (this.#isOver) return Promise.resolve(DONE)
    return this.#source === undefined ? this.#readFirst() : this.#read(this.#source)
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
