import { OverBudget } from './budget.ts'
import { readSchema } from './check.ts'
import { MAX_COUNTED_STEPS, MAX_STEPS, MAX_STEPS_PER_BYTE } from './constants.ts'
import type { Outcome } from './failures.ts'
import type { ValidationPool } from './pool.ts'

export interface Validator {
  /**
   * Checks a value of at most 1 MiB of JSON. It answers at once unless the check could hold this thread up: a recursive or
   * costly schema, or patterns on much text, are checked in a worker and answered by a promise; past 100 ms there the value
   * fails as too costly.
   *
   * @returns undefined when it fits, else what doesn't, or a promise of the same
   * @throws {MeshError} BUSY by the promise, when too many wait for a worker
   */
  readonly validate: (value: unknown) => Outcome | Promise<Outcome>
}

/**
 * Compiles a schema, once for any number of values. The first call of a process loads the compiler, which takes 0.1 s.
 *
 * @param schema see {@link checkSchema} for what is allowed
 * @param pool where the costly checks go
 * @throws {MeshError} INVALID_SCHEMA saying where and what
 */
export async function compileSchema(schema: unknown, pool: ValidationPool): Promise<Validator> {
  const { reduced, cost } = await readSchema(schema)
  const { compileReduced } = await import('./ajv.ts')
  const compiled = compileReduced(reduced, MAX_COUNTED_STEPS)
  const inWorker = (value: unknown) => pool.validate(source, value)
  const source = JSON.stringify({ dialect: reduced.dialect, root: reduced.root })
  if (compiled.hasLargePattern || cost.fixed > MAX_STEPS || cost.perByte > MAX_STEPS_PER_BYTE)
    return { validate: inWorker }
  return {
    validate(value) {
      try {
        return compiled.validate(value)
      } catch (err) {
        if (err instanceof OverBudget) return inWorker(value)
        throw err
      }
    }
  }
}
