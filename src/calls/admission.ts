import type { GrantUse } from '../grants/index.ts'
import type { Reservation } from '../policy/index.ts'
import { isAsyncIterable } from '../rpc/index.ts'
import { readItems } from './items.ts'

/** What a call was let in by, to be settled at its end. */
export interface Admission {
  readonly use: GrantUse | undefined
  readonly reservation: Reservation | undefined
}

/** Size of a value as JSON, bytes. */
export function sizeOf(value: unknown): number {
  return Buffer.byteLength(JSON.stringify(value) ?? '')
}

/** Does the work once it is let in, and settles what it took with the size of what it gives; what fails before it began gives all back. */
export async function admitted(
  admitting: Promise<Admission>,
  work: () => unknown,
  cost: () => number
): Promise<unknown> {
  const { use, reservation } = await admitting
  const over = (bytes: number): void => reservation?.settle({ bytes, cost: cost() })
  let working: unknown
  try {
    working = work()
  } catch (err) {
    reservation?.cancel()
    await use?.giveBack()
    throw err
  }
  if (reservation === undefined) return working
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
