import fc from 'fast-check'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Outcome } from '../../src/schema/index.ts'
import { compileSchema, createValidationPool } from '../../src/schema/index.ts'

const DRAFT_07 = { $schema: 'http://json-schema.org/draft-07/schema#' }

/** Compiles, and checks values without a worker: whatever needs one fails the test. */
async function compileHere(schema: unknown): Promise<(value: unknown) => Outcome> {
  const pool = createValidationPool()
  onTestFinished(() => pool.stop())
  const { validate } = await compileSchema(schema, pool)
  return (value) => {
    const outcome = validate(value)
    if (outcome instanceof Promise) throw new Error('was sent to a worker')
    return outcome
  }
}

interface Case {
  id: string
  schema: unknown
  fits: unknown[]
  not: unknown[]
}

describe('2020-12', () => {
  it.each<Case>([
    { id: 'true', schema: true, fits: [1, null, {}], not: [] },
    { id: 'false', schema: false, fits: [], not: [1, null, {}] },
    { id: 'types', schema: { type: ['integer', 'null'] }, fits: [1, 1.0, null], not: [1.5, '1', true] },
    {
      id: 'required and additional',
      schema: { required: ['a'], properties: { a: true }, additionalProperties: false },
      fits: [{ a: 1 }, 7],
      not: [{}, { a: 1, b: 2 }]
    },
    {
      id: 'tuples',
      schema: { prefixItems: [{ type: 'string' }], items: { type: 'number' } },
      fits: [['a', 1], []],
      not: [[1], ['a', 'b']]
    },
    {
      id: 'contains',
      schema: { contains: { const: 1 }, minContains: 2, maxContains: 3 },
      fits: [
        [1, 1],
        [1, 0, 1, 1]
      ],
      not: [[1], [1, 1, 1, 1]]
    },
    {
      id: 'dependent required',
      schema: { dependentRequired: { a: ['b'] } },
      fits: [{ a: 1, b: 1 }, { b: 1 }],
      not: [{ a: 1 }]
    },
    {
      id: 'dependent schemas',
      schema: { dependentSchemas: { a: { minProperties: 2 } } },
      fits: [{ a: 1, b: 1 }],
      not: [{ a: 1 }]
    },
    {
      id: 'unevaluated properties',
      schema: { allOf: [{ properties: { a: true } }], unevaluatedProperties: false },
      fits: [{ a: 1 }],
      not: [{ b: 1 }]
    },
    { id: 'unevaluated items', schema: { prefixItems: [true], unevaluatedItems: false }, fits: [[1]], not: [[1, 2]] },
    {
      id: 'if, then, else',
      schema: JSON.parse('{"if":{"const":1},"then":true,"else":{"type":"string"}}'),
      fits: [1, 'a'],
      not: [2]
    },
    {
      id: 'a sibling of $ref counts',
      schema: { $ref: '#/$defs/a', minimum: 3, $defs: { a: { type: 'number' } } },
      fits: [3],
      not: [2, 'x']
    },
    {
      id: 'an anchor',
      schema: { $ref: '#here', $defs: { a: { $anchor: 'here', type: 'number' } } },
      fits: [3],
      not: ['x']
    },
    {
      id: 'a reference to a boolean',
      schema: { properties: { a: { $ref: '#/$defs/no' } }, $defs: { no: false } },
      fits: [{}],
      not: [{ a: 1 }]
    },
    {
      id: 'escaped references',
      schema: {
        allOf: [
          { $ref: '#/$defs/a~1b~0c%25%20%C3%A9' },
          { $ref: '#/$defs/a~1b~0c%25 é' },
          { $ref: '#/%24defs/a~1b~0c%25%20é' }
        ],
        $defs: { 'a/b~c% é': { type: 'number' } }
      },
      fits: [3],
      not: ['x']
    },
    {
      id: 'a reference into a property',
      schema: { properties: { a: { type: 'number' }, b: { $ref: '#/properties/a' } } },
      fits: [{ b: 1 }],
      not: [{ b: 'x' }]
    },
    {
      id: 'unique items',
      schema: { uniqueItems: true },
      fits: [[1, '1', true, 'true', null, 'null', [1], ['1'], {}, [], '[]', '{}']],
      not: [
        [1, 1.0],
        [
          { a: 1, b: [2] },
          { b: [2], a: 1 }
        ],
        ['a', 'a'],
        [[], []]
      ]
    },
    { id: 'items that need not be unique', schema: { uniqueItems: false }, fits: [[1, 1]], not: [] },
    {
      id: 'a long enumeration',
      schema: { enum: [...Array(20).keys(), 'a', { b: 1, c: [null] }] },
      fits: [7, 'a', { c: [null], b: 1 }],
      not: [20, '7', { b: 1 }, null]
    },
    { id: 'an empty enumeration', schema: { enum: [] }, fits: [], not: [1, null] },
    { id: 'formats check nothing', schema: { format: 'email' }, fits: ['no mail'], not: [] },
    {
      id: 'keywords of other dialects check nothing',
      schema: { dependencies: { a: ['b'] }, additionalItems: false, nullable: true, type: 'object' },
      fits: [{ a: 1 }],
      not: [null]
    },
    { id: 'most characters', schema: { maxLength: 2 }, fits: ['', 'éa', '😀😀', 1], not: ['abc', '😀ab', '😀😀😀'] },
    {
      id: 'fewest characters',
      schema: { minLength: 2 },
      fits: ['ab', '😀a', '😀😀', 1],
      not: ['', 'é', '😀', '\ud83d']
    },
    { id: 'multiples', schema: { multipleOf: 2 }, fits: [4], not: [3] },
    {
      id: 'names that every object inherits',
      schema: { required: ['toString'], properties: { valueOf: { type: 'number' } } },
      fits: [{ toString: 1 }],
      not: [{}, { toString: 1, valueOf: 'x' }]
    }
  ])('$id', async ({ schema, fits, not }) => {
    const validate = await compileHere(schema)
    expect(fits.filter((value) => validate(value) !== undefined)).toEqual([])
    expect(not.filter((value) => (validate(value)?.length ?? 0) === 0)).toEqual([])
  })
})

