import { HASTE_MS, MAX_PROBE_INTERVAL_MS } from './constants.ts'
import type { HealthReport, HealthState } from './index.ts'
import { Quality } from './quality.ts'

/** What calls say of an agent of a peer; only its own node can ask more. */
export class RemoteAgent {
  readonly id: string
  readonly quality = new Quality()
  readonly #clock: () => number
  #state: HealthState = 'unknown'
  #reason: string | undefined
  #since: number
  #judgedAt = Number.NEGATIVE_INFINITY
  /** When its node last said that it isn't there. */
  #missedAt = Number.NEGATIVE_INFINITY

  constructor(id: string, clock: () => number) {
    this.id = id
    this.#clock = clock
    this.#since = clock()
  }

  missed(now: number): void {
    this.#missedAt = now
    this.#judgedAt = Number.NEGATIVE_INFINITY
  }

  answered(): void {
    this.#missedAt = Number.NEGATIVE_INFINITY
  }

  /** @param peer the state of its node */
  state(peer: HealthState, now: number): HealthState {
    // Searches ask for hundreds at a time
    if (peer !== 'down' && this.#state !== 'down' && now - this.#judgedAt < HASTE_MS) return this.#state
    this.#judgedAt = now
    const state = this.#judge(peer, now)
    if (state !== this.#state) this.#since = this.#clock()
    this.#state = state
    return state
  }

  report(peer: HealthState, now: number): HealthReport {
    this.#judgedAt = Number.NEGATIVE_INFINITY
    const state = this.state(peer, now)
    return {
      kind: 'agent',
      id: this.id,
      state,
      since: new Date(this.#since).toISOString(),
      ...(this.#reason === undefined ? {} : { reason: this.#reason }),
      ...this.quality.summary(now)
    }
  }

  #judge(peer: HealthState, now: number): HealthState {
    this.#reason = undefined
    if (peer === 'down') this.#reason = 'its node does not answer'
    else if (now - this.#missedAt < MAX_PROBE_INTERVAL_MS) this.#reason = 'its node says that it is not there'
    if (this.#reason !== undefined) return 'down'
    this.#reason = this.quality.judge(now)
    if (this.#reason !== undefined) return 'degraded'
    return this.quality.summary(now).calls > 0 ? 'up' : peer
  }
}
