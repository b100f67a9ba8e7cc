import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { Session } from '../../src/auth/index.ts'
import {
  type Grant,
  MAX_COUNTED_PER_GRANT,
  MAX_GRANTS_PER_HOLDER,
  MAX_HELD,
  MAX_PRESENTED,
  MAX_SESSION_GRANTS
} from '../../src/grants/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { digest } from '../../src/wire/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { ALL, DAY, type Party, party, question, READ, refusal, START, sessionOf } from './kit.ts'

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
    const taken = await Promise.all(uses.map((each) => each?.take()))
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

/** An owner, the holder of a grant that may be passed on, and whom it was passed on to. */
async function threeParties(
  terms: Partial<Grant> = {},
  narrower: Partial<Grant> = {}
): Promise<{ owner: Party; holder: Party; guest: Party; root: Grant; sub: Grant; session: Session }> {
  const [owner, holder, guest] = [await party(), await party(), await party()]
  const root = await owner.grants.issue({ holder: holder.id, ...READ, depth: 2, ...terms })
  await holder.grants.keep(root.chain)
  const sub = await holder.grants.delegate(root.id, guest.id, narrower)
  await guest.grants.keep(sub.chain)
  return { owner, holder, guest, root, sub, session: sessionOf(guest.id) }
}

it('a grant that was passed on is good once it is presented, on that connection, by its holder', async () => {
  const { owner, guest, holder, root, sub, session } = await threeParties()
  expect(guest.grants.toPresent(owner.id)).toMatchObject([{ id: sub.id, role: 'held', owner: owner.id }])
  expect(guest.grants.toPresent(holder.id)).toEqual([])
  expect(holder.grants.toPresent(owner.id)).toEqual([])
  const asked = { session }
  expect(owner.grants.find(question(guest.id, asked))).toBeUndefined()
  const presented = await owner.grants.present(session, sub.chain)
  expect(presented).toMatchObject({ id: sub.id, role: 'presented', issuer: holder.id, state: 'valid' })
  expect(owner.grants.find(question(guest.id, asked))?.grant.id).toBe(sub.id)
  expect(owner.grants.find(question(guest.id))).toBeUndefined()
  expect(await failureOf(owner.grants.present(sessionOf(ANN), sub.chain))).toMatchObject(refusal('wrong-peer'))
  expect(owner.grants.list().map(({ role }) => role)).toEqual(['issued', 'presented'])
  expect(await owner.grants.present(sessionOf(holder.id), root.chain)).toMatchObject({ id: root.id, role: 'issued' })
})

it('a grant is kept over a restart of its holder', async () => {
  const { guest, owner, sub } = await threeParties()
  expect((await guest.reopen()).toPresent(owner.id)).toMatchObject([{ id: sub.id, chain: sub.chain, state: 'valid' }])
})

it.each<{ id: string; terms: Partial<Grant>; narrower: Partial<Grant> }>([
  { id: 'more', terms: {}, narrower: { res: 'tool:fs/*' } },
  { id: 'longer', terms: { expiresAt: START + 1_000 }, narrower: { expiresAt: START + 1_001 } },
  { id: 'oftener', terms: { uses: 2 }, narrower: { uses: 3 } },
  { id: 'as deep', terms: { depth: 1 }, narrower: { depth: 1 } },
  { id: 'although it may not be', terms: { depth: 0 }, narrower: {} },
  { id: 'for another input', terms: { input: 'i'.repeat(43) }, narrower: { input: 'j'.repeat(43) } }
])('a grant is not passed on $id', async ({ terms, narrower }) => {
  expect(await failureOf(threeParties(terms, narrower))).toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it('what is passed on keeps the limits of what it came from, unless it says less', async () => {
  const limits = { uses: 5, expiresAt: START + 5_000, input: 'i'.repeat(43) }
  const { sub, guest } = await threeParties(limits, { depth: 1 })
  expect(sub).toMatchObject({ ...limits, depth: 1 })
  const next = await guest.grants.delegate(sub.id, ANN, { uses: 2 })
  expect(next).toMatchObject({ ...limits, uses: 2, depth: 0 })
  expect(next.chain).toHaveLength(3)
})

it('a use of what was passed on counts for all that it came from, all or none', async () => {
  const { owner, holder, guest, root, sub, session } = await threeParties({ uses: 3 }, { uses: 2 })
  await owner.grants.present(session, sub.chain)
  const uses = Array.from({ length: 10 }, () => owner.grants.find(question(guest.id, { session })))
  expect((await Promise.all(uses.map((each) => each?.take()))).filter((each) => each === true)).toHaveLength(2)
  expect(owner.grants.get(root.id)).toMatchObject({ used: 2, state: 'valid' })
  expect(owner.grants.get(sub.id)).toMatchObject({ used: 2, state: 'used-up' })
  expect(await use(owner, holder.id)).toBe(true)
  expect(await use(owner, holder.id)).toBe(false)
  // Presented anew, after a restart, it has not become young again
  const again = await owner.reopen()
  const other = sessionOf(guest.id)
  expect(await failureOf(again.present(other, sub.chain))).toMatchObject(refusal('expired'))
})

it('a limit of what was passed on is kept over a restart of the owner', async () => {
  const { owner, guest, sub, session } = await threeParties({}, { uses: 1 })
  await owner.grants.present(session, sub.chain)
  const first = owner.grants.find(question(guest.id, { session }))
  expect(await first?.take()).toBe(true)
  await first?.giveBack()
  expect(await use(owner, guest.id, { session })).toBe(true)
  const again = await owner.reopen()
  const other = sessionOf(guest.id)
  expect(await again.present(other, sub.chain)).toMatchObject({ used: 1, state: 'used-up' })
  expect(again.find(question(guest.id, { session: other }))).toBeUndefined()
})

it("a holder who gives its own grant the id of another's does not touch that one's count", async () => {
  const { owner, holder, guest, root } = await threeParties({ uses: 9 })
  const forged = await holder.identity.sign('mesh-grant+jws', {
    ...{ v: 1, jti: root.id, iss: holder.identity.did, aud: guest.identity.did, sub: owner.identity.did },
    ...{ act: READ.act, res: READ.res, iat: START / 1000, uses: 1, dep: 0 },
    prf: await hashOf(root.chain[0] ?? '')
  })
  const session = sessionOf(guest.id)
  await owner.grants.present(session, [...root.chain, forged])
  expect(await use(owner, guest.id, { session })).toBe(true)
  expect(await use(owner, guest.id, { session })).toBe(false)
  expect(owner.grants.get(root.id)).toMatchObject({ role: 'issued', used: 1, uses: 9, state: 'valid' })
})

async function hashOf(text: string): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(text))).toString('base64url')
}