describe('draft-07', () => {
  it.each<Case>([
    {
      id: 'tuples',
      schema: { ...DRAFT_07, items: [{ type: 'string' }], additionalItems: { type: 'number' } },
      fits: [['a', 1]],
      not: [[1], ['a', 'b']]
    },
    {
      id: 'dependencies',
      schema: { ...DRAFT_07, dependencies: { a: ['b'], c: { minProperties: 2 } } },
      fits: [{ a: 1, b: 1 }],
      not: [{ a: 1 }, { c: 1 }]
    },
    {
      id: 'siblings of $ref are ignored',
      schema: { ...DRAFT_07, $ref: '#/definitions/a', minimum: 3, definitions: { a: { type: 'number' } } },
      fits: [3, 2],
      not: ['x']
    },
    {
      id: 'keywords of 2020-12 check nothing',
      schema: { ...DRAFT_07, prefixItems: [false], unevaluatedItems: false, dependentRequired: { a: ['b'] } },
      fits: [[1], { a: 1 }],
      not: []
    },
    {
      id: 'property names',
      schema: { ...DRAFT_07, propertyNames: { maxLength: 1 } },
      fits: [{ a: 1 }],
      not: [{ ab: 1 }]
    }
  ])('$id', async ({ schema, fits, not }) => {
    const validate = await compileHere(schema)
    expect(fits.filter((value) => validate(value) !== undefined)).toEqual([])
    expect(not.filter((value) => (validate(value)?.length ?? 0) === 0)).toEqual([])
  })
})

