import type { Reservation } from '../policy/index.ts'
import { isAsyncIterable } from '../rpc/index.ts'
import { readItems } from './items.ts'

/** Size of a value as JSON, bytes. */
export function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? '')
}

/** Does the work once its limits have room, and settles what it took with the size of what it gives; what fails before it began gives all back. */
export async function reserved(
  reserving: Reservation | undefined | Promise<Reservation | undefined>,
  work: () => unknown,
  cost: () => number
): Promise<unknown> {
  const reservation = await reserving
  if (reservation === undefined) return work()
  const over = (bytes: number): void => reservation.settle({ bytes, cost: cost() })
  let working: unknown
  try {
    working = work()
  } catch (err) {
    reservation.cancel()
    throw err
  }
  try {
    const result = await working
    if (isAsyncIterable(result)) return countItems(result, over)
    over(sizeOf(result))
    return result
  } catch (err) {
    over(0)
    throw err
  }
}

function countItems(items: AsyncIterable<unknown>, over: (bytes: number) => void): AsyncIterable<unknown> {
  const iterator = items[Symbol.asyncIterator]()
  let bytes = 0
  const counted: AsyncIterator<unknown> = {
    async next() {
      try {
        const result = await iterator.next()
        if (result.done === true) over(bytes)
        else bytes += sizeOf(result.value)
        return result
      } catch (err) {
        over(bytes)
        throw err
      }
    },
    async return() {
      over(bytes)
      await iterator.return?.()
      return { done: true, value: undefined }
    }
  }
  return readItems(() => ({ iterator: counted }))
}
