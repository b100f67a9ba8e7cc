const DONE = { done: true, value: undefined } as const

/** The same items; tells once how the first read of them ended. Later reads cost a function call, and no promise. */
export function tellFirst(
  source: AsyncIterator<unknown>,
  tell: (failure?: unknown) => void
): AsyncIterableIterator<unknown> {
  const readFirst = (): Promise<IteratorResult<unknown>> => {
    next = () => source.next()
    const first = source.next()
    first.then(
      () => tell(),
      (err: unknown) => tell(err)
    )
    return first
  }
  let next = readFirst
  return {
    next: () => next(),
    async return() {
      await source.return?.()
      return DONE
    },
    [Symbol.asyncIterator]() {
      return this
    }
  }
}
