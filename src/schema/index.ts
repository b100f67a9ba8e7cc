/**
 * JSON Schemas of capabilities: which are allowed, and whether a value fits. The schemas and the values come from strangers,
 * so neither may cost this node more than a bounded time.
 *
 * Dialects: 2020-12, and draft-07 when `$schema` says so. Formats, titles, defaults and keywords that the dialect doesn't
 * know are annotations: they check nothing. Patterns have RE2's syntax, which has no look-around and no back references.
 *
 * @packageDocumentation
 * @example
 * const pool = createValidationPool()
 * const { validate } = await compileSchema({ type: 'object', required: ['path'] }, pool)
 * const failures = await validate({})
 * // [{ path: '', message: "must have required property 'path'" }]
 * await pool.stop()
 */
export { checkSchema } from './check.ts'
export { compileSchema, type Validator } from './compile.ts'
export * from './constants.ts'
export type { Failure, Outcome } from './failures.ts'
export { createValidationPool, type ValidationPool } from './pool.ts'
