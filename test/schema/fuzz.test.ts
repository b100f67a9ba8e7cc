import fc from 'fast-check'
import { expect, it, onTestFinished } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { compileSchema, createValidationPool } from '../../src/schema/index.ts'

const KEYWORDS = (
  '$ref $id $anchor $schema $defs definitions $dynamicRef id $comment nullable discriminator allOf anyOf oneOf not if then ' +
  'else properties patternProperties additionalProperties propertyNames items prefixItems additionalItems contains ' +
  'minContains maxContains dependencies dependentSchemas dependentRequired unevaluatedItems unevaluatedProperties type ' +
  'enum const minimum maxLength pattern uniqueItems required format title default toString hasOwnProperty'
).split(' ')
const REFS = [
  '#',
  '#/$defs/a',
  '#/definitions/a',
  '#/properties/a',
  '#/items',
  '#/allOf/0',
  '#a',
  'a',
  '#/a~1b',
  '#/%25'
]
const TYPES = ['string', 'number', 'integer', 'object', 'array', 'null', 'boolean']
const PATTERNS = ['^a', '[', '(?=a)', '^(a|b)*$', '\\d+', '.']

function under(arbitrary: fc.Arbitrary<unknown>, keywords: string): Record<string, fc.Arbitrary<unknown>> {
  return Object.fromEntries(keywords.split(' ').map((keyword) => [keyword, arbitrary]))
}

/** Objects with up to four of the members. */
function someOf(members: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<unknown> {
  const entries = Object.entries(members).map(([keyword, member]) => fc.tuple(fc.constant(keyword), member))
  return fc.array(fc.oneof(...entries), { maxLength: 4 }).map((chosen) => Object.fromEntries(chosen))
}

/** Close enough to schemas that most pass the lint. */
const { schema } = fc.letrec<{ schema: unknown; object: unknown }>((tie) => {
  const map = fc.dictionary(fc.constantFrom('a', 'b', 'a/b', 'toString', '^a', '%', 'é'), tie('schema'), { maxKeys: 3 })
  const list = fc.array(tie('schema'), { minLength: 1, maxLength: 3 })
  const size = fc.integer({ min: 0, max: 4 })
  return {
    schema: fc.oneof({ maxDepth: 5 }, fc.boolean(), { arbitrary: tie('object'), weight: 6 }),
    object: someOf({
      ...under(map, '$defs definitions properties dependentSchemas dependencies'),
      ...under(list, 'allOf anyOf oneOf prefixItems'),
      ...under(tie('schema'), 'not if then else items contains additionalProperties propertyNames'),
      ...under(tie('schema'), 'unevaluatedItems unevaluatedProperties additionalItems'),
      ...under(size, 'minimum maxLength minItems maxProperties minContains'),
      patternProperties: fc.dictionary(fc.constantFrom(...PATTERNS), tie('schema'), { maxKeys: 2 }),
      $ref: fc.constantFrom(...REFS),
      $schema: fc.constantFrom(
        'http://json-schema.org/draft-07/schema#',
        'https://json-schema.org/draft/2020-12/schema'
      ),
      $id: fc.constantFrom('https://example.com/a', 'a', '#a'),
      $anchor: fc.constantFrom('a', 'b'),
      type: fc.oneof(fc.constantFrom(...TYPES), fc.uniqueArray(fc.constantFrom(...TYPES), { minLength: 1 })),
      enum: fc.array(fc.jsonValue({ maxDepth: 1 }), { maxLength: 20 }),
      const: fc.jsonValue({ maxDepth: 1 }),
      multipleOf: fc.constant(2),
      pattern: fc.constantFrom(...PATTERNS),
      uniqueItems: fc.boolean(),
      required: fc.uniqueArray(fc.constantFrom('a', 'b', 'toString'))
    })
  }
})

const value = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.dictionary(fc.constantFrom('a', 'b', 'toString', 'é'), fc.jsonValue({ maxDepth: 2 }), { maxKeys: 3 })
)

it.each<{ id: string; schemas: fc.Arbitrary<unknown>; runs: number }>([
  { id: 'any JSON', schemas: fc.jsonValue({ maxDepth: 6 }), runs: 300 },
  {
    id: 'any JSON under the names of keywords',
    schemas: fc.object({
      key: fc.constantFrom(...KEYWORDS),
      maxDepth: 4,
      maxKeys: 6,
      values: [fc.boolean(), fc.integer(), fc.constantFrom('a', ...REFS, ...TYPES)]
    }),
    runs: 600
  },
  { id: 'what looks like a schema', schemas: schema, runs: 600 },
  {
    id: 'anything at all',
    schemas: fc.anything({ withBigInt: true, withDate: true, withMap: true, withSet: true, withSparseArray: true }),
    runs: 300
  }
])(
  '$id is an invalid schema or a working one',
  async ({ schemas, runs }) => {
    const pool = createValidationPool({ timeoutMs: 10_000 })
    onTestFinished(() => pool.stop())
    let working = 0
    await fc.assert(
      fc.asyncProperty(schemas, fc.array(value, { maxLength: 3 }), async (candidate, values) => {
        const validator = await compileSchema(candidate, pool).catch((err: unknown) => err)
        if (validator instanceof MeshError && validator.code === 'INVALID_SCHEMA') return
        if (validator instanceof Error) throw validator
        const { validate } = validator as Awaited<ReturnType<typeof compileSchema>>
        working++
        const outcomes = await Promise.all(values.map(async (item) => (await validate(item)) ?? []))
        const failures = outcomes.flat()
        expect(failures.length).toBeLessThanOrEqual(5 * values.length)
        expect(failures).toEqual(failures.map(() => ({ path: expect.any(String), message: expect.any(String) })))
      }),
      { numRuns: runs }
    )
    expect(working).toBeGreaterThan(0)
  },
  60_000
)
