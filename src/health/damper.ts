import { FAILURES_FOR_DOWN, FLAP_HALF_LIFE_MS, MAX_FLAP_PENALTY, PROBES_JUDGED } from './constants.ts'

/**
 * Whether something is there, by what probes say: two failures of three make it down, three good ones in a row up again;
 * after repeated falls that takes longer. Times are milliseconds of a clock that doesn't go back.
 */
export class Damper {
  /** The last probes, the latest in the lowest bit; 1 is a failure. */
  #failures = 0
  #goodInARow = 0
  #isUp: boolean | undefined
  #penalty = 0
  #penaltyAt = 0

  /** Undefined as long as nothing is known. */
  get isUp(): boolean | undefined {
    return this.#isUp
  }

  /** Takes one probe into account. */
  note(isGood: boolean, now: number): void {
    this.#failures = ((this.#failures << 1) | (isGood ? 0 : 1)) & (2 ** PROBES_JUDGED - 1)
    this.#goodInARow = isGood ? this.#goodInARow + 1 : 0
    if (isGood) this.#isUp = this.#isUp === false ? this.#mayRise(now) : true
    else if (bits(this.#failures) >= FAILURES_FOR_DOWN) this.fall(now)
  }

  /** It is down beyond doubt. */
  fall(now: number): void {
    this.#goodInARow = 0
    if (this.#isUp === false) return
    this.#isUp = false
    this.#penalty = Math.min(this.#decayed(now) + 1, MAX_FLAP_PENALTY)
    this.#penaltyAt = now
  }

  /** It is there beyond doubt, which counts as three good probes. */
  vouch(now: number): void {
    this.#failures = 0
    this.#goodInARow = PROBES_JUDGED
    this.#isUp = this.#isUp === false ? this.#mayRise(now) : true
  }

  /** It is another thing now: falls of before don't count. */
  forgive(): void {
    this.#penalty = 0
  }

  /** How long falls of before keep it from coming up. */
  heldMs(now: number): number {
    const penalty = this.#decayed(now)
    return penalty <= 1 ? 0 : Math.ceil(Math.log2(penalty) * FLAP_HALF_LIFE_MS)
  }

  #mayRise(now: number): boolean {
    if (this.#goodInARow < PROBES_JUDGED || this.heldMs(now) > 0) return false
    this.#failures = 0
    return true
  }

  #decayed(now: number): number {
    return this.#penalty * 2 ** (-(now - this.#penaltyAt) / FLAP_HALF_LIFE_MS)
  }
}

function bits(value: number): number {
  let count = 0
  for (let rest = value; rest > 0; rest >>= 1) count += rest & 1
  return count
}
