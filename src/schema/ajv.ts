/*
 * The only file that knows Ajv; loaded with the first schema, because it takes 0.1 s.
 */
import { _, Ajv, type Code, type KeywordDefinition, type Options, str, type ValidateFunction } from 'ajv'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { MeshError } from '../errors.ts'
import { Budget, OverBudget } from './budget.ts'
import { MAX_PATTERN_STATES } from './constants.ts'
import { keyOf } from './equality.ts'
import { failuresOf, NOT_JSON, type Outcome, TOO_DEEP } from './failures.ts'
import type { Dialect, JsonSchema } from './keywords.ts'
import { compilePattern } from './pattern.ts'
import { invalidSchema, type ReducedSchema } from './reduce.ts'

const AJV: Readonly<Record<Dialect, typeof Ajv | typeof Ajv2020>> = { '2020-12': Ajv2020, 'draft-07': Ajv }

const META_SCHEMAS: Readonly<Record<Dialect, string>> = {
  '2020-12': 'https://json-schema.org/draft/2020-12/schema',
  'draft-07': 'http://json-schema.org/draft-07/schema'
}

const metaValidators = new Map<Dialect, (schema: JsonSchema) => Outcome>()

/** What a dialect's meta-schema says against a schema. The schema must not be deep. */
export function metaFailures(dialect: Dialect, schema: JsonSchema): Outcome {
  let validate = metaValidators.get(dialect)
  if (validate === undefined) {
    const ajv = new AJV[dialect]({ strict: false, validateFormats: false, logger: false })
    const accepts = ajv.getSchema(META_SCHEMAS[dialect])
    validate = (candidate) => (accepts?.(candidate) === true ? undefined : failuresOf(accepts?.errors))
    metaValidators.set(dialect, validate)
  }
  return validate(schema)
}

/** A compiled schema. */
export interface CompiledSchema {
  /** @throws {OverBudget} when it would hold up this thread; nothing else */
  validate(value: unknown): Outcome
  /** True when a pattern is too large for this thread. */
  readonly hasLargePattern: boolean
}

/**
 * Compiles a schema in an Ajv of its own: what one agent's schemas define is nothing to the others.
 *
 * @param maxSteps what matching and comparing may cost per check
 * @throws {MeshError} INVALID_SCHEMA for a pattern that RE2 doesn't know
 */
export function compileReduced({ dialect, root }: ReducedSchema, maxSteps: number): CompiledSchema {
  const budget = new Budget(maxSteps)
  let largest = 0
  const regExp = (source: string) => {
    const pattern = compilePattern(source, budget)
    largest = Math.max(largest, pattern.states)
    return pattern
  }
  const code = { regExp: Object.assign(regExp, { code: 'new RegExp' }) }
  const ajv = new AJV[dialect]({ ...OPTIONS, ownProperties: namesInherited(root), code })
  for (const keyword of ['uniqueItems', 'maxLength', 'minLength']) ajv.removeKeyword(keyword)
  for (const keyword of [...ownKeywords(budget), ...LENGTHS]) ajv.addKeyword(keyword)
  const accepts = compile(ajv, root)
  return {
    hasLargePattern: largest > MAX_PATTERN_STATES,
    validate(value) {
      budget.reset()
      try {
        return accepts(value) ? undefined : failuresOf(accepts.errors)
      } catch (err) {
        if (err instanceof OverBudget) throw err
        // A value of this process may be anything: deeper than the stack, or with a getter that throws.
        return err instanceof RangeError ? TOO_DEEP : NOT_JSON
      }
    }
  }
}

function compile(ajv: Ajv | Ajv2020, root: JsonSchema): ValidateFunction {
  try {
    return ajv.compile(typeof root === 'boolean' ? root : { ...root })
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw invalidSchema('#', 'cannot be compiled', err)
  }
}

const OPTIONS: Options = {
  strict: false,
  // JSON Schema validation 2020-12 §7.2.1: format is an annotation.
  validateFormats: false,
  // Collecting all errors of a value that was made to have many is what Ajv itself warns of.
  allErrors: false,
  // Checked before against the meta-schema.
  validateSchema: false,
  meta: false,
  // A definition used a hundred times is one function, not a hundred copies of its code.
  inlineRefs: false,
  logger: false
}

/** Ajv's own compares each item with each other one, and a long `enum` value by value. */
function ownKeywords(budget: Budget): readonly KeywordDefinition[] {
  const free = new Budget(Number.POSITIVE_INFINITY)
  return [
    {
      keyword: 'uniqueItems',
      type: 'array',
      schemaType: 'boolean',
      validate: (isWanted: boolean, items: readonly unknown[]) =>
        !isWanted || new Set(items.map((item) => keyOf(item, budget))).size === items.length,
      error: { message: 'must NOT have duplicate items' }
    },
    {
      keyword: 'largeEnum',
      schemaType: 'array',
      compile: (values: readonly unknown[]) => {
        const keys = new Set(values.map((value) => keyOf(value, free)))
        return (value: unknown) => keys.has(keyOf(value, budget))
      },
      error: { message: 'must be equal to one of the allowed values' }
    }
  ]
}

/** Ajv's own count the characters of every text, one by one; as a rule its UTF-16 units say enough: one or two for each character. */
const LENGTHS: readonly KeywordDefinition[] = [
  lengthKeyword('maxLength', 'more', (text, count, max) => _`${text}.length > ${max} && ${count}(${text}) > ${max}`),
  lengthKeyword(
    'minLength',
    'fewer',
    (text, count, min) => _`${text}.length < ${min} || (${text}.length < 2 * ${min} && ${count}(${text}) < ${min})`
  )
]

function lengthKeyword(
  keyword: string,
  what: string,
  fails: (text: Code, count: Code, limit: Code | number | boolean) => Code
): KeywordDefinition {
  return {
    keyword,
    type: 'string',
    schemaType: 'number',
    code: (cxt) => cxt.fail(fails(cxt.data, cxt.gen.scopeValue('func', { ref: countCharacters }), cxt.schemaCode)),
    error: { message: ({ schemaCode }) => str`must NOT have ${what} than ${schemaCode} characters` }
  }
}

function countCharacters(text: string): number {
  let count = 0
  for (const _character of text) count += 1
  return count
}

/** `{}` has a `toString` unless one asks whether it is its own, which takes Ajv three times as long. */
function namesInherited(root: JsonSchema): boolean {
  const text = JSON.stringify(root)
  return Object.getOwnPropertyNames(Object.prototype).some((name) => text.includes(`"${name}"`))
}
