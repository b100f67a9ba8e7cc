import { WINDOW_SLICE_MS, WINDOW_SLICES } from './constants.ts'

/** What the calls of the last five minutes were like. */
export interface CallSummary {
  readonly calls: number
  /** 0 to 1. */
  readonly errorRate: number
  /** Milliseconds, 19 % at most above the true ones; unset without a measured call. */
  readonly p50?: number
  readonly p95?: number
}

/** Upper edges 1 ms × 2^(n/4): the last one, 65 s, holds all that is longer. */
const EDGES = 65
const PER_DOUBLING = 4
const OK = EDGES
const FAILED = EDGES + 1
const STRIDE = EDGES + 2

/**
 * Counts calls in slices of time, the oldest of which falls out at the end of the newest. Noting one costs no allocation
 * and the same always; what is asked now and then, the summary, adds the slices up.
 */
export class CallWindow {
  readonly #counts = new Uint32Array(WINDOW_SLICES * STRIDE)
  /** Number of the newest slice, counted from the clock's beginning. */
  #slice = Number.NEGATIVE_INFINITY

  /**
   * @param now milliseconds of a clock that doesn't go back
   * @param ms how long the call took; below 0 when that says nothing
   */
  note(now: number, ms: number, isOk: boolean): void {
    const start = this.#startOf(now)
    this.#count(start + (isOk ? OK : FAILED))
    if (ms >= 0) this.#count(start + edgeOf(ms))
  }

  /** Notes how long something took that was no call. */
  time(now: number, ms: number): void {
    this.#count(this.#startOf(now) + edgeOf(ms))
  }

  summary(now: number): CallSummary {
    this.#turn(Math.floor(now / WINDOW_SLICE_MS))
    const sums = new Uint32Array(STRIDE)
    for (const [index, count] of this.#counts.entries()) {
      const column = index % STRIDE
      sums[column] = (sums[column] ?? 0) + count
    }
    const [ok = 0, failed = 0] = sums.subarray(OK)
    const edges = sums.subarray(0, EDGES)
    const measured = edges.reduce((sum, count) => sum + count, 0)
    const calls = ok + failed
    return {
      calls,
      errorRate: calls === 0 ? 0 : failed / calls,
      ...(measured === 0 ? {} : { p50: percentile(edges, measured * 0.5), p95: percentile(edges, measured * 0.95) })
    }
  }

  #startOf(now: number): number {
    const slice = Math.floor(now / WINDOW_SLICE_MS)
    if (slice !== this.#slice) this.#turn(slice)
    return (slice % WINDOW_SLICES) * STRIDE
  }

  #count(at: number): void {
    this.#counts[at] = (this.#counts[at] ?? 0) + 1
  }

  #turn(slice: number): void {
    const stale = Math.min(slice - this.#slice, WINDOW_SLICES)
    for (let n = 0; n < stale; n += 1) {
      const start = ((((slice - n) % WINDOW_SLICES) + WINDOW_SLICES) % WINDOW_SLICES) * STRIDE
      this.#counts.fill(0, start, start + STRIDE)
    }
    if (stale > 0) this.#slice = slice
  }
}

function edgeOf(ms: number): number {
  if (ms <= 1) return 0
  const edge = Math.ceil(Math.log2(ms) * PER_DOUBLING)
  return edge < EDGES ? edge : EDGES - 1
}

function percentile(edges: Uint32Array, rank: number): number {
  let seen = 0
  const edge = edges.findIndex((count) => {
    seen += count
    return seen >= rank
  })
  return Math.round(2 ** (edge / PER_DOUBLING) * 10) / 10
}
