import {
  FAST_ROUND_TRIP_MS,
  FAST_SHARE,
  KAD_REQUEST_FAST_MS,
  KAD_REQUEST_MAX_MS,
  KAD_REQUEST_MIN_MS,
  MIN_ROUND_TRIPS,
  REQUEST_TIMEOUT_FACTOR,
  ROUND_TRIP_WINDOW
} from './constants.ts'
import { median } from './size.ts'

/** How long answers took of late, and so how long the next may take. */
export class RoundTrips {
  /** Infinity for those that didn't come. */
  readonly #last: number[] = []

  add(ms: number): void {
    this.#last.push(ms)
    if (this.#last.length > ROUND_TRIP_WINDOW) this.#last.shift()
  }

  /** No answer came in time. */
  miss(): void {
    this.add(Number.POSITIVE_INFINITY)
  }

  /** Undefined before there are enough to judge by. */
  get medianMs(): number | undefined {
    const answered = this.#last.filter(Number.isFinite)
    return answered.length < MIN_ROUND_TRIPS ? undefined : median(answered)
  }

  /** For a dial and a request. Where nearly all are near, one that hangs is given up three times sooner. */
  get timeoutMs(): number {
    const usual = this.medianMs
    if (usual === undefined) return KAD_REQUEST_MIN_MS
    // Half of them being near says nothing of the others; and those given up too soon are not among the answers
    const near = this.#last.filter((ms) => ms < FAST_ROUND_TRIP_MS).length
    const floor = near >= FAST_SHARE * this.#last.length ? KAD_REQUEST_FAST_MS : KAD_REQUEST_MIN_MS
    return Math.min(KAD_REQUEST_MAX_MS, Math.max(floor, usual * REQUEST_TIMEOUT_FACTOR))
  }
}