describe('patterns', () => {
  it('are kept apart, each in its place', async () => {
    const validate = await compileHere({
      properties: { a: { pattern: '^foo$' }, b: { pattern: '^bar$' } },
      patternProperties: { '^n_': { type: 'number' }, '^s_': { type: 'string' } }
    })
    expect(validate({ a: 'foo', b: 'bar', n_x: 1, s_x: 'x' })).toBeUndefined()
    expect(validate({ b: 'foo' })).toMatchObject([{ path: '/b' }])
    expect(validate({ a: 'bar' })).toMatchObject([{ path: '/a' }])
    expect(validate({ n_x: 'x' })).toMatchObject([{ path: '/n_x' }])
    expect(validate({ s_x: 1 })).toMatchObject([{ path: '/s_x' }])
  })

  it.each([
    { pattern: '^\\d{4}-\\d{2}$', fits: '2026-03', not: '26-3' },
    { pattern: '^[\\u00e0-\\u00ff]+$', fits: 'é', not: 'e' },
    { pattern: '^\\u{1F600}$', fits: '😀', not: '😁' },
    { pattern: '^\\p{L}+$', fits: 'héλ', not: 'a1' },
    { pattern: '^(?<year>\\d+)\\/$', fits: '7/', not: '7' },
    { pattern: '^a$', fits: 'a', not: 'a\n' },
    { pattern: '^\\\\k$', fits: '\\k', not: 'k' },
    { pattern: 'b', fits: 'abc', not: 'ac' }
  ])('$pattern means what it means in JavaScript', async ({ pattern, fits, not }) => {
    const validate = await compileHere({ pattern })
    expect([new RegExp(pattern, 'u').test(fits), new RegExp(pattern, 'u').test(not)]).toEqual([true, false])
    expect(validate(fits)).toBeUndefined()
    expect(validate(not)).toHaveLength(1)
  })
})

describe('failures', () => {
  it('say where and what, without the value', async () => {
    const validate = await compileHere({
      properties: { list: { items: { type: 'integer' } }, kind: { enum: ['a', 'b'] }, v: { const: 1 } },
      required: ['list'],
      additionalProperties: false
    })
    expect(validate({})).toEqual([{ path: '', message: "must have required property 'list'" }])
    expect(validate({ list: [1, 'secret'] })).toEqual([{ path: '/list/1', message: 'must be integer' }])
    expect(validate({ list: [], kind: 'c' })).toEqual([
      { path: '/kind', message: 'must be equal to one of the allowed values: a, b' }
    ])
    expect(validate({ list: [], v: 2 })).toEqual([{ path: '/v', message: 'must be equal to constant: 1' }])
    expect(validate({ list: [], x: 2 })).toEqual([{ path: '', message: 'must NOT have additional properties: x' }])
  })

  it('are few and short whatever the value', async () => {
    const name = 'x'.repeat(50_000)
    const validate = await compileHere({
      anyOf: Array.from({ length: 50 }, (_, n) => ({ const: n })),
      additionalProperties: { additionalProperties: false }
    })
    const failures = validate({ [name]: { [name]: 1 } })
    expect(failures).toHaveLength(5)
    const deep = await compileHere({ additionalProperties: { additionalProperties: false } })
    const [failure] = deep({ [name]: { [name]: 1 } }) ?? []
    expect(failure?.path).toHaveLength(256)
    expect(failure?.message).toHaveLength(256)
  })
})

describe('values that are not JSON', () => {
  it.each<{ id: string; value: unknown }>([
    { id: 'undefined', value: undefined },
    { id: 'a function', value: () => 1 },
    {
      id: 'a getter that throws',
      value: {
        get a() {
          throw new Error('private')
        }
      }
    }
  ])('$id: fail or pass, but never throw', async ({ value }) => {
    const validate = await compileHere({ type: 'object', properties: { a: { type: 'number' } } })
    expect(validate(value)).toHaveLength(1)
    expect(JSON.stringify(validate(value))).not.toContain('private')
  })
})

it('the same value has the same outcome after any other', async () => {
  const validate = await compileHere({
    type: 'object',
    properties: { a: { pattern: '^[ab]+$' }, b: { uniqueItems: true, items: { enum: [...Array(30).keys()] } } }
  })
  const text = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), maxLength: 5 })
  const value = fc.record(
    { a: text, b: fc.array(fc.integer({ min: 0, max: 40 }), { maxLength: 5 }) },
    { requiredKeys: [] }
  )
  fc.assert(
    fc.property(value, value, (one, other) => {
      const isFit =
        (one.a === undefined || /^[ab]+$/.test(one.a)) &&
        (one.b ?? []).every((n) => n < 30) &&
        new Set(one.b).size === (one.b ?? []).length
      expect(validate(one) === undefined).toBe(isFit)
      validate(other)
      expect(validate(one) === undefined).toBe(isFit)
    }),
    { numRuns: 500 }
  )
})
