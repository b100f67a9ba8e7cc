import { expect, it } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { OWNER_TYPE, PAIR, STATEMENT_MS } from '../../src/pairing/index.ts'
import { answerMac, epochKey, helloMac, rootOf } from '../../src/pairing/macs.ts'
import { readToken } from '../../src/pairing/token.ts'
import type { Endpoint } from '../../src/rpc/index.ts'
import { failureOf } from '../nodes.ts'
import { DAY, type Kit, MINUTE, START, Town } from './kit.ts'

const EPOCH = 30 * DAY
const options = { signal: AbortSignal.timeout(60_000) }
const reason = (text: string): object => ({ code: 'UNAUTHENTICATED', data: { reason: text } })

type Proof = Readonly<Record<string, unknown>>

async function proofOf(from: Kit, to: Kit, at?: number): Promise<Proof> {
  const proof = await from.pairing.prove(to.identity.id, at === undefined ? {} : { at })
  if (proof === undefined) throw new Error('not paired')
  return proof
}

const check = (by: Kit, proof: Proof, peer?: string) =>
  by.pairing.verifier.verify(proof, peer === undefined ? {} : { peer }, options)

it('either side of a pair proves the secret to the other, as a credential bound to it', async () => {
  const [ann, bob] = await new Town().pair()
  for (const [from, to] of [
    [ann, bob],
    [bob, ann]
  ] as const) {
    expect(await check(to, await proofOf(from, to), from.identity.id)).toEqual({
      method: 'shared-secret',
      binding: 'hmac',
      subject: from.identity.id,
      scopes: []
    })
  }
  expect(await ann.pairing.prove(createIdentity().id)).toBeUndefined()
})

it('a proof is accepted once', async () => {
  const [ann, bob] = await new Town().pair()
  const proof = await proofOf(bob, ann)
  await check(ann, proof, bob.identity.id)
  expect(await failureOf(check(ann, proof, bob.identity.id))).toMatchObject(reason('replayed'))
  // Not even when the nonce is no longer remembered
  ann.now += 3 * MINUTE
  expect(await failureOf(check(ann, proof, bob.identity.id))).toMatchObject(reason('expired'))
})

it('a proof made a minute ahead is remembered until it is too old', async () => {
  const [ann, bob] = await new Town().pair()
  const proof = await proofOf(bob, ann, START + MINUTE)
  await check(ann, proof, bob.identity.id)
  ann.now += 2 * MINUTE
  expect(await failureOf(check(ann, proof, bob.identity.id))).toMatchObject(reason('replayed'))
})

it.each([
  { id: 'a minute old', offMs: -MINUTE, says: 'taken' },
  { id: 'older', offMs: -MINUTE - 1, says: 'expired' },
  { id: 'a minute ahead', offMs: MINUTE, says: 'taken' },
  { id: 'further ahead', offMs: MINUTE + 1, says: 'not-yet-valid' }
])('a proof that is $id is $says', async ({ offMs, says }) => {
  const [ann, bob] = await new Town().pair()
  // Its epoch is the first all the same
  for (const each of [ann, bob]) each.now += DAY
  const outcome = await check(ann, await proofOf(bob, ann, ann.now + offMs), bob.identity.id).then(
    () => 'taken',
    (err: { data: { reason: string } }) => err.data.reason
  )
  expect(outcome).toBe(says)
})

it('a node whose clock is off proves its secret by the clock of the other', async () => {
  const [ann, bob] = await new Town().pair()
  bob.now -= 10 * MINUTE
  expect(await failureOf(check(ann, await proofOf(bob, ann), bob.identity.id))).toMatchObject(reason('expired'))
  expect(await check(ann, await proofOf(bob, ann, ann.now), bob.identity.id)).toMatchObject({ binding: 'hmac' })
})

it('a proof is of no use to another peer, to another node, or changed', async () => {
  const town = new Town()
  const [ann, bob] = await town.pair()
  const eve = await town.move({ name: 'eve' })
  await eve.pairing.join((await ann.pairing.invite()).token)
  const proof = await proofOf(bob, ann)
  expect(await failureOf(check(ann, proof, eve.identity.id))).toMatchObject(reason('wrong-peer'))
  expect(await failureOf(check(eve, proof, bob.identity.id))).toMatchObject(reason('unknown'))
  expect(await failureOf(check(ann, proof))).toMatchObject(reason('unbound'))
  const later = { ...proof, time: new Date(START + 1).toISOString() }
  expect(await failureOf(check(ann, later, bob.identity.id))).toMatchObject(reason('signature'))
  const echoed = await proofOf(ann, bob)
  expect(await failureOf(check(ann, echoed, bob.identity.id))).toMatchObject(reason('signature'))
})

it.each([
  { id: 'nothing else', change: { keyId: undefined } },
  { id: 'a key id that is none', change: { keyId: '1' } },
  { id: 'a time that is none', change: { time: 'now' } },
  { id: 'a short nonce', change: { nonce: 'abc' } },
  { id: 'a mac that is a number', change: { mac: 7 } }
])('a proof with $id is malformed', async ({ change }) => {
  const [ann, bob] = await new Town().pair()
  const proof = { ...(await proofOf(bob, ann)), ...change }
  expect(await failureOf(check(ann, proof, bob.identity.id))).toMatchObject(reason('malformed'))
})

