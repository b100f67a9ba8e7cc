import { MeshError } from '../errors.ts'
import { MAX_WATCH_QUEUE } from './constants.ts'

/** Tells whoever waits that a request has been asked or answered. */
export interface Changes {
  tell(id: string): void
  /** Resolves at the next change of this request, after `ms`, or when the signal fires, whichever is first. */
  next(id: string, ms: number, signal: AbortSignal): Promise<void>
  /**
   * Yields ids that change from this call on, each once however often it has changed since it was last read.
   *
   * @throws {MeshError} BUSY from the iteration when its reader is MAX_WATCH_QUEUE behind
   */
  watch(before: Iterable<string>, signal: AbortSignal): AsyncIterable<string>
}

export function createChanges(): Changes {
  const listeners = new Set<(id: string) => void>()
  return {
    tell(id) {
      for (const listener of listeners) listener(id)
    },
    next: (id, ms, signal) =>
      new Promise((resolve) => {
        const over = (): void => {
          clearTimeout(timer)
          listeners.delete(listener)
          signal.removeEventListener('abort', over)
          resolve()
        }
        const listener = (changed: string): void => {
          if (changed === id) over()
        }
        const timer = setTimeout(over, ms).unref()
        if (signal.aborted) {
          over()
          return
        }
        listeners.add(listener)
        signal.addEventListener('abort', over, { once: true })
      }),
    watch(before, signal) {
      const queue = new Set(before)
      let isBehind = false
      let wake = (): void => {}
      const listener = (id: string): void => {
        if (queue.size < MAX_WATCH_QUEUE) queue.add(id)
        else isBehind = true
        wake()
      }
      const stop = (): void => {
        listeners.delete(listener)
        wake()
      }
      listeners.add(listener)
      // Beside the `finally` below: an iteration that was never begun never ends either
      if (signal.aborted) stop()
      else signal.addEventListener('abort', stop, { once: true })
      return (async function* () {
        try {
          while (!signal.aborted) {
            for (const id of queue) {
              queue.delete(id)
              yield id
            }
            if (isBehind) throw new MeshError('BUSY', 'requests change faster than this reader reads')
            if (!signal.aborted && queue.size === 0) await new Promise<void>((resolve) => (wake = resolve))
          }
        } finally {
          stop()
        }
      })()
    }
  }
}
