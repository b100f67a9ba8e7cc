import fc from 'fast-check'
import { expect, it } from 'vitest'
import {
  coversGlob,
  type GrantChain,
  type GrantLink,
  hashOf,
  judgeGrantChain,
  payloadOf,
  readGrantChain
} from '../../src/grants/chain.ts'
import { GRANT_TYPE, MAX_CHAIN, MAX_DEPTH } from '../../src/grants/index.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { compileGlob } from '../../src/policy/index.ts'
import { failureOf } from '../nodes.ts'
import { MINUTE, refusal, START } from './kit.ts'

const PARTIES = Array.from({ length: MAX_CHAIN + 2 }, createIdentity)
const [OWNER, ANN, BOB] = PARTIES as [Identity, Identity, Identity]

type Unsigned = Omit<GrantLink, 'text' | 'hash'>

/** The link that the party at `n` gives to the next one. */
function unsigned(n: number, parent: GrantLink | undefined, more: Partial<Unsigned> = {}): Unsigned {
  return {
    id: `grant-${n}`,
    issuer: PARTIES[n]?.id ?? '',
    holder: PARTIES[n + 1]?.id ?? '',
    owner: OWNER.id,
    act: 'tool.*',
    res: 'tool:fs/*',
    depth: MAX_DEPTH - n,
    issuedAt: START,
    ...(parent === undefined ? {} : { parent: parent.hash }),
    ...more
  }
}

async function signed(link: Unsigned, signer?: Identity): Promise<GrantLink> {
  const by = signer ?? PARTIES.find(({ id }) => id === link.issuer) ?? OWNER
  const text = await by.sign(GRANT_TYPE, payloadOf(link))
  return { ...link, text, hash: hashOf(text) }
}

async function chainOf(...changes: readonly Partial<Unsigned>[]): Promise<string[]> {
  const links: GrantLink[] = []
  for (const [n, change] of changes.entries()) links.push(await signed(unsigned(n, links.at(-1), change)))
  return links.map(({ text }) => text)
}

async function judged(texts: readonly string[], now = START): Promise<GrantChain> {
  const chain = await readGrantChain(texts)
  judgeGrantChain(chain, now)
  return chain
}

it('a chain of as many links as there may be is read as it was written', async () => {
  const texts = await chainOf({ expiresAt: START + 1 }, {}, {}, {}, {}).catch(() => [])
  expect(texts).toHaveLength(MAX_CHAIN)
  await expect(judged(texts)).rejects.toMatchObject(refusal('unbound'))
  const same = await chainOf(
    { uses: 7, input: 'i'.repeat(43) },
    { uses: 3, input: 'i'.repeat(43), expiresAt: START + 1 }
  )
  const [root, leaf] = await judged(same)
  expect(root).toMatchObject({ owner: OWNER.id, issuer: OWNER.id, holder: ANN.id, uses: 7, issuedAt: START })
  expect(leaf).toMatchObject({ holder: BOB.id, uses: 3, expiresAt: START + 1, parent: root.hash })
  expect((await judged(await chainOf({}, {}, {}, {}, {}))).map(({ depth }) => depth)).toEqual([4, 3, 2, 1, 0])
})

it.each<{ id: string; reason: string; links: readonly Partial<Unsigned>[]; now?: number }>([
  { id: 'a first link by another than the owner', reason: 'wrong-issuer', links: [{ owner: BOB.id }] },
  { id: 'a first link with a link before it', reason: 'malformed', links: [{ parent: 'p'.repeat(43) }] },
  { id: 'passed on by who is not the holder', reason: 'wrong-issuer', links: [{ holder: BOB.id }, {}] },
  { id: 'another link before it', reason: 'malformed', links: [{}, { parent: 'p'.repeat(43) }] },
  { id: 'another owner', reason: 'unbound', links: [{}, { owner: ANN.id }] },
  { id: 'a wider act', reason: 'unbound', links: [{}, { act: '*' }] },
  { id: 'another res', reason: 'unbound', links: [{}, { res: 'tool:mail/*' }] },
  { id: 'a depth that does not fall', reason: 'unbound', links: [{ depth: 1 }, { depth: 1 }] },
  { id: 'passed on although it may not be', reason: 'unbound', links: [{ depth: 0 }, { depth: 0 }] },
  { id: 'a later expiry', reason: 'unbound', links: [{ expiresAt: START + 1 }, { expiresAt: START + 2 }] },
  { id: 'no expiry after one', reason: 'unbound', links: [{ expiresAt: START + 1 }, {}] },
  { id: 'more uses', reason: 'unbound', links: [{ uses: 1 }, { uses: 2 }] },
  { id: 'any number of uses after a limit', reason: 'unbound', links: [{ uses: 1 }, {}] },
  { id: 'an input that is dropped', reason: 'unbound', links: [{ input: 'i'.repeat(43) }, {}] },
  { id: 'another definition', reason: 'unbound', links: [{ digest: 'd'.repeat(43) }, { digest: 'e'.repeat(43) }] },
  { id: 'expired', reason: 'expired', links: [{ expiresAt: START }] },
  { id: 'a parent that has expired', reason: 'expired', links: [{ expiresAt: START }, { expiresAt: START }] },
  { id: 'not good yet', reason: 'not-yet-valid', links: [{ notBefore: START + 1 }] },
  { id: 'from more than ten minutes ahead', reason: 'not-yet-valid', links: [{ issuedAt: START + 10 * MINUTE + 1 }] }
])('$id is refused as $reason', async ({ reason, links }) => {
  expect(await failureOf(judged(await chainOf(...links)))).toMatchObject(refusal(reason))
})

