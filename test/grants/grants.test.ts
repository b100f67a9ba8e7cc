import { join } from 'node:path'
import { expect, it } from 'vitest'
import { type Grant, MAX_HELD } from '../../src/grants/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { digest } from '../../src/wire/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { ALL, DAY, handMade, type Party, party, question, READ, START, sessionOf } from './kit.ts'

const ANN = createIdentity().id

/** Takes one use of whatever fits. */
async function use({ grants }: Pick<Party, 'grants'>, ...asked: Parameters<typeof question>): Promise<boolean> {
  return (await grants.find(question(...asked))?.take()) ?? false
}

it('a grant lets its holder do what it says, and nobody else, and nothing else', async () => {
  const owner = await party()
  const { id } = await owner.grants.issue({ holder: ANN, ...READ })
  expect(owner.events).toEqual([['grant:issued', { id, holder: ANN, res: READ.res }]])
  expect(owner.grants.find(question(ANN))?.grant).toMatchObject({ id, state: 'valid', role: 'issued', used: 0 })
  expect(owner.grants.find(question(owner.id))).toBeUndefined()
  expect(owner.grants.find(question(ANN, { resource: 'tool:fs/write_file' }))).toBeUndefined()
  expect(owner.grants.find(question(ANN, { action: 'skill.call' }))).toBeUndefined()
})

it('a grant for one input or one definition fits nothing else', async () => {
  const owner = await party()
  const input = digest({ path: '/etc/motd' })
  await owner.grants.issue({ holder: ANN, ...READ, input, digest: 'd'.repeat(43) })
  const asked = { input: () => input, digest: 'd'.repeat(43) }
  expect(owner.grants.find(question(ANN, asked))).toBeDefined()
  expect(owner.grants.find(question(ANN, { ...asked, input: () => digest({}) }))).toBeUndefined()
  expect(owner.grants.find(question(ANN, { ...asked, digest: 'e'.repeat(43) }))).toBeUndefined()
  expect(owner.grants.find(question(ANN))).toBeUndefined()
})

it('a grant without a limit is used before one with', async () => {
  const owner = await party()
  const limited = await owner.grants.issue({ holder: ANN, ...READ, uses: 1 })
  const short = await owner.grants.issue({ holder: ANN, ...ALL, expiresAt: START + 1 })
  const long = await owner.grants.issue({ holder: ANN, ...ALL, expiresAt: START + 2 })
  const found = () => owner.grants.find(question(ANN))?.grant.id
  expect(found()).toBe(long.id)
  await owner.grants.revoke(long.id)
  expect(found()).toBe(short.id)
  await owner.grants.revoke(short.id)
  expect(found()).toBe(limited.id)
})

it.each([{ kept: 'in memory' }, { kept: 'in a file' }])(
  'of 50 calls at once, a grant for 20 lets exactly 20 in: $kept',
  async ({ kept }) => {
    const path = kept === 'in memory' ? undefined : join(await tempFolder(), 'mesh.db')
    const owner = await party(path === undefined ? {} : { path })
    const { id } = await owner.grants.issue({ holder: ANN, ...READ, uses: 20 })
    // All are found before the first is counted
    const uses = Array.from({ length: 50 }, () => owner.grants.find(question(ANN)))
    const taken = await Promise.all(uses.map(async (each) => each?.take()))
    expect(taken.filter((each) => each === true)).toHaveLength(20)
    expect(owner.grants.get(id)).toMatchObject({ used: 20, state: 'used-up' })
    expect(owner.grants.find(question(ANN))).toBeUndefined()
    const again = await owner.reopen()
    expect(again.get(id)).toMatchObject({ used: 20, state: 'used-up', lastUsedAt: new Date(START).toISOString() })
    expect(again.find(question(ANN))).toBeUndefined()
  }
)

it('a use is given back once', async () => {
  const owner = await party()
  const { id } = await owner.grants.issue({ holder: ANN, ...READ, uses: 2 })
  const [first, second] = [owner.grants.find(question(ANN)), owner.grants.find(question(ANN))]
  expect(await first?.take()).toBe(true)
  expect(await first?.take()).toBe(false)
  expect(await second?.take()).toBe(true)
  await first?.giveBack()
  await first?.giveBack()
  expect(owner.grants.get(id)).toMatchObject({ used: 1, state: 'valid' })
  expect((await owner.reopen()).get(id)).toMatchObject({ used: 1 })
})

