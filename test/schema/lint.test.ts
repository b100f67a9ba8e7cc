import { describe, expect, it } from 'vitest'
import { checkSchema, MAX_SCHEMA_BYTES, MAX_SCHEMA_DEPTH, MAX_SUBSCHEMAS } from '../../src/schema/index.ts'

const DRAFT_07 = 'http://json-schema.org/draft-07/schema#'
const times = <T>(count: number, item: (n: number) => T): T[] => Array.from({ length: count }, (_, n) => item(n))
const nested = (levels: number): unknown => (levels === 0 ? true : { not: nested(levels - 1) })
const loop: Record<string, unknown> = {}
loop['not'] = loop

describe('a schema is refused, saying where and what,', () => {
  it.each<{ id: string; schema: unknown; says: string }>([
    { id: 'nothing at all', schema: undefined, says: 'is not JSON' },
    { id: 'a function', schema: () => true, says: 'is not JSON' },
    { id: 'a loop of objects', schema: loop, says: 'is not JSON' },
    { id: 'a BigInt', schema: { minimum: 1n }, says: 'is not JSON' },
    { id: 'a number', schema: 7, says: 'neither an object nor a boolean' },
    { id: 'null', schema: null, says: 'neither an object nor a boolean' },
    { id: 'an array', schema: [], says: 'neither an object nor a boolean' },
    { id: 'one byte too many', schema: { title: 'x'.repeat(MAX_SCHEMA_BYTES - 11) }, says: 'larger than 65536 bytes' },
    { id: 'one level too many', schema: nested(MAX_SCHEMA_DEPTH + 1), says: 'nested deeper than 32' },
    { id: 'deeper than the stack', schema: nested(2_000), says: 'nested deeper than 32' },
    {
      id: 'one subschema too many',
      schema: { allOf: times(MAX_SUBSCHEMAS, () => true) },
      says: 'more than 1000 subschemas'
    },
    { id: 'a type that is none', schema: { properties: { a: { type: 'text' } } }, says: '#/properties/a/type' },
    { id: 'a negative length', schema: { minLength: -1 }, says: '#/minLength' },
    { id: 'a list where an object belongs', schema: { properties: [] }, says: '#/properties must be object' },
    { id: 'an array of items in 2020-12', schema: { items: [{ type: 'string' }] }, says: '#/items' },
    {
      id: 'a bad keyword in a definition that is never used',
      schema: { $defs: { a: { type: 1 } } },
      says: '#/$defs/a/type'
    },
    { id: 'a bad draft-07 schema', schema: { $schema: DRAFT_07, required: 'a' }, says: '#/required' },
    {
      id: 'another dialect',
      schema: { $schema: 'http://json-schema.org/draft-04/schema#' },
      says: 'names a $schema other than 2020-12 and draft-07'
    },
    { id: 'a dialect that is no text', schema: { $schema: 7 }, says: '$schema' },
    {
      id: 'a reference to the web',
      schema: { properties: { a: { $ref: 'https://example.com/s.json' } } },
      says: '#/properties/a refers to another document'
    },
    { id: 'a reference to a file', schema: { $ref: 'other.json#/a' }, says: 'refers to another document' },
    {
      id: 'a reference to its own id',
      schema: { $id: 'https://example.com/s', not: { $ref: 'https://example.com/s' } },
      says: 'refers to another document'
    },
    { id: 'a reference to nothing', schema: { $ref: '#/$defs/a' }, says: 'not there: #/$defs/a' },
    { id: 'a reference to what is no schema', schema: { not: { $ref: '#/title' }, title: 'x' }, says: 'not there' },
    {
      id: 'a reference to a keyword of no dialect',
      schema: { not: { $ref: '#/components/a' }, components: { a: {} } },
      says: 'not there'
    },
    { id: 'a reference with a stray per cent sign', schema: { not: { $ref: '#/%' } }, says: 'not there' },
    { id: 'an anchor that is not there', schema: { not: { $ref: '#a' } }, says: 'not there: #a' },
    {
      id: 'an anchor used twice',
      schema: { $defs: { a: { $anchor: 'x' }, b: { $anchor: 'x' } } },
      says: 'used twice: x'
    },
    {
      id: 'a reference below an id of its own',
      schema: { properties: { a: { $id: 'a', not: { $ref: '#' } } } },
      says: 'below an $id of its own'
    },
    { id: 'a dynamic reference', schema: { $dynamicRef: '#a' }, says: 'uses $dynamicRef' },
    {
      id: 'a dynamic anchor',
      schema: { $defs: { a: { $dynamicAnchor: 'a' } } },
      says: '#/$defs/a uses $dynamicAnchor'
    },
    { id: 'a recursive reference', schema: { $recursiveRef: '#' }, says: 'uses $recursiveRef' },
    { id: 'an asynchronous schema', schema: { $async: true }, says: 'uses $async' },
    {
      id: 'a $data reference',
      schema: { properties: { a: { maximum: { $data: '1/b' } } } },
      says: '#/properties/a/maximum'
    },
    { id: 'a look-ahead', schema: { pattern: '^(?=a)' }, says: 'a pattern that RE2 does not know, ^(?=a)' },
    { id: 'a look-behind', schema: { pattern: '(?<=a)b' }, says: 'RE2' },
    { id: 'a back reference', schema: { pattern: '(a)\\1' }, says: 'RE2' },
    { id: 'a named back reference', schema: { pattern: '(?<n>a)\\k<n>' }, says: 'back references' },
    { id: 'a pattern that is none', schema: { pattern: '[' }, says: 'RE2' },
    { id: 'a pattern that repeats too often', schema: { pattern: '((a{100}){100}){100}' }, says: 'RE2' },
    { id: 'a bad pattern for names', schema: { patternProperties: { '(': true } }, says: 'RE2' },
    { id: 'a schema that is itself', schema: { $ref: '#' }, says: 'refers to itself for the same value' },
    {
      id: 'a circle of references',
      schema: {
        $ref: '#/$defs/a',
        $defs: { a: { anyOf: [{ $ref: '#/$defs/b' }] }, b: { not: { $ref: '#/$defs/a' } } }
      },
      says: 'refers to itself for the same value'
    },
    {
      id: 'a name that cannot travel',
      schema: { properties: { constructor: { type: 'string' } } },
      says: '#/properties has a member named constructor'
    },
    { id: 'a prototype', schema: JSON.parse('{"properties":{"__proto__":{}}}'), says: 'a member named __proto__' }
  ])('$id', async ({ schema, says }) => {
    await expect(checkSchema(schema)).rejects.toMatchObject({
      code: 'INVALID_SCHEMA',
      message: expect.stringContaining(says)
    })
  })
})

