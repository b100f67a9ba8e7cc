/** What changed, each key once however often it did: bounded by the number of keys, whatever pace it is read at. */
export interface Changes<V> {
  note(key: string, value: V): void
  /** Takes what there is and what comes, until the signal. */
  until(signal: AbortSignal): AsyncIterable<[string, V]>
}

export function createChanges<V>(): Changes<V> {
  const changed = new Map<string, V>()
  let wake = () => {}

  async function* until(signal: AbortSignal): AsyncGenerator<[string, V]> {
    const onAbort = () => wake()
    signal.addEventListener('abort', onAbort)
    try {
      while (!signal.aborted) {
        const [first] = changed
        if (first === undefined) {
          await new Promise<void>((resolve) => {
            wake = resolve
          })
          continue
        }
        changed.delete(first[0])
        yield first
      }
    } finally {
      signal.removeEventListener('abort', onAbort)
    }
  }

  return {
    note(key, value) {
      changed.set(key, value)
      wake()
    },
    until
  }
}
