import { MeshError } from '../errors.ts'
import { BREAKER_MAX_MS, BREAKER_MIN_MS, BREAKER_THRESHOLD } from './endpoint-constants.ts'

export interface BreakerInit {
  /** Milliseconds since 1970. */
  readonly clock: () => number
  /** Uniform in [0, 1). */
  readonly random: () => number
}

/**
 * Keeps calls away from an endpoint that fails again and again. Closed: all pass. Open: none does until its time is over. Then
 * one passes as a probe, and what becomes of it decides.
 */
export class Breaker {
  readonly #init: BreakerInit
  /** In a row. */
  #failures = 0
  /** How often it has opened in a row; doubles the time. */
  #openings = 0
  #openUntil: number | undefined
  #isProbing = false

  constructor(init: BreakerInit) {
    this.#init = init
  }

  /**
   * To be followed by {@link succeeded}, {@link failed} or {@link abandoned}.
   *
   * @throws {MeshError} AGENT_UNAVAILABLE while it is open, with `data: { retryAt }`
   */
  enter(): void {
    if (this.#openUntil === undefined) return
    const isOpen = this.#init.clock() < this.#openUntil
    if (!isOpen && !this.#isProbing) {
      this.#isProbing = true
      return
    }
    const retryAt = new Date(Math.max(this.#openUntil, this.#init.clock())).toISOString()
    throw new MeshError('AGENT_UNAVAILABLE', `the endpoint of the agent fails; it is tried again at ${retryAt}`, {
      data: { retryAt }
    })
  }

  succeeded(): void {
    this.#failures = 0
    this.#openings = 0
    this.#openUntil = undefined
    this.#isProbing = false
  }

  failed(): void {
    this.#failures += 1
    const isProbe = this.#isProbing
    this.#isProbing = false
    if (!isProbe && this.#failures < BREAKER_THRESHOLD) return
    // Others that were under way when it opened say nothing new.
    if (!isProbe && this.#openUntil !== undefined) return
    const ceiling = Math.min(BREAKER_MAX_MS, BREAKER_MIN_MS * 2 ** this.#openings)
    this.#openings += 1
    this.#openUntil = this.#init.clock() + this.#init.random() * ceiling
  }

  /** Nothing was learnt: the caller left. */
  abandoned(): void {
    this.#isProbing = false
  }

  /** The endpoint has asked for a pause. */
  rest(ms: number): void {
    this.#openUntil = Math.max(this.#openUntil ?? 0, this.#init.clock() + ms)
    this.#isProbing = false
  }
}