const long = 'x'.repeat(20_000)

it.each<{ id: string; schema: unknown }>([
  { id: 'a reference', schema: { $ref: `#/${long}` } },
  { id: 'a reference elsewhere', schema: { $ref: long } },
  { id: 'a pattern', schema: { pattern: `(${long}` } },
  { id: 'a name', schema: { properties: { [long]: { type: 'no' } } } }
])('a refusal is short, however long $id is', async ({ schema }) => {
  const err: unknown = await checkSchema(schema).catch((reason: unknown) => reason)
  expect(err).toMatchObject({ code: 'INVALID_SCHEMA' })
  expect(String(err).length).toBeLessThan(1_000)
})

describe('a schema is accepted', () => {
  it.each<{ id: string; schema: unknown }>([
    { id: 'true', schema: true },
    { id: 'false', schema: false },
    { id: 'empty', schema: {} },
    { id: 'as large as can be', schema: { title: 'x'.repeat(MAX_SCHEMA_BYTES - 12) } },
    { id: 'as deep as can be', schema: nested(MAX_SCHEMA_DEPTH) },
    { id: 'with as many subschemas as can be', schema: { allOf: times(MAX_SUBSCHEMAS - 1, () => true) } },
    {
      id: 'with keywords that nobody knows',
      schema: { 'x-order': 1, id: 'old', nullable: true, discriminator: {}, format: 'no-such-format' }
    },
    { id: 'with the https form of draft-07', schema: { $schema: 'https://json-schema.org/draft-07/schema' } },
    {
      id: 'with what looks like a reference in data',
      schema: { const: { $ref: 'https://example.com' }, enum: [{ $async: true }], default: { $ref: '#/x' } }
    },
    {
      id: 'with properties named like keywords',
      schema: { properties: { $ref: { type: 'string' }, $id: true, $async: true, pattern: { type: 'string' } } }
    },
    { id: 'with ids', schema: { $id: 'https://example.com/a', properties: { a: { $id: 'b', type: 'string' } } } },
    { id: 'that is recursive', schema: { properties: { child: { $ref: '#' } } } },
    { id: 'with thousands of required names', schema: { required: times(6_000, (n) => `n${n}`) } },
    {
      id: 'with very many properties',
      schema: { properties: Object.fromEntries(times(900, (n) => [`property${n}`, { type: 'string' }])) }
    },
    {
      id: 'with a definition used very often',
      schema: {
        allOf: times(480, () => ({ $ref: '#/$defs/a' })),
        $defs: { a: { anyOf: times(480, () => ({ type: 'string' })) } }
      }
    }
  ])('$id', async ({ schema }) => {
    await expect(checkSchema(schema)).resolves.toBeUndefined()
  })
})