it('a revoked grant kills what came from it, also where it is presented already', async () => {
  const { owner, guest, root, sub, session } = await threeParties()
  await owner.grants.present(session, sub.chain)
  const found = owner.grants.find(question(guest.id, { session }))
  await owner.grants.revoke(root.id)
  expect(await found?.take()).toBe(false)
  expect(owner.grants.find(question(guest.id, { session }))).toBeUndefined()
  expect(await failureOf(owner.grants.present(sessionOf(guest.id), sub.chain))).toMatchObject(refusal('revoked'))
})

it('other nodes learn from the list of the issuer that a grant is revoked', async () => {
  const { owner, holder, guest, sub, session } = await threeParties()
  await owner.grants.present(session, sub.chain)
  await holder.grants.revoke(sub.id)
  const list = await holder.grants.revocations()
  for (const each of [owner, guest]) {
    await each.grants.learnRevocations(list)
    expect(each.grants.get(sub.id)?.state).toBe('revoked')
    expect(each.events).toContainEqual(['grant:revoked', { id: sub.id, holder: guest.id }])
  }
  expect(owner.grants.find(question(guest.id, { session }))).toBeUndefined()
  const again = await owner.reopen()
  expect(await failureOf(again.present(sessionOf(guest.id), sub.chain))).toMatchObject(refusal('revoked'))
  const ignorant = await party({ identity: guest.identity })
  expect(await ignorant.grants.keep(sub.chain)).toMatchObject({ state: 'valid' })
})

it('an older list of revocations is refused, and the same one again changes nothing', async () => {
  const { holder, guest, owner, root } = await threeParties()
  const before = await owner.grants.revocations()
  await guest.grants.learnRevocations(before)
  await owner.grants.revoke(root.id)
  const after = await owner.grants.revocations()
  await guest.grants.learnRevocations(after)
  await guest.grants.learnRevocations(after)
  for (const grants of [guest.grants, await guest.reopen()]) {
    expect(await failureOf(grants.learnRevocations(before))).toMatchObject({ code: 'INVALID_RECORD' })
    expect(grants.list()).toMatchObject([{ state: 'revoked' }])
  }
  const forged = await holder.identity.sign('mesh-revocations+jws', {
    ...{ v: 1, iss: owner.identity.did, seq: START * 2, iat: START / 1000, ids: [] }
  })
  for (const bad of [forged, 'x', `${after.slice(0, -4)}AAAA`, root.chain[0] ?? '']) {
    expect(await failureOf(guest.grants.learnRevocations(bad))).toMatchObject({ code: 'INVALID_RECORD' })
  }
  const ahead = { v: 1, iss: holder.identity.did, seq: 1, iat: (START + 601_000) / 1000, ids: [] }
  const early = await holder.identity.sign('mesh-revocations+jws', ahead)
  expect(await failureOf(guest.grants.learnRevocations(early))).toMatchObject({ code: 'INVALID_RECORD' })
})

