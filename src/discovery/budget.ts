import { LRUCache } from 'lru-cache'
import { MAX_BUCKETS } from './constants.ts'

/** Token buckets by key: `burst` at once, then one per interval. */
export interface Budget {
  /** Takes a token; false when there is none. */
  take(key: string): boolean
  /** Milliseconds until there is a token; 0 when there is one. */
  waitMs(key: string): number
}

export interface BudgetInit {
  readonly burst: number
  readonly intervalMs: number
  readonly now: () => number
}

export function createBudget(init: BudgetInit): Budget {
  const buckets = new LRUCache<string, { tokens: number; at: number }>({ max: MAX_BUCKETS })

  function refilled(key: string) {
    const now = init.now()
    const bucket = buckets.get(key)
    if (bucket === undefined) return { tokens: init.burst, at: now }
    const tokens = Math.min(init.burst, bucket.tokens + Math.max(0, now - bucket.at) / init.intervalMs)
    return { tokens, at: now }
  }

  return {
    take(key) {
      const bucket = refilled(key)
      const allowed = bucket.tokens >= 1
      buckets.set(key, allowed ? { ...bucket, tokens: bucket.tokens - 1 } : bucket)
      return allowed
    },
    waitMs(key) {
      return Math.ceil(Math.max(0, 1 - refilled(key).tokens) * init.intervalMs)
    }
  }
}
