/** What the benches hand over to the report. */

import { median, percentile } from './measure.ts'
import type { SystemName } from './system.ts'
import { Skip } from './system.ts'

export const BENCH_NAMES = ['call', 'stream', 'start', 'find', 'status', 'messages', 'agents', 'blob', 'steps'] as const
export type BenchName = (typeof BENCH_NAMES)[number]

/** One line of the results; medians over the repetitions. */
export interface Result {
  readonly bench: BenchName
  readonly system: SystemName
  /** Calls, or streams, under way at the same time. */
  readonly inFlight: number
  /** JSON bytes each way; of one item for a stream; 0 where nothing is sent. */
  readonly bytes: number
  /** Calls, items, starts or finds; bytes for blobs. */
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** What was done, where a bench does several things. */
  readonly what?: string
  readonly p95Ms?: number
  /** CPU of both sides together (a broker's too) per call or item, microseconds. */
  readonly cpuMicros?: number
  /** `p50Ms` and `p99Ms` are those of a whole stream of this many items. */
  readonly itemsPerStream?: number
  /** p99 of the delay of the event loop, of the worse side. */
  readonly lagMs?: number
  /** Resident set size, MB of 10⁶ bytes. */
  readonly rssMb?: number
  /** Memory that is held for one, KB of 10³ bytes, without garbage. */
  readonly heldKb?: number
  /** `perSecond` of each repetition, in order; the same place in two results means the same time. */
  readonly runs?: readonly number[]
  /** `p50Ms` of each repetition. */
  readonly runsP50Ms?: readonly number[]
}

export interface Skipped {
  readonly bench: BenchName
  readonly system: SystemName
  readonly reason: string
  /** It should have been measured, and failed. */
  readonly broke?: true
}

/** What a bench may use. */
export interface BenchContext {
  readonly seconds: number
  readonly reps: number
  /** Temporary, removed after the run. */
  readonly folder: string
  /** Says on stderr how far it is. */
  progress(text: string): void
}

/** What this project took for something that was done one at a time. @param times milliseconds of each */
export function timesOf(bench: BenchName, what: string, times: readonly number[]): Result {
  return {
    bench,
    system: 'pryx-mesh',
    inFlight: 1,
    bytes: 0,
    perSecond: 1000 / median(times),
    p50Ms: median(times),
    p95Ms: percentile(times, 0.95),
    p99Ms: percentile(times, 0.99),
    what
  }
}

/** Why something wasn't measured: {@link Skip} where it can't be, a failure otherwise. */
export function skippedBy(bench: BenchName, system: SystemName, err: unknown): Skipped {
  if (err instanceof Skip) return { bench, system, reason: err.message }
  console.error(err)
  return { bench, system, reason: `it broke: ${err instanceof Error ? err.message : String(err)}`, broke: true }
}

export interface BenchOutcome {
  readonly results: readonly Result[]
  readonly skipped: readonly Skipped[]
}
