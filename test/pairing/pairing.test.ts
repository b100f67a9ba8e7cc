import { randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { MAX_ENDED_PAIRS, MAX_INVITES, MAX_PAIRS, MAX_REDEEMS, PAIR } from '../../src/pairing/index.ts'
import { answerMac, inviteMac } from '../../src/pairing/macs.ts'
import { readToken } from '../../src/pairing/token.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { DAY, type Kit, MINUTE, START, Town } from './kit.ts'

const reason = (text: string): object => ({ code: 'UNAUTHENTICATED', data: { reason: text } })

/** A request to redeem with a proof by this secret. */
function requestOf(kit: Kit, token: string, secret?: Buffer) {
  const { id, peer: inviter, secret: right } = readToken(token)
  const nonce = randomBytes(16).toString('base64url')
  const key = secret ?? Buffer.from(right, 'base64url')
  const mac = inviteMac(key, { inviter, invitee: kit.identity.id, nonce })
  return { op: 'redeem', invite: id, nonce, mac, name: kit.name }
}

it('an invite makes two nodes known to each other, by name, with one fingerprint on both sides', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move({ name: 'ann' }), await town.move({ name: 'bob' })]
  const { token, fingerprint, expiresAt } = await ann.pairing.invite()
  expect(Date.parse(expiresAt)).toBe(START + 10 * MINUTE)
  expect(fingerprint).toMatch(/^(\d{5} ){4}\d{5}$/)
  const pair = await bob.pairing.join(`  ${token.slice(0, 40)}\n${token.slice(40)}\n`)
  const common = { level: 'known', fingerprint, pairedAt: new Date(START).toISOString() }
  expect(pair).toMatchObject({ peer: ann.identity.id, name: 'ann', alias: 'ann', ...common })
  expect(ann.pairing.pairs()).toMatchObject([{ peer: bob.identity.id, name: 'bob', alias: 'bob', ...common }])
  expect([ann.pairing.isPaired(bob.identity.id), bob.pairing.isPaired(ann.identity.id)]).toEqual([true, true])
  expect([ann.paired, bob.paired]).toEqual([[bob.identity.id], [ann.identity.id]])
})

it.each(['trusted', 'owner'] as const)('an invite of level %s gives it on the inviting side only', async (level) => {
  const town = new Town()
  const [ann, bob] = [await town.move({ name: 'ann' }), await town.move({ name: 'bob' })]
  await bob.pairing.join((await ann.pairing.invite({ level })).token)
  expect(ann.trust.of(bob.identity.id)).toEqual({ level, alias: 'bob' })
  expect(bob.trust.of(ann.identity.id)).toEqual({ level: 'known', alias: 'ann' })
  expect(ann.trust.list()).toMatchObject([{ setBy: 'owner' }])
})

it('pairing takes neither a higher level, nor a name of its own, nor the name of another', async () => {
  const town = new Town()
  const [ann, bob, other] = [await town.move({ name: 'ann' }), await town.move({ name: 'bob' }), await town.move()]
  await ann.trust.set(bob.identity.id, { level: 'trusted', alias: 'robert' })
  await bob.trust.set(other.identity.id, { alias: 'ann' })
  await bob.pairing.join((await ann.pairing.invite()).token)
  expect(ann.trust.of(bob.identity.id)).toEqual({ level: 'trusted', alias: 'robert' })
  expect(bob.pairing.pairs()).toMatchObject([{ name: 'ann', level: 'known' }])
  expect(bob.trust.of(ann.identity.id).alias).toBeUndefined()
})

it('a pair takes the place of the one before, whose invite is then good for nothing', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const [first, second] = [await ann.pairing.invite(), await ann.pairing.invite()]
  await bob.pairing.join(first.token)
  expect(await bob.pairing.join(second.token)).toMatchObject({ fingerprint: second.fingerprint })
  expect(ann.pairing.pairs()).toMatchObject([{ fingerprint: second.fingerprint }])
  expect(await failureOf(bob.tell(ann.identity.id, requestOf(bob, first.token)))).toMatchObject(reason('revoked'))
})

it('a blocked peer whose pair is ended stays blocked', async () => {
  const [ann, bob] = await new Town().pair()
  await ann.trust.set(bob.identity.id, { level: 'blocked' })
  await ann.pairing.unpair(bob.identity.id)
  expect(ann.trust.of(bob.identity.id).level).toBe('blocked')
})

it('a peer that has been blocked stays blocked', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite({ level: 'owner' })
  await ann.trust.set(bob.identity.id, { level: 'blocked' })
  await bob.pairing.join(token)
  expect(ann.trust.of(bob.identity.id).level).toBe('blocked')
})

