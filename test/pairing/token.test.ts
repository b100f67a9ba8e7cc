import fc from 'fast-check'
import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { readToken } from '../../src/pairing/token.ts'
import { failureOf } from '../nodes.ts'
import { Town } from './kit.ts'

it.each([
  { id: 'nothing', garble: () => '' },
  { id: 'a key', garble: () => 'mesh_k_4ggcmquzyZO_HGx' },
  { id: 'its first half', garble: (token: string) => token.slice(0, 80) },
  {
    id: 'one letter wrong',
    garble: (token: string) => token.slice(0, 20) + (token[20] === 'a' ? 'b' : 'a') + token.slice(21)
  },
  { id: 'far too much', garble: (token: string) => token.repeat(1_000) }
])('a token of which there is $id is refused without asking anybody', async ({ garble }) => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  town.endpoints.clear()
  const failure = await failureOf(bob.pairing.join(garble(token)))
  expect(failure).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(JSON.stringify(failure)).not.toContain(token.slice(7, 30))
})

it('no token with a character changed is taken for one', async () => {
  const { token } = await (await new Town().move()).pairing.invite()
  const seed = Math.floor(Math.random() * 2 ** 31)
  const change = fc.tuple(fc.nat(token.length - 1), fc.constantFrom('0', 'a', 'Z', '_', '-', '.'))
  const isRefused = ([at, letter]: [number, string]): boolean => {
    const changed = token.slice(0, at) + letter + token.slice(at + 1)
    if (changed === token) return true
    try {
      readToken(changed)
      return false
    } catch (err) {
      return err instanceof MeshError && err.code === 'INVALID_ARGUMENT'
    }
  }
  const { failed, counterexample } = fc.check(fc.property(change, isRefused), { seed, numRuns: 500 })
  expect(failed, `seed ${seed}: ${JSON.stringify(counterexample)}`).toBe(false)
})