it('after an unpairing proofs are refused as revoked by the one, and not made by the other', async () => {
  const [ann, bob] = await new Town().pair()
  const proof = await proofOf(bob, ann)
  await ann.pairing.unpair(bob.identity.id)
  expect(await failureOf(check(ann, proof, bob.identity.id))).toMatchObject(reason('revoked'))
  expect(await ann.pairing.prove(bob.identity.id)).toBeUndefined()
})

it('the secret changes every 30 days; the one before is good for a day more', async () => {
  const [ann, bob] = await new Town().pair()
  const keyIds = async (kit: Kit) => (await kit.pairing.secretsOf(bob.identity.id)).map(({ keyId }) => keyId.slice(-2))
  const old = await proofOf(bob, ann)
  expect(await keyIds(ann)).toEqual(['.0'])
  ann.now += EPOCH
  expect(await keyIds(ann)).toEqual(['.1', '.0'])
  expect(ann.pairing.pairs()[0]?.keyId).toMatch(/\.1$/)
  // A peer whose clock is behind has still the secret before
  const late = { ...old, ...(await proofOf(bob, ann, START + EPOCH - 1)) }
  expect(await check(ann, late, bob.identity.id)).toMatchObject({ binding: 'hmac' })
  ann.now += DAY
  expect(await keyIds(ann)).toEqual(['.1'])
  expect(await failureOf(check(ann, old, bob.identity.id))).toMatchObject(reason('expired'))
})

it('a peer that is a little ahead may have the next secret already, not much before', async () => {
  const [ann, bob] = await new Town().pair()
  ann.now = START + EPOCH - MINUTE
  expect(await check(ann, await proofOf(bob, ann, START + EPOCH), bob.identity.id)).toMatchObject({ binding: 'hmac' })
  ann.now -= 1
  const early = await proofOf(bob, ann, START + EPOCH)
  expect(await failureOf(check(ann, early, bob.identity.id))).toMatchObject(reason('not-yet-valid'))
})

it('no secret of a far future is taken, not even with a proof of now', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  await bob.pairing.join(token)
  const { id, secret } = readToken(token)
  const key = epochKey(rootOf(Buffer.from(secret, 'base64url'), ann.identity.id, bob.identity.id), 5)
  const parts = { keyId: `${id}.5`, time: new Date(START).toISOString(), nonce: 'a'.repeat(22) }
  const mac = helloMac(key, bob.identity.id, ann.identity.id, parts)
  const proof = { method: 'shared-secret', ...parts, mac }
  expect(await failureOf(check(ann, proof, bob.identity.id))).toMatchObject(reason('not-yet-valid'))
})

it('a pair that is ended while a proof is being checked gives nothing', async () => {
  const town = new Town()
  const [ann, bob] = await town.pair()
  const proof = await proofOf(bob, ann)
  const gate = Promise.withResolvers<void>()
  const open = async (sealed: string): Promise<string> => {
    await gate.promise
    return ann.vault.open(sealed)
  }
  const again = await town.move({ before: { ...ann, vault: { ...ann.vault, open } } })
  const checking = failureOf(check(again, proof, bob.identity.id))
  await again.pairing.unpair(bob.identity.id)
  gate.resolve()
  expect(await checking).toMatchObject(reason('revoked'))
})

it('both sides have the same secrets, which outlive a restart', async () => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const { token } = await ann.pairing.invite()
  await bob.pairing.join(token)
  const secrets = await ann.pairing.secretsOf(bob.identity.id)
  expect(await bob.pairing.secretsOf(ann.identity.id)).toEqual(secrets)
  const root = rootOf(Buffer.from(readToken(token).secret, 'base64url'), bob.identity.id, ann.identity.id)
  expect(secrets).toEqual([{ keyId: `${readToken(token).id}.0`, key: epochKey(root, 0) }])
  const again = await town.move({ before: ann })
  expect(await again.pairing.secretsOf(bob.identity.id)).toEqual(secrets)
  expect(await check(again, await proofOf(bob, again), bob.identity.id)).toMatchObject({ binding: 'hmac' })
})

async function ownerPair(): Promise<[Kit, Kit, Kit]> {
  const town = new Town()
  const [ann, bob, third] = [await town.move({ name: 'ann' }), await town.move({ name: 'bob' }), await town.move()]
  await bob.pairing.join((await ann.pairing.invite({ level: 'owner' })).token)
  return [ann, bob, third]
}

const checkOwner = (by: Kit, presented: Proof, peer?: string) =>
  by.pairing.ownerVerifier.verify(presented, peer === undefined ? {} : { peer }, options)