it('a use that could not be written is not taken', async () => {
  const owner = await party()
  await owner.grants.issue({ holder: ANN, ...READ, uses: 1 })
  const found = owner.grants.find(question(ANN))
  await owner.store.close()
  await expect(found?.take()).rejects.toMatchObject({ code: 'CANCELLED' })
})

it('a grant ends at its expiry, or when it was unused for 30 days', async () => {
  const owner = await party()
  const short = await owner.grants.issue({ holder: ANN, act: 'a', res: 'a', expiresAt: START + 1_500 })
  const open = await owner.grants.issue({ holder: ANN, ...READ })
  owner.now = START + 1_500
  expect(owner.grants.get(short.id)).toMatchObject({ state: 'expired', expiresAt: START + 1_500 })
  owner.now = START + 20 * DAY
  expect(await use(owner, ANN)).toBe(true)
  owner.now = START + 50 * DAY - 1
  expect(owner.grants.get(open.id)?.state).toBe('valid')
  owner.now += 1
  expect(owner.grants.get(open.id)?.state).toBe('unused')
  expect(owner.grants.find(question(ANN))).toBeUndefined()
  expect((await owner.reopen()).get(open.id)?.state).toBe('unused')
})

it('a grant outlives a restart, and so does its revocation', async () => {
  const owner = await party({ path: join(await tempFolder(), 'mesh.db') })
  const [kept, gone] = [
    await owner.grants.issue({ holder: ANN, ...READ }),
    await owner.grants.issue({ holder: ANN, ...ALL })
  ]
  const told: Grant[] = []
  owner.grants.onRevoke((grant) => told.push(grant))
  expect(await owner.grants.revoke(gone.id)).toMatchObject({ state: 'revoked' })
  expect(told).toMatchObject([{ id: gone.id, state: 'revoked' }])
  const again = await owner.reopen()
  expect(again.get(kept.id)).toMatchObject({ ...READ, state: 'valid', chain: kept.chain })
  expect(again.get(gone.id)?.state).toBe('revoked')
  expect(again.find(question(ANN))?.grant.id).toBe(kept.id)
})

