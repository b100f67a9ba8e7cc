/** Runs work, so much at a time, the rest in the order it came. */
export interface Lane {
  /** Never rejects on its own account; `work` is not started once `signal` has fired. */
  run(work: () => Promise<void>, signal: AbortSignal): Promise<void>
}

export function createLane(width: number): Lane {
  const waiting: (() => void)[] = []
  let running = 0

  return {
    async run(work, signal) {
      if (running >= width) await new Promise<void>((resolve) => waiting.push(resolve))
      else running++
      try {
        if (!signal.aborted) await work()
      } finally {
        // The place goes to the next in line without being free in between.
        const next = waiting.shift()
        if (next === undefined) running--
        else next()
      }
    }
  }
}

/** A lane whose next work is chosen in turn among those who gave it. */
export interface FairLane {
  /**
   * Never rejects on its own account; `work` is not started once `signal` has fired.
   *
   * @param giver so that much work of one giver waits behind itself only
   */
  run(giver: string, work: () => Promise<void>, signal: AbortSignal): Promise<void>
}

export function createFairLane(width: number): FairLane {
  /** Givers in the order of their turns, each with what it has waiting. */
  const waiting = new Map<string, (() => void)[]>()
  let running = 0

  /** The giver goes to the end of the line. */
  function next(): (() => void) | undefined {
    const [turn] = waiting
    if (turn === undefined) return undefined
    const [giver, queue] = turn
    waiting.delete(giver)
    const start = queue.shift()
    if (queue.length > 0) waiting.set(giver, queue)
    return start
  }

  function wait(giver: string): Promise<void> {
    return new Promise((resolve) => {
      const queue = waiting.get(giver)
      if (queue === undefined) waiting.set(giver, [resolve])
      else queue.push(resolve)
    })
  }

  return {
    async run(giver, work, signal) {
      if (running >= width) await wait(giver)
      else running++
      try {
        if (!signal.aborted) await work()
      } finally {
        // The place goes to the next in line without being free in between.
        const start = next()
        if (start === undefined) running--
        else start()
      }
    }
  }
}