it('an invite of level owner comes with a statement by which a third node knows the owner', async () => {
  const [ann, bob, third] = await ownerPair()
  expect(ann.pairing.ownerStatements()).toEqual([])
  const [statement = {}] = bob.pairing.ownerStatements()
  expect(await checkOwner(third, statement, bob.identity.id)).toEqual({
    method: 'owner',
    binding: 'noise',
    subject: ann.identity.did,
    scopes: [],
    expiresAt: START + STATEMENT_MS
  })
})

it('a statement is good for the node that it is about, and for its year', async () => {
  const [, bob, third] = await ownerPair()
  const [statement = {}] = bob.pairing.ownerStatements()
  expect(await failureOf(checkOwner(third, statement, third.identity.id))).toMatchObject(reason('wrong-peer'))
  expect(await failureOf(checkOwner(third, statement))).toMatchObject(reason('unbound'))
  third.now -= 11 * MINUTE
  expect(await failureOf(checkOwner(third, statement, bob.identity.id))).toMatchObject(reason('not-yet-valid'))
  third.now = START + STATEMENT_MS
  bob.now = START + STATEMENT_MS
  expect(await failureOf(checkOwner(third, statement, bob.identity.id))).toMatchObject(reason('expired'))
  expect(bob.pairing.ownerStatements()).toEqual([])
})

it.each([
  { id: 'no statement', says: 'malformed', forge: async () => ({}) },
  { id: 'no JWS', says: 'malformed', forge: async () => ({ jws: 'a.b.c' }) },
  {
    id: 'one of another type',
    says: 'malformed',
    forge: async ({ identity }: Kit, payload: object) => ({ jws: await identity.sign('mesh-record+jws', payload) })
  },
  {
    id: 'one that says too little',
    says: 'malformed',
    forge: async ({ identity }: Kit) => ({ jws: await identity.sign(OWNER_TYPE, { v: 1, iss: identity.did }) })
  },
  {
    id: "one in another's name",
    says: 'signature',
    forge: async (_: Kit, payload: object) => ({ jws: await createIdentity().sign(OWNER_TYPE, payload) })
  },
  {
    id: 'one with another signature',
    says: 'signature',
    forge: async ({ identity }: Kit, payload: object) => {
      const [jws, other] = [await identity.sign(OWNER_TYPE, payload), await identity.sign(OWNER_TYPE, {})]
      return { jws: [...jws.split('.').slice(0, 2), other.split('.')[2]].join('.') }
    }
  }
])('what is $id is refused as $says', async ({ forge, says }) => {
  const town = new Town()
  const [ann, bob] = [await town.move(), await town.move()]
  const seconds = START / 1_000
  const payload = { v: 1, iss: ann.identity.did, sub: bob.identity.did, iat: seconds, exp: seconds + 60 }
  const right = { method: 'owner', jws: await ann.identity.sign(OWNER_TYPE, payload) }
  expect(await checkOwner(ann, right, bob.identity.id)).toMatchObject({ subject: ann.identity.did })
  const forged = { method: 'owner', ...(await forge(ann, payload)) }
  expect(await failureOf(checkOwner(ann, forged, bob.identity.id))).toMatchObject(reason(says))
})

it('the invitee takes no statement but that of the inviter about itself', async () => {
  const town = new Town()
  const [ann, bob, eve] = [await town.move(), await town.move(), await town.move()]
  const { token } = await ann.pairing.invite({ level: 'owner' })
  const secret = Buffer.from(readToken(token).secret, 'base64url')
  const seconds = START / 1_000
  const times = { v: 1, iat: seconds, exp: seconds + 60 }
  const about = (by: Kit, whom: Kit) =>
    by.identity.sign(OWNER_TYPE, { ...times, iss: by.identity.did, sub: whom.identity.did })
  const answer = (statement: string): Endpoint => ({
    protocol: PAIR,
    handle(body) {
      const { nonce } = body as { nonce: string }
      const terms = { level: 'owner' as const, name: 'ann', pairedAt: new Date(START).toISOString(), statement }
      const redemption = { inviter: ann.identity.id, invitee: bob.identity.id, nonce }
      return { ...terms, mac: answerMac(secret, redemption, terms) }
    }
  })
  town.endpoints.set(ann.identity.id, answer(await about(eve, bob)))
  expect(await failureOf(bob.pairing.join(token))).toMatchObject(reason('signature'))
  town.endpoints.set(ann.identity.id, answer(await about(ann, eve)))
  expect(await failureOf(bob.pairing.join(token))).toMatchObject(reason('wrong-peer'))
  expect(bob.pairing.pairs()).toEqual([])
  town.endpoints.set(ann.identity.id, answer(await about(ann, bob)))
  expect(await bob.pairing.join(token)).toMatchObject({ peer: ann.identity.id })
})

it('who ends the pair with its owner drops the statement; who ends that with its node, the level', async () => {
  const [ann, bob] = await ownerPair()
  await bob.pairing.unpair('ann')
  expect(bob.pairing.ownerStatements()).toEqual([])
  expect(ann.trust.of(bob.identity.id).level).toBe('owner')
  await ann.pairing.unpair('bob')
  expect(ann.trust.of(bob.identity.id).level).toBe('unknown')
})