it('a used invite is refused to a third, who learns why only if it has the secret', async () => {
  const town = new Town()
  const [ann, bob, eve] = [await town.move(), await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  await bob.pairing.join(token)
  expect(await failureOf(eve.pairing.join(token))).toMatchObject(reason('replayed'))
  expect([ann, eve].map(({ pairing }) => pairing.pairs().length)).toEqual([1, 0])
  expect(ann.trust.of(eve.identity.id).level).toBe('unknown')
})

it('used, burned, expired and unknown invites look the same to who guesses', async () => {
  const town = new Town()
  const [ann, bob, eve] = [await town.move(), await town.move(), await town.move()]
  const [used, burned, expired] = [
    await ann.pairing.invite(),
    await ann.pairing.invite(),
    await ann.pairing.invite({ forMs: 1_000 })
  ]
  const unknown = { token: (await bob.pairing.invite()).token }
  await bob.pairing.join(used.token)
  ann.now += 1_000
  const guess = () => randomBytes(16)
  for (let n = 0; n < 3; n += 1) await failureOf(eve.tell(ann.identity.id, requestOf(eve, burned.token, guess())))
  const answers = await Promise.all(
    [used, burned, expired, unknown].map(({ token }) =>
      failureOf(eve.tell(ann.identity.id, requestOf(eve, token, guess())))
    )
  )
  const bodies = answers.map((each) => JSON.stringify(each))
  expect(new Set(bodies)).toEqual(new Set([bodies[0]]))
  expect(answers[0]).toMatchObject(reason('unknown'))
})

it('three wrong proofs burn an invite, two do not', async () => {
  const town = new Town()
  const [ann, bob, eve] = [await town.move(), await town.move(), await town.move()]
  const [two, three] = [await ann.pairing.invite(), await ann.pairing.invite()]
  for (const { token } of [two, two, three, three, three]) {
    const guess = requestOf(eve, token, randomBytes(16))
    expect(await failureOf(eve.tell(ann.identity.id, guess))).toMatchObject(reason('unknown'))
  }
  expect(await failureOf(bob.pairing.join(three.token))).toMatchObject(reason('revoked'))
  expect(await bob.pairing.join(two.token)).toMatchObject({ level: 'known' })
})

it('a proof for one invitee is no proof for another', async () => {
  const town = new Town()
  const [ann, bob, eve] = [await town.move(), await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  expect(await failureOf(eve.tell(ann.identity.id, requestOf(bob, token)))).toMatchObject(reason('unknown'))
})

it('an invite is good until the millisecond at which it expires', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite({ forMs: MINUTE })
  ann.now += MINUTE - 1
  expect(await bob.pairing.join(token)).toMatchObject({ level: 'known' })
})

it.each([
  { id: 'has expired', lateMs: 0, says: 'expired' },
  { id: 'has been forgotten', lateMs: 2 * DAY, says: 'unknown' }
])('an invite that $id is refused', async ({ lateMs, says }) => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite({ forMs: MINUTE })
  ann.now += MINUTE + lateMs
  await ann.pairing.invite()
  expect(await failureOf(bob.pairing.join(token))).toMatchObject(reason(says))
})

it.each([-10, 10])(
  "only the inviter's clock counts for an invite: the invitee's is %i minutes off",
  async (minutes) => {
    const town = new Town()
    const [ann, bob] = [await town.move(), await town.move()]
    bob.now += minutes * MINUTE
    const { token } = await ann.pairing.invite({ forMs: MINUTE })
    expect(await bob.pairing.join(token)).toMatchObject({ pairedAt: new Date(START).toISOString() })
  }
)

it('of twenty nodes that redeem an invite at once exactly one is paired', async () => {
  const town = new Town()
  const ann = await town.move({ path: join(await tempFolder(), 'mesh.db') })
  const crowd = await Promise.all(Array.from({ length: 20 }, () => town.move()))
  const { token } = await ann.pairing.invite()
  const results = await Promise.allSettled(crowd.map(({ pairing }) => pairing.join(token)))
  expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(1)
  expect(ann.pairing.pairs()).toHaveLength(1)
  expect(ann.trust.list().filter(({ level }) => level === 'known')).toHaveLength(1)
  expect(crowd.filter(({ pairing }) => pairing.pairs().length === 1)).toHaveLength(1)
})

it('when the answer is lost, asking again gives the same pair', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move({ name: 'ann' }), await town.move({ name: 'bob' })]
  const { token } = await ann.pairing.invite({ level: 'owner' })
  town.onAnswer = () => {
    throw new MeshError('CONNECTION_LOST', 'the line broke')
  }
  expect(await failureOf(bob.pairing.join(token))).toMatchObject({ code: 'CONNECTION_LOST' })
  const [before] = ann.pairing.pairs()
  expect(bob.pairing.pairs()).toEqual([])
  town.onAnswer = (answer) => answer
  ann.now += MINUTE
  const pair = await bob.pairing.join(token)
  expect(ann.pairing.pairs()).toEqual([before])
  expect(pair).toMatchObject({ pairedAt: before?.pairedAt, fingerprint: before?.fingerprint, keyId: before?.keyId })
  expect(await bob.pairing.join(token)).toEqual(pair)
  expect([ann.paired, bob.paired]).toEqual([[bob.identity.id], [ann.identity.id]])
})

