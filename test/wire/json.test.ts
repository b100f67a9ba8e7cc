import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_JSON_DEPTH, parseJson } from '../../src/wire/index.ts'

const nested = (depth: number, open = '[', close = ']') => open.repeat(depth) + close.repeat(depth)
const invalid = expect.objectContaining({ code: 'INVALID_MESSAGE' })

describe('parseJson', () => {
  it('reads what JSON.stringify writes, as text and as bytes', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 5 }), (value) => {
        const text = JSON.stringify(value)
        expect(parseJson(text)).toEqual(JSON.parse(text))
        expect(parseJson(Buffer.from(text))).toEqual(JSON.parse(text))
      })
    )
  })

  it.each([
    { id: 'nothing', input: '' },
    { id: 'half an object', input: '{"a":' },
    { id: 'two values', input: '1 2' },
    { id: 'a byte order mark', input: Buffer.from('\ufeff{}') },
    { id: 'a byte that is not UTF-8', input: Buffer.from([0x22, 0xff, 0x22]) },
    { id: 'an overlong UTF-8 sequence', input: Buffer.from([0x22, 0xc0, 0xaf, 0x22]) },
    { id: 'a surrogate in UTF-8', input: Buffer.from([0x22, 0xed, 0xa0, 0x80, 0x22]) },
    { id: 'an array one level too deep', input: nested(MAX_JSON_DEPTH + 1) },
    { id: 'an object one level too deep', input: `${'{"a":'.repeat(MAX_JSON_DEPTH)}{}${'}'.repeat(MAX_JSON_DEPTH)}` },
    { id: 'a million levels', input: nested(1_000_000) },
    { id: 'levels that never close', input: '['.repeat(1_000_000) },
    { id: 'the key __proto__', input: '{"a":[{"__proto__":{"x":1}}]}' },
    { id: 'the key constructor', input: '{"constructor":{}}' },
    { id: 'the key prototype', input: '{"a":{"prototype":1}}' },
    { id: 'an escaped __proto__', input: '{"__pr\\u006fto__":1}' },
    {
      id: 'a wholly escaped constructor',
      input: `{"${Array.from('constructor', (c) => `\\u00${c.charCodeAt(0).toString(16)}`).join('')}":1}`
    }
  ])('refuses $id', ({ input }) => {
    expect(() => parseJson(input)).toThrow(invalid)
  })

  it.each([
    { id: 'the deepest array', input: nested(MAX_JSON_DEPTH) },
    { id: 'many brackets side by side', input: `[${'[],'.repeat(500)}{}]` },
    { id: 'brackets in strings', input: JSON.stringify({ a: nested(500), b: `\\"${nested(200)}` }) },
    { id: 'brackets behind escaped quotes', input: JSON.stringify(['\\', '"', `\\\\"${'{'.repeat(100)}`, {}]) },
    {
      id: 'forbidden words as values',
      input: '{"protocol":"__proto__","a":"constructor","b":["prototype","\\u0061"]}'
    },
    { id: 'words that contain them', input: '{"constructors":1,"my__proto__":2,"prototypes":3}' }
  ])('takes $id', ({ input }) => {
    expect(parseJson(input)).toEqual(JSON.parse(input))
  })

  it('accepts of brackets, strings and escapes exactly what JSON.parse does', () => {
    const piece = fc.constantFrom('[', ']', '{', '}', '"', '\\', '"["', '\\"', 'a', ':', ',')
    fc.assert(
      fc.property(fc.array(piece, { minLength: 60, maxLength: 400 }), (pieces) => {
        const text = pieces.join('')
        expect(outcome(() => parseJson(text))).toEqual(outcome(() => JSON.parse(text)))
      })
    )
  })

  it('counts the levels of any value', () => {
    const wrap = fc.array(fc.constantFrom('array', 'object'), { maxLength: 2 * MAX_JSON_DEPTH })
    fc.assert(
      fc.property(wrap, fc.string(), (layers, leaf) => {
        const value = layers.reduce<unknown>(
          (inner, layer) => (layer === 'array' ? [leaf, inner] : { [`k${leaf}`]: inner, z: [] }),
          []
        )
        const text = JSON.stringify(value)
        const expected = layers.length + 1 > MAX_JSON_DEPTH ? 'refused' : { value }
        expect(outcome(() => parseJson(text))).toEqual(expected)
      })
    )
  })
})

function outcome(parse: () => unknown): unknown {
  try {
    return { value: parse() }
  } catch {
    return 'refused'
  }
}
