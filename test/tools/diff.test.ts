import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { MAX_DIFF_LINES, MAX_DIFF_VALUE_LENGTH } from '../../src/tools/constants.ts'
import { diffDefinitions } from '../../src/tools/diff.ts'

describe('the difference of two definitions', () => {
  it.each([
    ['a value', { effects: 'none' }, { effects: 'write' }, ['- effects: "none"', '+ effects: "write"']],
    ['a member more', {}, { description: 'x' }, ['+ description: "x"']],
    ['a member less', { output: { type: 'number' } }, {}, ['- output.type: "number"']],
    [
      'a member deep in a schema',
      { input: { properties: { a: { type: 'string' } }, required: ['a'] } },
      { input: { properties: { a: { type: 'string' } }, required: ['a', 'b'] } },
      ['+ input.required[1]: "b"']
    ],
    ['an empty schema for none', {}, { input: {} }, ['+ input: {}']],
    ['an odd key', {}, { input: { 'a b\u202E': 1 } }, ['+ input."a b\\u202e": 1']],
    ['an inherited name', {}, { input: JSON.parse('{"__proto__":1}') }, ['+ input.__proto__: 1']],
    ['a digest alone', { digest: 'a' }, { digest: 'b' }, ['+ members that this version of the program does not know']]
  ])('tells %s', (_what, before, after, lines) => {
    expect(diffDefinitions(before, after)).toEqual(lines)
  })

  it.each([
    ['an escape', '\u001b[2J', '\\u001b[2J'],
    ['a line feed', 'a\nb', 'a\\nb'],
    ['a zero-width space', 'a\u200bb', 'a\\u200bb'],
    ['a bidi override', 'a\u202eb', 'a\\u202eb'],
    ['a hard space', 'a\u00a0b', 'a\\u00a0b'],
    ['a Hangul filler', 'a\u3164b', 'a\\u3164b'],
    ['a tag character', 'a\u{e0041}b', 'a\\u{e0041}b']
  ])('escapes %s', (_what, text, shown) => {
    expect(diffDefinitions({ description: 'ab' }, { description: text })).toContain(`+ description: "${shown}"`)
  })

  it('shows where long texts begin to differ', () => {
    const same = 'x'.repeat(3000)
    const lines = diffDefinitions({ description: `${same}old` }, { description: `${same}new${'y'.repeat(3000)}` })
    expect(lines[0]).toMatch(/^- description: …x{40}old"$/)
    expect(lines[1]).toMatch(/^\+ description: …x+newy+… and \d+ more characters$/)
    expect(lines[1]?.length).toBeLessThan(MAX_DIFF_VALUE_LENGTH + 60)
  })

  it('ends after its lines and says how many more there are, short members first', () => {
    const properties = Object.fromEntries(Array.from({ length: 500 }, (_, n) => [`p${n}`, n]))
    const lines = diffDefinitions({}, { input: { properties }, tags: ['new'], description: 'new' })
    expect(lines).toHaveLength(MAX_DIFF_LINES)
    expect(lines.slice(0, 2)).toEqual(['+ description: "new"', '+ tags[0]: "new"'])
    expect(lines.at(-1)).toBe(`… and ${502 - MAX_DIFF_LINES + 1} more lines`)
  })

  it('shows nothing that an eye would not see, whatever the definitions say', () => {
    fc.assert(
      fc.property(fc.jsonValue({ stringUnit: 'binary' }), fc.jsonValue({ stringUnit: 'binary' }), (input, other) => {
        const lines = diffDefinitions({ input }, { input: other })
        expect(lines.length).toBeGreaterThan(0)
        for (const line of lines) expect(line).toMatch(/^[^\p{C}\p{Zl}\p{Zp}\u00a0\u3164]*$/u)
      })
    )
  })
})