it('an inviter that dies after it has burned the invite and before it has set the level makes up for it', async () => {
  const town = new Town()
  const dead = new MeshError('IO', 'the machine is off')
  const ann = await town.move({
    name: 'ann',
    trust: (trust) => ({ ...trust, of: trust.of, named: () => undefined, set: () => Promise.reject(dead) })
  })
  const bob = await town.move({ name: 'bob' })
  const { token } = await ann.pairing.invite({ level: 'trusted' })
  expect(await failureOf(bob.pairing.join(token))).toMatchObject({ code: 'IO' })
  const again = await town.move({ name: 'ann', before: ann })
  expect(again.trust.of(bob.identity.id)).toEqual({ level: 'trusted', alias: 'bob' })
  expect(again.paired).toEqual([bob.identity.id])
  expect(await bob.pairing.join(token)).toMatchObject({ peer: ann.identity.id, alias: 'ann' })
  expect(again.pairing.pairs()).toHaveLength(1)
})

it('what the owner has said after a pairing stands after a restart', async () => {
  const town = new Town()
  const [ann, bob] = await town.pair()
  await ann.trust.set(bob.identity.id, { level: 'unknown' })
  const again = await town.move({ name: 'ann', before: ann })
  expect(again.trust.of(bob.identity.id)).toMatchObject({ level: 'unknown' })
  expect(again.pairing.pairs()).toMatchObject([{ peer: bob.identity.id, level: 'unknown' }])
})

it('unpairing takes level, name and secret, and the invite does not give them back', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move({ name: 'ann' }), await town.move({ name: 'bob' })]
  const { token } = await ann.pairing.invite({ level: 'owner' })
  await bob.pairing.join(token)
  await ann.pairing.unpair('bob')
  expect(ann.trust.of(bob.identity.id)).toEqual({ level: 'unknown' })
  expect([ann.pairing.pairs(), ann.unpaired]).toEqual([[], [bob.identity.id]])
  expect(await ann.pairing.secretsOf(bob.identity.id)).toEqual([])
  expect(ann.store.all('SELECT sealed, statement FROM pair')).toMatchObject([{ sealed: '', statement: null }])
  expect(await failureOf(bob.tell(ann.identity.id, requestOf(bob, token)))).toMatchObject(reason('revoked'))
  expect(await failureOf(ann.pairing.unpair('bob'))).toMatchObject({ code: 'NOT_FOUND' })
  const again = await town.move({ before: ann })
  expect(again.pairing.isPaired(bob.identity.id)).toBe(false)
})

it('an ended pair can be made anew, by another invite', async () => {
  const town = new Town()
  const [ann, bob] = await town.pair()
  await ann.pairing.unpair(bob.identity.id)
  const { token, fingerprint } = await ann.pairing.invite()
  expect(await bob.pairing.join(token)).toMatchObject({ fingerprint, level: 'known' })
  expect(ann.pairing.pairs()).toMatchObject([{ fingerprint, level: 'known', alias: 'bob' }])
})

it('the invitee believes no terms that the secret does not vouch for', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  town.onAnswer = (answer) => ({ ...(answer as object), name: 'somebody else' })
  expect(await failureOf(bob.pairing.join(token))).toMatchObject(reason('signature'))
  town.onAnswer = () => ({ ok: true })
  expect(await failureOf(bob.pairing.join(token))).toMatchObject({ code: 'INVALID_MESSAGE' })
  expect([bob.pairing.pairs(), bob.trust.list()]).toEqual([[], []])
})

it('the invitee takes an answer of a later version, as far as the secret vouches for all of it', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move({ name: 'ann' }), await town.move()]
  const { token } = await ann.pairing.invite()
  const secret = Buffer.from(readToken(token).secret, 'base64url')
  const terms = { level: 'known' as const, name: 'ann', pairedAt: new Date(START).toISOString(), colour: 'blue' }
  town.endpoints.set(ann.identity.id, {
    protocol: PAIR,
    handle(body) {
      const { nonce } = body as { nonce: string }
      const redemption = { inviter: ann.identity.id, invitee: bob.identity.id, nonce }
      return { ...terms, mac: answerMac(secret, redemption, terms) }
    }
  })
  expect(await bob.pairing.join(token)).toMatchObject({ name: 'ann', level: 'known' })
})

