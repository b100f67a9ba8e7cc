import type { DiscoveryStatus } from './index.ts'

/** What finding and publishing took since the start. */
export interface FindCounts {
  add(what: keyof Counted, times?: number): void
  all(): Counted
}

type Counted = Omit<DiscoveryStatus, 'catalogue' | 'nodes'>

export function createFindCounts(): FindCounts {
  const counts = { finds: 0, walkedFinds: 0, messages: 0, candidates: 0, falseCandidates: 0, published: 0, missed: 0 }
  return {
    add(what, times = 1) {
      counts[what] += times
    },
    all: () => ({ ...counts })
  }
}