it('revocations at once are all on the list, which moves on with each', async () => {
  const owner = await party()
  const made = await Promise.all(Array.from({ length: 10 }, () => owner.grants.issue({ holder: ANN, ...READ })))
  const lists: string[] = []
  owner.grants.onRevoke(() => void owner.grants.revocations().then((list) => lists.push(list)))
  await Promise.all(made.map(({ id }) => owner.grants.revoke(id)))
  const idsOf = (list: string) => JSON.parse(Buffer.from(list.split('.')[1] ?? '', 'base64url').toString())
  const last = idsOf(await owner.grants.revocations())
  expect(last.ids.toSorted()).toEqual(made.map(({ id }) => id).toSorted())
  const bySeq = new Map<number, number>()
  for (const { seq, ids } of lists.map(idsOf)) {
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

it('a chain is kept by its holder only, for resources of others, once', async () => {
  const { owner, holder, guest, root, sub } = await threeParties()
  expect(await failureOf(owner.grants.keep(sub.chain))).toMatchObject(refusal('wrong-peer'))
  expect(await guest.grants.keep(sub.chain)).toMatchObject({ id: sub.id })
  const back = await holder.grants.delegate(root.id, owner.id, {})
  expect(await failureOf(owner.grants.keep(back.chain))).toMatchObject(refusal('wrong-audience'))
  const same = await holder.identity.sign('mesh-grant+jws', {
    ...{ v: 1, jti: sub.id, iss: holder.identity.did, aud: guest.identity.did, sub: holder.identity.did },
    ...{ act: '*', res: '*', iat: START / 1000, dep: 0 }
  })
  expect(await failureOf(guest.grants.keep([same]))).toMatchObject(refusal('replayed'))
})

it('a chain is presented to the owner of the resource only, who has to know where it began', async () => {
  const { owner, holder, guest, sub, session } = await threeParties()
  expect(await failureOf(holder.grants.present(session, sub.chain))).toMatchObject(refusal('wrong-audience'))
  const afresh = await party({ identity: owner.identity })
  expect(await failureOf(afresh.grants.present(session, sub.chain))).toMatchObject(refusal('unknown'))
  expect(guest.grants.get(sub.id)?.state).toBe('valid')
})

it.each([
  { id: 'revoke', run: ({ grants }: Party, id: string) => grants.revoke(id) },
  { id: 'delegate', run: ({ grants }: Party, id: string) => grants.delegate(id, ANN, {}) }
])('$id needs a grant that there is', async ({ run }) => {
  expect(await failureOf(run(await party(), 'nothing'))).toMatchObject({ code: 'NOT_FOUND' })
})

it('a grant of another issuer can not be revoked, nor one passed on that has ended', async () => {
  const { guest, holder, owner, root, sub } = await threeParties()
  expect(await failureOf(guest.grants.revoke(sub.id))).toMatchObject({ code: 'FORBIDDEN' })
  await owner.grants.revoke(root.id)
  await holder.grants.learnRevocations(await owner.grants.revocations())
  expect(await failureOf(holder.grants.delegate(root.id, ANN, {}))).toMatchObject({
    code: 'INVALID_ARGUMENT',
    message: expect.stringContaining('revoked')
  })
})

it('what one peer or connection can make this node remember is bounded', async () => {
  const { owner, holder, guest, root, session } = await threeParties()
  for (let n = 0; n < MAX_PRESENTED; n += 1) {
    await owner.grants.present(session, (await holder.grants.delegate(root.id, guest.id, {})).chain)
  }
  const more = await holder.grants.delegate(root.id, guest.id, {})
  expect(await failureOf(owner.grants.present(session, more.chain))).toMatchObject({ code: 'BUSY' })
  for (let n = 0; n < MAX_COUNTED_PER_GRANT; n += 1) {
    const { chain } = await holder.grants.delegate(root.id, guest.id, { uses: 1 })
    await owner.grants.present(sessionOf(guest.id), chain)
  }
  const counted = await holder.grants.delegate(root.id, guest.id, { uses: 1 })
  expect(await failureOf(owner.grants.present(sessionOf(guest.id), counted.chain))).toMatchObject({ code: 'BUSY' })

  const other = sessionOf(ANN)
  for (let n = 0; n < MAX_SESSION_GRANTS; n += 1) await owner.grants.issue({ holder: ANN, ...READ, session: other })
  const last = owner.grants.issue({ holder: ANN, ...READ, session: other })
  expect(await failureOf(last)).toMatchObject({ code: 'BUSY' })
  for (let n = 0; n < MAX_GRANTS_PER_HOLDER; n += 1) await owner.grants.issue({ holder: ANN, ...READ })
  expect(await failureOf(owner.grants.issue({ holder: ANN, ...READ }))).toMatchObject({ code: 'BUSY' })
})

it('a node keeps a bounded number of chains, and ended ones make room', async () => {
  const [owner, holder] = [await party(), await party()]
  const give = async (expiresAt: number): Promise<Grant> => {
    const payload = { v: 1, iss: owner.identity.did, aud: holder.identity.did, sub: owner.identity.did, dep: 0 }
    const jti = crypto.randomUUID()
    const times = { iat: START / 1000, exp: expiresAt / 1000 }
    return holder.grants.keep([await owner.identity.sign('mesh-grant+jws', { ...payload, ...READ, ...times, jti })])
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