it('no peer may try more than a few times a minute', async () => {
  const town = new Town()
  const [ann, eve] = [await town.move(), await town.move()]
  const { token } = await eve.pairing.invite()
  const ask = () => failureOf(eve.tell(ann.identity.id, requestOf(eve, token)))
  for (let n = 0; n < MAX_REDEEMS; n += 1) expect(await ask()).toMatchObject(reason('unknown'))
  expect(await ask()).toMatchObject({ code: 'BUSY' })
  ann.now += MINUTE
  expect(await ask()).toMatchObject(reason('unknown'))
})

async function withPairs(town: Town, count: number, endedAt: number | null): Promise<Kit> {
  const kit = await town.move()
  const sql = `INSERT INTO pair VALUES (?, ?, 'x', 'known', 0, '', '', NULL, 1, ?)`
  const rows = Array.from({ length: count }, (_, n) => ({ sql, params: [`peer${n}`, `invite${n}`, endedAt] }))
  await kit.store.write(rows)
  return town.move({ before: kit })
}

it('is BUSY on either side when there are MAX_PAIRS pairs', async () => {
  const town = new Town()
  const [full, bob] = [await withPairs(town, MAX_PAIRS, null), await town.move()]
  expect(await failureOf(bob.pairing.join((await full.pairing.invite()).token))).toMatchObject({ code: 'BUSY' })
  expect(await failureOf(full.pairing.join((await bob.pairing.invite()).token))).toMatchObject({ code: 'BUSY' })
  expect(full.pairing.pairs()).toHaveLength(MAX_PAIRS)
})

it('no more than MAX_ENDED_PAIRS ended pairs are remembered, the newest of them', async () => {
  const town = new Town()
  const [ann, bob] = [await withPairs(town, MAX_ENDED_PAIRS, 1), await town.move({ name: 'bob' })]
  await bob.pairing.join((await ann.pairing.invite()).token)
  await ann.pairing.unpair('bob')
  const ended = ann.store.all('SELECT peer FROM pair WHERE ended_at IS NOT NULL').map(({ peer }) => peer)
  expect(ended).toHaveLength(MAX_ENDED_PAIRS)
  expect(ended).toContain(bob.identity.id)
})

it('a node does not join itself, nor one that is not there', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  expect(await failureOf(ann.pairing.join(token))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  town.endpoints.clear()
  expect(await failureOf(bob.pairing.join(token))).toMatchObject({ code: 'UNREACHABLE' })
  const gone = { signal: AbortSignal.abort(new MeshError('CANCELLED', 'no more')) }
  expect(await failureOf(bob.pairing.join(token, gone))).toMatchObject({ code: 'CANCELLED' })
})

it.each([
  { id: 'no time', init: { forMs: 0 } },
  { id: 'eight days', init: { forMs: 8 * DAY } },
  { id: 'no number', init: { forMs: Number.NaN } },
  { id: 'a level that nobody has', init: { level: 'blocked' as 'known' } }
])('no invite is made for $id', async ({ init }) => {
  const ann = await new Town().move()
  expect(await failureOf(ann.pairing.invite(init))).toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it('is BUSY when MAX_INVITES wait, until they expire', async () => {
  const ann = await new Town().move()
  await Promise.all(Array.from({ length: MAX_INVITES }, () => ann.pairing.invite()))
  expect(await failureOf(ann.pairing.invite())).toMatchObject({ code: 'BUSY' })
  ann.now += 10 * MINUTE
  expect(await ann.pairing.invite()).toMatchObject({ token: expect.stringMatching(/^mesh_i_/) })
})

it.each([
  { id: 'nothing', body: undefined },
  { id: 'no mac', body: { op: 'redeem', invite: 'a'.repeat(11), nonce: 'b'.repeat(22), name: 'eve' } },
  { id: 'another operation', body: { op: 'list' } }
])('a request of $id is INVALID_MESSAGE', async ({ body }) => {
  const town = new Town()
  const [ann, eve] = [await town.move(), await town.move()]
  expect(await failureOf(eve.tell(ann.identity.id, body))).toMatchObject({ code: 'INVALID_MESSAGE' })
})

it('the database holds no token and no secret, neither as text nor as bytes', async () => {
  const town = new Town()
  const path = join(await tempFolder(), 'mesh.db')
  const [ann, bob] = [await town.move({ path }), await town.move()]
  const { token } = await ann.pairing.invite()
  await ann.pairing.invite()
  await bob.pairing.join(token)
  const [{ key } = { key: Buffer.alloc(0) }] = await ann.pairing.secretsOf(bob.identity.id)
  await ann.store.close()
  const bytes = await readFile(path)
  const { id, secret } = readToken(token)
  expect(bytes.includes(id)).toBe(true)
  for (const hidden of [token, secret, Buffer.from(secret, 'base64url'), key, key.toString('base64url')]) {
    expect(bytes.includes(hidden)).toBe(false)
  }
})
