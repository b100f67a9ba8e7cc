export interface KeptInit<T> {
  readonly load: () => Promise<T>
  /** Milliseconds since 1970. */
  readonly clock: () => number
  /** How long it is good. */
  readonly ttlMs: number
  /** How long nothing is loaded after a failure. */
  readonly retryMs: number
  /** How young it must not be to be renewed. */
  readonly cooldownMs: number
}

/** Something that is loaded when it is needed and kept for a while; by one request, however many wait for it. */
export interface Kept<T> {
  /** @throws what `load` threw, for `retryMs` again */
  get(): Promise<T>
  /** Without loading: what is kept, as long as it is good. */
  peek(): T | undefined
  /** Loads it anew, unless that was done less than `cooldownMs` ago. @throws as {@link Kept.get} */
  renew(): Promise<T>
}

export function createKept<T>({ load, clock, ttlMs, retryMs, cooldownMs }: KeptInit<T>): Kept<T> {
  let kept: { readonly value: T; readonly at: number } | undefined
  let failed: { readonly error: unknown; readonly at: number } | undefined
  let loading: Promise<T> | undefined

  // A clock that was set back must not keep anything for longer
  const isWithin = (at: number, forMs: number): boolean => Math.abs(clock() - at) < forMs
  const peek = (): T | undefined => (kept !== undefined && isWithin(kept.at, ttlMs) ? kept.value : undefined)

  const loadNow = async (): Promise<T> => {
    try {
      const value = await load()
      kept = { value, at: clock() }
      failed = undefined
      return value
    } catch (error) {
      failed = { error, at: clock() }
      throw error
    } finally {
      loading = undefined
    }
  }
  const loadOnce = (): Promise<T> => {
    if (failed !== undefined && isWithin(failed.at, retryMs)) return Promise.reject(failed.error)
    loading ??= loadNow()
    return loading
  }
  return {
    peek,
    get() {
      const value = peek()
      return value === undefined ? loadOnce() : Promise.resolve(value)
    },
    renew() {
      return kept !== undefined && isWithin(kept.at, cooldownMs) ? Promise.resolve(kept.value) : loadOnce()
    }
  }
}
