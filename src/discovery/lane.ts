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
