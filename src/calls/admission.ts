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

/** Does the work and settles what it has taken, with the size of what it gives; what fails before it began gives all back. */
export function settled({ use, reservation }: Admission, work: () => unknown): unknown {
  if (reservation === undefined && use === undefined) return work()
  const over = (bytes: number): void => reservation?.settle({ bytes })
  let result: unknown
  try {
    result = work()
  } catch (err) {
    reservation?.cancel()
    // The failure to report is the call's own
    void use?.giveBack().catch(() => {})
    throw err
  }
  if (isAsyncIterable(result)) return countItems(result, over)
  if (!(result instanceof Promise)) {
    over(sizeOf(result))
    return result
  }
  return result.then(
    (value: unknown) => {
      if (isAsyncIterable(value)) return countItems(value, over)
      over(sizeOf(value))
      return value
    },
    (err: unknown) => {
      over(0)
      throw err
    }
  )
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
