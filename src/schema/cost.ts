import { isObject, type JsonSchema } from './keywords.ts'
import { invalidSchema, type ReducedSchema } from './reduce.ts'

/**
 * Upper bounds, in steps of about 2 ns, of checking a value, without what {@link Budget} counts: `fixed` for any value, `perByte` for
 * each byte of its JSON. Infinite when the schema is recursive.
 *
 * References multiply: thirty definitions that refer to the next one twice make 2^30 checks of one value, so the cost is
 * that of the schema with all of them expanded.
 */
export interface Cost {
  readonly fixed: number
  readonly perByte: number
}

/** A value takes a byte and a comma; a member its quotes and a colon as well. */
const VALUE_BYTES = 2
const MEMBER_BYTES = 6

/** A branch of `anyOf`, `oneOf` or `contains` that doesn't fit makes an error object. */
const ALTERNATIVE_STEPS = 25
const BRANCH_STEPS = 2
const CALL_STEPS = 8
/** Of `enum` and `const`: one deep comparison. */
const COMPARE_STEPS = 5
const LOOKUP_STEPS_PER_BYTE = 5
const UNEVALUATED_STEPS_PER_BYTE = 10

/** @throws {MeshError} INVALID_SCHEMA for a schema that refers to itself for the same value, which no check would end */
export function costOf({ root, targets }: ReducedSchema): Cost {
  const fixedCosts = new Map<JsonSchema, number>()
  const byteCosts = new Map<JsonSchema, number>()
  const children = (schema: Record<string, unknown>) => childrenOf(schema, targets)

  function fixed(schema: JsonSchema): number {
    if (!isObject(schema)) return 1
    const known = fixedCosts.get(schema)
    if (Number.isNaN(known)) throw invalidSchema('#', 'refers to itself for the same value')
    if (known !== undefined) return known
    fixedCosts.set(schema, Number.NaN) // under way
    const { alternatives, inPlace } = children(schema)
    const cost =
      ownSteps(schema) +
      alternatives.reduce((sum, branch) => sum + ALTERNATIVE_STEPS + fixed(branch), 0) +
      inPlace.reduce((sum, branch) => sum + BRANCH_STEPS + fixed(branch), 0)
    fixedCosts.set(schema, cost)
    return cost
  }

  function perByte(schema: JsonSchema): number {
    if (!isObject(schema)) return 1
    const known = byteCosts.get(schema)
    if (known !== undefined) return known
    byteCosts.set(schema, Number.POSITIVE_INFINITY) // stays so for whoever comes back here: it is recursive
    const { alternatives, inPlace, members, each } = children(schema)
    const cost =
      [...alternatives, ...inPlace].reduce(
        (sum, branch) => sum + perByte(branch),
        ownStepsPerByte(schema, fixed(schema))
      ) +
      members.reduce((most, member) => Math.max(most, fixed(member) / MEMBER_BYTES, perByte(member)), 0) +
      each.reduce((sum, item) => sum + Math.max((BRANCH_STEPS + fixed(item)) / VALUE_BYTES, perByte(item)), 0)
    byteCosts.set(schema, cost)
    return cost
  }

  return { fixed: fixed(root), perByte: perByte(root) }
}

interface Children {
  /** Checked against the same value, and free to fail. */
  readonly alternatives: readonly JsonSchema[]
  /** Checked against the same value. */
  readonly inPlace: readonly JsonSchema[]
  /** Each against one part of the value, no two against the same. */
  readonly members: readonly JsonSchema[]
  /** Each against any number of parts, several against the same. */
  readonly each: readonly JsonSchema[]
}

function childrenOf(schema: Readonly<Record<string, unknown>>, targets: ReadonlyMap<string, JsonSchema>): Children {
  const all = (...keywords: string[]) => keywords.flatMap((keyword) => subschemas(schema[keyword]))
  const one = (...keywords: string[]) => keywords.flatMap((keyword) => only(schema[keyword]))
  const { $ref, items } = schema
  const target = typeof $ref === 'string' ? targets.get($ref) : undefined
  return {
    alternatives: all('anyOf', 'oneOf'),
    inPlace: [
      ...all('allOf', 'dependentSchemas', 'dependencies'),
      ...one('not', 'if', 'then', 'else'),
      ...(target === undefined ? [] : [target])
    ],
    members: [...all('properties', 'prefixItems'), ...(Array.isArray(items) ? subschemas(items) : [])],
    each: [
      ...all('patternProperties'),
      ...one('items', 'additionalItems', 'unevaluatedItems', 'contains'),
      ...one('additionalProperties', 'unevaluatedProperties', 'propertyNames')
    ]
  }
}

function only(value: unknown): readonly JsonSchema[] {
  return typeof value === 'boolean' || isObject(value) ? [value] : []
}

/** Of a list or a map; the arrays of `dependencies` are none. */
function subschemas(value: unknown): readonly JsonSchema[] {
  return typeof value === 'object' && value !== null ? Object.values(value).flatMap(only) : []
}

function ownSteps(schema: Readonly<Record<string, unknown>>): number {
  const names = ['properties', 'patternProperties', 'required', 'dependentRequired', 'dependencies', 'dependentSchemas']
  const named = names.reduce((sum, keyword) => sum + countNodes(schema[keyword], 2), 0)
  const compared = countNodes(schema['enum']) + countNodes(schema['const'])
  const { $ref, contains } = schema
  const calls = ($ref === undefined ? 0 : CALL_STEPS) + (contains === undefined ? 0 : ALTERNATIVE_STEPS)
  return Object.keys(schema).length + named + COMPARE_STEPS * compared + calls
}

function ownStepsPerByte(schema: Readonly<Record<string, unknown>>, fixed: number): number {
  const { unevaluatedItems, unevaluatedProperties, additionalProperties, contains, maxLength, minLength } = schema
  let steps = 0
  if (maxLength !== undefined || minLength !== undefined) steps += 1
  if (additionalProperties !== undefined) steps += LOOKUP_STEPS_PER_BYTE
  if (contains !== undefined) steps += (3 * ALTERNATIVE_STEPS) / VALUE_BYTES // its errors are all kept
  // What each branch has evaluated is merged, key by key.
  if (unevaluatedItems !== undefined || unevaluatedProperties !== undefined) {
    steps += UNEVALUATED_STEPS_PER_BYTE * (1 + fixed / ALTERNATIVE_STEPS)
  }
  return steps
}

/** Values in a piece of JSON, down to `depth` levels; a schema is at most 32 deep. */
function countNodes(value: unknown, depth = Number.POSITIVE_INFINITY): number {
  if (value === undefined) return 0
  if (typeof value !== 'object' || value === null || depth === 0) return 1
  return Object.values(value).reduce<number>((sum, item) => sum + countNodes(item, depth - 1), 1)
}
