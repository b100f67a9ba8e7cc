import { MAX_THRESHOLD_STEPS } from './holder-constants.ts'

interface Step {
  readonly rank: number
  until: number
}

/** The smallest rank of those who had to go and would still be there. */
export class Threshold {
  /** Ranks grow, and so does how long they hold: what is higher and holds less long says nothing. */
  readonly #steps: Step[] = []

  note(rank: number, until: number): void {
    if (this.#steps.some((step) => step.rank <= rank && step.until >= until)) return
    const rest = this.#steps.filter((step) => step.rank < rank || step.until > until)
    const at = rest.findIndex((step) => step.rank > rank)
    rest.splice(at === -1 ? rest.length : at, 0, { rank, until })
    this.#steps.splice(0, this.#steps.length, ...rest)
    if (this.#steps.length <= MAX_THRESHOLD_STEPS) return
    // A threshold may be lower than it need be, never higher
    const last = this.#steps.pop()
    const before = this.#steps.at(-1)
    if (last !== undefined && before !== undefined) before.until = last.until
  }

  /** @returns undefined when nobody had to go */
  at(now: number): number | undefined {
    while (this.#steps[0] !== undefined && this.#steps[0].until <= now) this.#steps.shift()
    return this.#steps[0]?.rank
  }
}