it('a grant for a session is good on that connection only, and is kept nowhere', async () => {
  const owner = await party()
  const session = sessionOf(ANN)
  const { id, chain } = await owner.grants.issue({ holder: ANN, ...READ, uses: 1, session })
  expect(chain).toEqual([])
  expect(owner.grants.find(question(ANN))).toBeUndefined()
  expect(owner.grants.list().map((grant) => grant.id)).toEqual([id])
  expect(await use(owner, ANN, { session })).toBe(true)
  expect(owner.grants.find(question(ANN, { session }))).toBeUndefined()
  expect(owner.grants.get(id)).toMatchObject({ state: 'used-up', used: 1 })
  expect((await owner.reopen()).list()).toEqual([])
  const other = await owner.grants.issue({ holder: ANN, ...READ, session })
  expect(owner.grants.find(question(ANN, { session }))?.grant.id).toBe(other.id)
  await owner.grants.revoke(other.id)
  expect(owner.grants.find(question(ANN, { session }))).toBeUndefined()
  const elsewhere = owner.grants.issue({ holder: ANN, ...READ, session: sessionOf(owner.id) })
  await expect(elsewhere).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it.each([
  { id: 'an empty act', terms: { act: '' } },
  { id: 'a res with a line break', terms: { res: 'a\nb' } },
  { id: 'no use at all', terms: { uses: 0 } },
  { id: 'half a use', terms: { uses: 1.5 } },
  { id: 'a depth of five', terms: { depth: 5 } },
  { id: 'an expiry that has passed', terms: { expiresAt: START } },
  { id: 'an input that is no digest', terms: { input: 'x' } },
  { id: 'a holder that is no peer', terms: { holder: 'api-key:ci' } },
  {
    id: 'globs that make it too long',
    terms: { act: '木'.repeat(512), res: '木'.repeat(512) }
  }
])('no grant is made with $id', async ({ terms }) => {
  const owner = await party()
  const made = failureOf(owner.grants.issue({ holder: ANN, ...READ, ...terms }))
  expect(await made).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(owner.grants.list()).toEqual([])
})

it('a node gives no grant to itself', async () => {
  const owner = await party()
  await expect(owner.grants.issue({ holder: owner.id, ...READ })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it('revocations at once are all on the list, which moves on with each', async () => {
  const owner = await party()
  const made = await Promise.all(Array.from({ length: 10 }, () => owner.grants.issue({ holder: ANN, ...READ })))
  const told: Promise<string>[] = []
  owner.grants.onRevoke(() => void told.push(owner.grants.revocations()))
  await Promise.all(made.map(({ id }) => owner.grants.revoke(id)))
  const idsOf = (list: string) => JSON.parse(Buffer.from(list.split('.')[1] ?? '', 'base64url').toString())
  const last = idsOf(await owner.grants.revocations())
  expect(last.ids.toSorted()).toEqual(made.map(({ id }) => id).toSorted())
  const bySeq = new Map<number, number>()
  for (const { seq, ids } of (await Promise.all(told)).map(idsOf)) {
    expect(bySeq.get(seq) ?? ids.length).toBe(ids.length)
    bySeq.set(seq, ids.length)
  }
  expect(bySeq.size).toBe(10)
  expect(idsOf(await (await owner.reopen()).revocations())).toMatchObject({ seq: last.seq })
})

it('a revoked grant leaves the list when it would have expired', async () => {
  const owner = await party()
  const { id } = await owner.grants.issue({ holder: ANN, ...READ, expiresAt: START + 10 })
  await owner.grants.revoke(id)
  owner.now = START + 10
  const list = await (await owner.reopen()).revocations()
  expect(JSON.parse(Buffer.from(list.split('.')[1] ?? '', 'base64url').toString()).ids).toEqual([])
})

it('everything of a holder is revoked at once', async () => {
  const owner = await party()
  const session = sessionOf(ANN)
  await owner.grants.issue({ holder: ANN, ...READ })
  await owner.grants.issue({ holder: ANN, ...ALL, session })
  const other = await owner.grants.issue({ holder: createIdentity().id, ...READ })
  expect(await owner.grants.revokeHolder(ANN)).toBe(2)
  expect(await owner.grants.revokeHolder(ANN)).toBe(0)
  expect(owner.grants.find(question(ANN, { session }))).toBeUndefined()
  expect(owner.grants.get(other.id)?.state).toBe('valid')
})

it.each([
  { id: 'revoke', run: ({ grants }: Party, id: string) => grants.revoke(id) },
  { id: 'delegate', run: ({ grants }: Party, id: string) => grants.delegate(id, ANN, {}) }
])('$id needs a grant that there is', async ({ run }) => {
  expect(await failureOf(run(await party(), 'nothing'))).toMatchObject({ code: 'NOT_FOUND' })
})

it('a node keeps a bounded number of chains, and ended ones make room', async () => {
  const [owner, holder] = [await party(), await party()]
  const give = async (expiresAt: number): Promise<Grant> => {
    return holder.grants.keep([await handMade(owner, holder, { exp: expiresAt / 1000 })])
  }
  const short = await give(START + 1_000)
  for (let n = 1; n < MAX_HELD; n += 1) await give(START + DAY)
  expect(await failureOf(give(START + DAY))).toMatchObject({ code: 'BUSY' })
  holder.now = START + 1_000
  expect(await give(START + DAY)).toMatchObject({ state: 'valid' })
  expect(holder.grants.get(short.id)).toBeUndefined()
})

it('grants that ended are forgotten when there are many, the oldest first', async () => {
  const owner = await party()
  const first = await owner.grants.issue({ holder: ANN, ...READ, expiresAt: START + 1 })
  owner.now = START + 1
  for (let n = 0; n < 502; n += 1) {
    await owner.grants.issue({ holder: ANN, ...READ, expiresAt: owner.now + 1 })
    owner.now += 1
  }
  expect(owner.grants.get(first.id)).toBeUndefined()
  expect(owner.grants.list()).toHaveLength(501)
  expect((await owner.reopen()).list()).toHaveLength(501)
})
