import { MeshError } from '../errors.ts'
import { DEADLINE_RESOLUTION_MS, MAX_TIMEOUT_MS } from './constants.ts'

export interface DeadlinesComponents<T extends { readonly deadline: number }> {
  /** Monotonic milliseconds. */
  readonly now: () => number
  /** What has a deadline at present; `onDue` may take it out. */
  readonly entries: () => Iterable<T>
  readonly onDue: (entry: T) => void
}

export interface Deadlines {
  /** To be called with each new deadline, once its entry is among `entries`. */
  add(deadline: number): void
  stop(): void
}

/** Watches any number of deadlines with one timer, set to the earliest: a call costs a comparison, not a timer. */
export function createDeadlines<T extends { readonly deadline: number }>(
  components: DeadlinesComponents<T>
): Deadlines {
  const { now, entries, onDue } = components
  let timer: NodeJS.Timeout | undefined
  /** When the timer fires. */
  let due = Number.POSITIVE_INFINITY

  const arm = (deadline: number): void => {
    clearTimeout(timer)
    due = deadline
    timer = setTimeout(sweep, Math.max(deadline - now(), 1)).unref()
  }
  const sweep = (): void => {
    due = Number.POSITIVE_INFINITY
    const time = now()
    let next = Number.POSITIVE_INFINITY
    for (const entry of entries()) {
      if (entry.deadline <= time) onDue(entry)
      else if (entry.deadline < next) next = entry.deadline
    }
    if (next < due) arm(Math.max(next, time + DEADLINE_RESOLUTION_MS))
  }
  return {
    add(deadline) {
      if (deadline <= due - DEADLINE_RESOLUTION_MS) arm(deadline)
    },
    stop() {
      clearTimeout(timer)
      due = Number.NEGATIVE_INFINITY
    }
  }
}

/** Whole milliseconds, rounded up. @throws {MeshError} INVALID_ARGUMENT when it isn't 1 to MAX_TIMEOUT_MS */
export function checkTimeout(timeoutMs: number): number {
  const rounded = Math.ceil(timeoutMs)
  if (rounded >= 1 && rounded <= MAX_TIMEOUT_MS) return rounded
  throw new MeshError('INVALID_ARGUMENT', `timeoutMs must be 1 to ${MAX_TIMEOUT_MS}`)
}
