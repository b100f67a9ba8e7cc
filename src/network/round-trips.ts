import {
  FAST_ROUND_TRIP_MS,
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
  readonly #last: number[] = []

  add(ms: number): void {
    this.#last.push(ms)
    if (this.#last.length > ROUND_TRIP_WINDOW) this.#last.shift()
  }

  /** Undefined before there are enough to judge by. */
  get medianMs(): number | undefined {
    return this.#last.length < MIN_ROUND_TRIPS ? undefined : median(this.#last)
  }

  /** For a dial and a request. Among near peers one that hangs is given up three times sooner. */
  get timeoutMs(): number {
    const usual = this.medianMs
    if (usual === undefined) return KAD_REQUEST_MIN_MS
    const floor = usual < FAST_ROUND_TRIP_MS ? KAD_REQUEST_FAST_MS : KAD_REQUEST_MIN_MS
    return Math.min(KAD_REQUEST_MAX_MS, Math.max(floor, usual * REQUEST_TIMEOUT_FACTOR))
  }
}
