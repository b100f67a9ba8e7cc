import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { KEY_PATTERN, newId, newKey, readKeyId } from '../../src/keys/format.ts'

const seed = Math.floor(Math.random() * 2 ** 31)

it('a key has 68 characters, of which the id is public and the rest fits the pattern for scanners', () => {
  const id = newId()
  const key = newKey(id)
  expect(key).toHaveLength(68)
  expect(key.startsWith(`mesh_k_${id}_`)).toBe(true)
  expect(readKeyId(key)).toBe(id)
  expect(`token=${key};`).toMatch(KEY_PATTERN)
})

it(`every typo of one character is told (seed ${seed})`, () => {
  const key = newKey(newId())
  fc.assert(
    fc.property(fc.nat(key.length - 1), fc.string({ minLength: 1, maxLength: 1 }), (at, char) => {
      fc.pre(char !== key[at])
      expect(readKeyId(key.slice(0, at) + char + key.slice(at + 1))).toBeUndefined()
    }),
    { seed, numRuns: 2_000 }
  )
  const letters = Array.from('0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz')
  const typos = Array.from(key, (own, at) =>
    letters.filter((char) => char !== own).map((char) => key.slice(0, at) + char + key.slice(at + 1))
  ).flat()
  expect(typos.filter((typo) => readKeyId(typo) !== undefined)).toEqual([])
})

it('a key that is cut, doubled or followed by something is no key', () => {
  const key = newKey(newId())
  for (const bad of [key.slice(1), key.slice(0, -1), key + key, `${key}\n`, ` ${key}`, '', undefined, {}]) {
    expect(readKeyId(bad)).toBeUndefined()
  }
})

it('the example of the specification is well-formed, and its pattern for scanners is ours', () => {
  const page = readFileSync('protocols/hello/1.0.0/api-keys.md', 'utf8')
  const [example] = KEY_PATTERN.exec(page) ?? []
  expect(readKeyId(example)).toBe('4ggcmquzyZO')
  expect(page).toContain(`\`${KEY_PATTERN.source}\``)
})
