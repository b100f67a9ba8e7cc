import { readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { grantVectors } from '../../scripts/grant-vectors.ts'
import { judgeGrantChain, payloadOf, readGrantChain } from '../../src/grants/chain.ts'
import * as constants from '../../src/grants/constants.ts'
import { readRevocations } from '../../src/grants/revocations.ts'
import { failureOf } from '../nodes.ts'
import { refusal } from './kit.ts'

interface Vectors {
  readonly chains: ReadonlyArray<{
    readonly name: string
    readonly now: string
    readonly chain: readonly string[]
    readonly says?: unknown
    readonly reason?: string
  }>
  readonly revocations: ReadonlyArray<{
    readonly name: string
    readonly now: string
    readonly jws: string
    readonly ids?: readonly string[]
    readonly code?: string
  }>
}

const FILE = new URL('../../protocols/permission/1.0.0/vectors/grants.json', import.meta.url)
const { chains, revocations }: Vectors = JSON.parse(readFileSync(FILE, 'utf8'))

/** Reads and judges as the owner and the holder do, without what only they know. */
async function judged({ chain, now }: Vectors['chains'][number]): Promise<unknown> {
  const links = await readGrantChain(chain)
  judgeGrantChain(links, Date.parse(now))
  return links.map(payloadOf)
}

describe('chains of grants', () => {
  it('are those that the script makes', () => {
    expect(JSON.parse(grantVectors())).toEqual({ chains, revocations })
  })

  it.each(chains.filter(({ reason }) => reason === undefined))('$name: is good', async (vector) => {
    expect(await judged(vector)).toEqual(vector.says)
  })

  it.each(chains.filter(({ reason }) => reason !== undefined))('$name: is refused', async (vector) => {
    expect(await failureOf(judged(vector))).toMatchObject(refusal(vector.reason ?? ''))
  })
})

describe('lists of revocations', () => {
  it.each(revocations.filter(({ code }) => code === undefined))('$name: is read', async ({ jws, now, ids }) => {
    expect([...(await readRevocations(jws, Date.parse(now))).ids]).toEqual(ids)
  })

  it.each(revocations.filter(({ code }) => code !== undefined))('$name: is refused', async ({ jws, now, code }) => {
    expect(await failureOf(readRevocations(jws, Date.parse(now)))).toMatchObject({ code })
  })
})

const page = readFileSync(new URL('../../protocols/permission/1.0.0/grants.md', import.meta.url), 'utf8')
const count = (value: number): string => value.toLocaleString('en')

it.each([
  `a list of 1 to ${constants.MAX_CHAIN} compact`,
  `at most ${count(constants.MAX_GRANT_BYTES)} characters, and \`kid\``,
  `1 to ${constants.MAX_GRANT_ID_LENGTH} of`,
  `1 to ${constants.MAX_GLOB_LENGTH} characters, none`,
  `calls in all, 1 to ${count(constants.MAX_USES)}`,
  `passed on, 0 to ${constants.MAX_DEPTH}`,
  `at most ${constants.MAX_CLOCK_SKEW_MS / 60_000} minutes ahead of`,
  `at most ${constants.MAX_PRESENTED} on each`,
  `at most ${constants.MAX_COUNTED_PER_GRANT} for each grant`,
  `in use for ${constants.UNUSED_AFTER_MS / 86_400_000} days`,
  `at most ${count(constants.MAX_GRANTS)} grants in force, ${constants.MAX_GRANTS_PER_HOLDER} of one holder`,
  `at most ${count(constants.MAX_REVOCATIONS_BYTES)} characters:`,
  `at most ${count(constants.MAX_REVOKED_IDS)} \`jti\``,
  `at most ${count(constants.MAX_PASSED_ON)} that have not expired`,
  `up to ${count(constants.MAX_REVOKING_ISSUERS)} issuers`
])('the page says "%s"', (says) => {
  expect(page).toContain(says)
})
