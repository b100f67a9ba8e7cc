import { expect, it } from 'vitest'
import type { Session } from '../../src/auth/index.ts'
import {
  type Grant,
  MAX_COUNTED_PER_GRANT,
  MAX_GRANTS_PER_HOLDER,
  MAX_PASSED_ON,
  MAX_PRESENTED,
  MAX_REVOCATIONS_BYTES,
  MAX_REVOKED_IDS,
  MAX_REVOKING_ISSUERS,
  MAX_SESSION_GRANTS
} from '../../src/grants/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { failureOf } from '../nodes.ts'
import { handMade, type Party, party, question, READ, refusal, START, sessionOf } from './kit.ts'

const ANN = createIdentity().id

/** Takes one use of whatever fits. */
async function use({ grants }: Pick<Party, 'grants'>, ...asked: Parameters<typeof question>): Promise<boolean> {
  return (await grants.find(question(...asked))?.take()) ?? false
}

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

it('a chain through a blocked peer is refused for as long as that peer is blocked', async () => {
  const { owner, guest: middle, sub } = await threeParties({}, { depth: 1 })
  const last = await party()
  const { id, chain } = await middle.grants.delegate(sub.id, last.id, {})
  const session = sessionOf(last.id)
  await owner.grants.present(session, chain)
  expect(owner.grants.find(question(last.id, { session }))?.grant.id).toBe(id)
  owner.blocked.add(middle.id)
  expect(owner.grants.find(question(last.id, { session }))).toBeUndefined()
  expect(await failureOf(owner.grants.present(sessionOf(last.id), chain))).toMatchObject(refusal('revoked'))
  owner.blocked.delete(middle.id)
  expect(owner.grants.find(question(last.id, { session }))?.grant.id).toBe(id)
})

it('a blocked peer is given nothing, not even what was being written when it was blocked', async () => {
  const { owner, holder, guest, root } = await threeParties()
  const writing = owner.grants.issue({ holder: guest.id, ...READ })
  owner.blocked.add(guest.id)
  expect(await writing).toMatchObject({ state: 'revoked' })
  holder.blocked.add(guest.id)
  const refused = { code: 'INVALID_ARGUMENT', message: expect.stringContaining('blocked') }
  expect(await failureOf(owner.grants.issue({ holder: guest.id, ...READ }))).toMatchObject(refused)
  expect(await failureOf(holder.grants.delegate(root.id, guest.id, {}))).toMatchObject(refused)
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
  expect((await Promise.all(uses.map(async (each) => each?.take()))).filter((each) => each === true)).toHaveLength(2)
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
  const prf = await hashOf(root.chain[0] ?? '')
  const forged = await handMade(holder, guest, { jti: root.id, sub: owner.identity.did, uses: 1, prf })
  const session = sessionOf(guest.id)
  await owner.grants.present(session, [...root.chain, forged])
  expect(await use(owner, guest.id, { session })).toBe(true)
  expect(await use(owner, guest.id, { session })).toBe(false)
  expect(owner.grants.get(root.id)).toMatchObject({ role: 'issued', used: 1, uses: 9, state: 'valid' })
})

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
  const inAnothersName = { v: 1, iss: owner.identity.did, seq: START * 2, iat: START / 1000, ids: [] }
  const forged = await holder.identity.sign('mesh-revocations+jws', inAnothersName)
  for (const bad of [forged, 'x', `${after.slice(0, -4)}AAAA`, root.chain[0] ?? '']) {
    expect(await failureOf(guest.grants.learnRevocations(bad))).toMatchObject({ code: 'INVALID_RECORD' })
  }
  const ahead = { v: 1, iss: holder.identity.did, seq: 1, iat: (START + 601_000) / 1000, ids: [] }
  const early = await holder.identity.sign('mesh-revocations+jws', ahead)
  expect(await failureOf(guest.grants.learnRevocations(early))).toMatchObject({ code: 'INVALID_RECORD' })
})

it('a chain is kept by its holder only, for resources of others, once', async () => {
  const { owner, holder, guest, root, sub } = await threeParties()
  expect(await failureOf(owner.grants.keep(sub.chain))).toMatchObject(refusal('wrong-peer'))
  expect(await guest.grants.keep(sub.chain)).toMatchObject({ id: sub.id })
  const back = await holder.grants.delegate(root.id, owner.id, {})
  expect(await failureOf(owner.grants.keep(back.chain))).toMatchObject(refusal('wrong-audience'))
  const same = await handMade(holder, guest, { jti: sub.id })
  expect(await failureOf(guest.grants.keep([same]))).toMatchObject(refusal('replayed'))
})

it('a chain is presented to the owner of the resource only, who has to know where it began', async () => {
  const { owner, holder, guest, sub, session } = await threeParties()
  expect(await failureOf(holder.grants.present(session, sub.chain))).toMatchObject(refusal('wrong-audience'))
  const afresh = await party({ identity: owner.identity })
  expect(await failureOf(afresh.grants.present(session, sub.chain))).toMatchObject(refusal('unknown'))
  expect(guest.grants.get(sub.id)?.state).toBe('valid')
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

it('a list of revocations fits into a message, and has whatever was passed on', async () => {
  const { owner, holder, sub } = await threeParties()
  await holder.grants.revoke(sub.id)
  for (let n = 0; n < MAX_REVOKED_IDS; n += 1) {
    holder.now += 1
    await holder.grants.revoke((await holder.grants.issue({ holder: owner.id, ...READ })).id)
  }
  const list = await holder.grants.revocations()
  expect(list.length).toBeLessThan(MAX_REVOCATIONS_BYTES)
  const { ids } = JSON.parse(Buffer.from(list.split('.')[1] ?? '', 'base64url').toString())
  expect(ids).toHaveLength(MAX_REVOKED_IDS)
  expect(ids[0]).toBe(sub.id)
  await owner.grants.learnRevocations(list)
  expect(await failureOf(owner.grants.present(sessionOf(sub.holder), sub.chain))).toMatchObject(refusal('revoked'))
})

it('the lists of strangers do not push out that of an issuer who matters', async () => {
  const { guest, owner, root } = await threeParties()
  await owner.grants.revoke(root.id)
  await guest.grants.learnRevocations(await owner.grants.revocations())
  const says = { v: 1, seq: 1, iat: START / 1000, ids: [] }
  for (let n = 0; n <= MAX_REVOKING_ISSUERS; n += 1) {
    const stranger = createIdentity()
    await guest.grants.learnRevocations(await stranger.sign('mesh-revocations+jws', { ...says, iss: stranger.did }))
  }
  expect(guest.store.get('SELECT count(*) AS n FROM grant_revocations')).toEqual({ n: MAX_REVOKING_ISSUERS })
  for (const grants of [guest.grants, await guest.reopen()]) expect(grants.list()).toMatchObject([{ state: 'revoked' }])
})

it('a node passes a bounded number of grants on', async () => {
  const { guest, holder, root } = await threeParties()
  for (let n = 1; n < MAX_PASSED_ON; n += 1) await holder.grants.delegate(root.id, guest.id, {})
  expect(await failureOf(holder.grants.delegate(root.id, guest.id, {}))).toMatchObject({ code: 'BUSY' })
})

async function hashOf(text: string): Promise<string> {
  return Buffer.from(await crypto.subtle.digest('SHA-256', Buffer.from(text))).toString('base64url')
}
