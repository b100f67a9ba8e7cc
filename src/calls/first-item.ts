import { type ReadyItems, takerOf } from '../rpc/index.ts'

const DONE = { done: true, value: undefined } as const

/** The same items; tells once how the first read of them ended. Later reads cost a function call, and no promise. */
export function tellFirst(source: AsyncIterator<unknown>, tell: (failure?: unknown) => void): ReadyItems<unknown> {
  const take = takerOf(source)
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
    takeReady: () => (next === readFirst ? undefined : take?.()),
    async return() {
      await source.return?.()
      return DONE
    },
    [Symbol.asyncIterator]() {
      return this
    }
  }
}