it('an issuer whose clock is ten minutes ahead is believed', async () => {
  const chain = await judged(await chainOf({}, { issuedAt: START + 10 * MINUTE }))
  expect(chain).toHaveLength(2)
})

it.each<{ id: string; texts: () => Promise<readonly unknown[]>; reason: string }>([
  { id: 'no link', texts: async () => [], reason: 'malformed' },
  { id: 'a link that is no text', texts: async () => [{}], reason: 'malformed' },
  { id: 'a link that is no JWS', texts: async () => ['a.b'], reason: 'malformed' },
  { id: 'a link over 4 KiB', texts: async () => ['a'.repeat(4_097)], reason: 'malformed' },
  { id: 'six links', texts: async () => chainOf({}, {}, {}, {}, {}, { depth: 0 }), reason: 'malformed' },
  {
    id: 'a statement of another kind',
    texts: async () => [await OWNER.sign('mesh-record+jws', payloadOf(unsigned(0, undefined)))],
    reason: 'malformed'
  },
  {
    id: 'an issuer that has not signed it',
    texts: async () => [(await signed(unsigned(0, undefined), BOB)).text],
    reason: 'signature'
  },
  {
    id: 'a member of a later version',
    texts: async () => [await OWNER.sign(GRANT_TYPE, { ...payloadOf(unsigned(0, undefined)), only: 'sundays' })],
    reason: 'malformed'
  },
  {
    id: 'a holder whose key is none',
    texts: async () => [
      await OWNER.sign(GRANT_TYPE, { ...payloadOf(unsigned(0, undefined)), aud: 'did:key:z6MkzzzzzzzzzzI' })
    ],
    reason: 'malformed'
  },
  { id: 'a res with a control character', texts: async () => chainOf({ res: 'tool:\0' }), reason: 'malformed' }
])('$id can not be read', async ({ texts, reason }) => {
  expect(await failureOf(readGrantChain(await texts()))).toMatchObject(refusal(reason))
})

it('a chain with any one character changed is refused', async () => {
  const texts = await chainOf({}, { uses: 3 })
  const alphabet = Array.from({ length: 94 }, (_, n) => String.fromCharCode(33 + n))
  const place = fc.tuple(fc.nat(1), fc.nat(), fc.constantFrom(...alphabet))
  await fc.assert(
    fc.asyncProperty(place, async ([link, at, character]) => {
      const text = texts[link] ?? ''
      const n = at % text.length
      fc.pre(text[n] !== character)
      const changed = texts.with(link, text.slice(0, n) + character + text.slice(n + 1))
      expect(await failureOf(judged(changed))).toMatchObject({ code: 'UNAUTHENTICATED' })
    }),
    { numRuns: 300 }
  )
})

const pattern = fc.string({ unit: fc.constantFrom('a', 'b', '*'), minLength: 0, maxLength: 6 })

/** All texts of these characters, up to a length. */
function textsOf(characters: readonly string[], length: number): string[] {
  let level = ['']
  const all = ['']
  for (let n = 0; n < length; n += 1) {
    level = level.flatMap((text) => characters.map((character) => text + character))
    all.push(...level)
  }
  return all
}

it('a glob covers another exactly when it matches everything that the other does', () => {
  // Three stars that stand for one character each, and three others, are told apart by a character that neither has
  const texts = textsOf(['a', 'b', 'x'], 6)
  fc.assert(
    fc.property(pattern, pattern, (wider, narrower) => {
      const [matchesWider, matchesNarrower] = [compileGlob(wider), compileGlob(narrower)]
      const all = texts.every((text) => !matchesNarrower(text) || matchesWider(text))
      expect(coversGlob(wider, narrower)).toBe(all)
    }),
    { numRuns: 2_000 }
  )
})

it('what a link allows, each link before it allows too', async () => {
  const glob = fc.string({ unit: fc.constantFrom('a', '*'), minLength: 1, maxLength: 3 })
  const terms = fc.record(
    {
      act: glob,
      res: glob,
      uses: fc.integer({ min: 1, max: 3 }),
      expiresAt: fc.integer({ min: START + 1, max: START + 3 })
    },
    { requiredKeys: ['act', 'res'] }
  )
  const texts = textsOf(['a', 'x'], 4)
  let accepted = 0
  await fc.assert(
    fc.asyncProperty(fc.array(terms, { minLength: 2, maxLength: 2 }), async (links) => {
      const chain = await judged(await chainOf(...links)).catch(() => undefined)
      if (chain === undefined) return
      accepted += 1
      for (const [n, link] of chain.entries()) {
        const parent = chain[n - 1]
        if (parent === undefined) continue
        expect(link.uses ?? Infinity).toBeLessThanOrEqual(parent.uses ?? Infinity)
        expect(link.expiresAt ?? Infinity).toBeLessThanOrEqual(parent.expiresAt ?? Infinity)
        for (const text of texts) {
          expect(compileGlob(parent.act)(text) || !compileGlob(link.act)(text)).toBe(true)
          expect(compileGlob(parent.res)(text) || !compileGlob(link.res)(text)).toBe(true)
        }
      }
    }),
    { numRuns: 300 }
  )
  expect(accepted).toBeGreaterThan(10)
})
