import ms from 'ms'
import { type CallSummary, CallWindow } from './call-window.ts'
import {
  BASELINE_STEP,
  DEGRADED_ERROR_RATE,
  DEGRADED_SLOWNESS,
  MIN_BASELINE_MS,
  MIN_CALLS,
  SLOW_BASELINE_STEP,
  WELL_ERROR_RATE,
  WELL_SLOWNESS,
  WINDOW_SLICE_MS
} from './constants.ts'

/** How well calls go: their window, and what is usual. */
export class Quality {
  readonly #window = new CallWindow()
  #baselineMs: number | undefined
  #learntAt = Number.NEGATIVE_INFINITY
  #slowAboveMs = Number.POSITIVE_INFINITY
  #trouble: string | undefined

  /**
   * @param ms below 0 when the time says nothing
   * @returns whether it is a reason to look closer
   */
  note(now: number, tookMs: number, isOk: boolean): boolean {
    this.#window.note(now, tookMs, isOk)
    return !isOk || tookMs > this.#slowAboveMs
  }

  /** Notes how long something took that was no call. */
  time(now: number, ms: number): void {
    this.#window.time(now, ms)
  }

  summary(now: number): CallSummary {
    return this.#window.summary(now)
  }

  /** What is wrong with the calls of late, one clause; undefined when nothing is. */
  judge(now: number): string | undefined {
    const summary = this.#window.summary(now)
    const wasWell = this.#trouble === undefined
    this.#trouble =
      summary.calls < MIN_CALLS ? undefined : (tooManyErrors(summary, wasWell) ?? this.#tooSlow(summary, wasWell))
    this.#learn(summary, now)
    return this.#trouble
  }

  #tooSlow({ p95 = 0 }: CallSummary, wasWell: boolean): string | undefined {
    if (this.#baselineMs === undefined) return undefined
    const usual = Math.max(this.#baselineMs, MIN_BASELINE_MS)
    if (p95 <= usual * (wasWell ? DEGRADED_SLOWNESS : WELL_SLOWNESS)) return undefined
    return `a call in twenty takes longer than ${ms(Math.round(p95))}, where ${ms(Math.round(usual))} is usual`
  }

  #learn({ calls, p95 }: CallSummary, now: number): void {
    if (p95 === undefined || calls < MIN_CALLS || now - this.#learntAt < WINDOW_SLICE_MS) return
    this.#learntAt = now
    const step = this.#trouble === undefined ? BASELINE_STEP : SLOW_BASELINE_STEP
    this.#baselineMs = this.#baselineMs === undefined ? p95 : this.#baselineMs + (p95 - this.#baselineMs) * step
    this.#slowAboveMs = Math.max(this.#baselineMs, MIN_BASELINE_MS) * DEGRADED_SLOWNESS
  }
}

function tooManyErrors({ calls, errorRate }: CallSummary, wasWell: boolean): string | undefined {
  if (errorRate <= (wasWell ? DEGRADED_ERROR_RATE : WELL_ERROR_RATE)) return undefined
  return `${Math.round(errorRate * 100)} % of the last ${calls} calls failed`
}
