import fc from 'fast-check'
import { expect, it } from 'vitest'
import { compileGlob } from '../../src/policy/glob.ts'

it.each([
  { pattern: '*', text: '', matches: true },
  { pattern: '*', text: 'tool:fs/read', matches: true },
  { pattern: '**', text: 'x', matches: true },
  { pattern: '', text: '', matches: true },
  { pattern: '', text: 'x', matches: false },
  { pattern: 'tool.call', text: 'tool.call', matches: true },
  { pattern: 'tool.call', text: 'toolxcall', matches: false },
  { pattern: 'tool.call', text: 'tool.calls', matches: false },
  { pattern: 'tool:fs/*', text: 'tool:fs/read', matches: true },
  { pattern: 'tool:fs/*', text: 'tool:fs/', matches: true },
  { pattern: 'tool:fs/*', text: 'tool:fsx/read', matches: false },
  { pattern: '*.call', text: 'tool.call', matches: true },
  { pattern: '*.call', text: 'call', matches: false },
  { pattern: 'a*a', text: 'a', matches: false },
  { pattern: 'a*a', text: 'aa', matches: true },
  { pattern: 'ab*bc', text: 'abc', matches: false },
  { pattern: '*:*/read', text: 'tool:fs/read', matches: true },
  { pattern: 'a*b*c', text: 'acb', matches: false },
  { pattern: 'a*b*c', text: 'abbc', matches: true },
  { pattern: 'a*bb*b', text: 'abb', matches: false },
  { pattern: 'READ', text: 'read', matches: false },
  { pattern: '[a-z]?', text: 'b', matches: false },
  { pattern: '[a-z]?', text: '[a-z]?', matches: true },
  { pattern: 'a*c', text: 'a\n/c', matches: true }
])('"$pattern" on "$text": $matches', ({ pattern, text, matches }) => {
  expect(compileGlob(pattern)(text)).toBe(matches)
})

it('agrees with the same pattern written as a regular expression', () => {
  const characters = fc.string({ unit: fc.constantFrom('a', 'b', '*', '.'), maxLength: 8 })
  const text = fc.string({ unit: fc.constantFrom('a', 'b', '.'), maxLength: 12 })
  fc.assert(
    fc.property(characters, text, (pattern, candidate) => {
      const asRegExp = new RegExp(`^${pattern.replaceAll('.', '\\.').replaceAll('*', '.*')}$`, 's')
      expect(compileGlob(pattern)(candidate)).toBe(asRegExp.test(candidate))
    }),
    { numRuns: 2_000 }
  )
})

it('matches a pattern of a thousand stars against a text that nearly fits', () => {
  const glob = compileGlob(`${'*a'.repeat(1_000)}*b`)
  expect(glob('a'.repeat(100_000))).toBe(false)
  expect(glob(`${'a'.repeat(1_000)}b`)).toBe(true)
})
