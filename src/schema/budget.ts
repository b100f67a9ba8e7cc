/** Thrown out of a check that has used up what this thread grants. */
export class OverBudget extends Error {}

/** Counts the steps of a check whose number depends on the value more than on the schema: matching and comparing. */
export class Budget {
  readonly #maxSteps: number
  #steps = 0

  /** @param maxSteps infinite where a check may take as long as it likes, because it can be killed */
  constructor(maxSteps: number) {
    this.#maxSteps = maxSteps
  }

  /** To be called before each check. */
  reset(): void {
    this.#steps = 0
  }

  /** @throws {OverBudget} */
  spend(steps: number): void {
    this.#steps += steps
    if (this.#steps > this.#maxSteps) throw new OverBudget()
  }
}
