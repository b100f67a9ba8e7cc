import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Connection } from '@libp2p/interface'
import { expect, it, onTestFinished } from 'vitest'
import { createAuth, type Holder } from '../../src/auth/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import {
  type ApiKeys,
  createApiKeys,
  KEY_PATTERN,
  keysMigrations,
  LAST_USED_EVERY_MS,
  MAX_KEYS
} from '../../src/keys/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { openVault, type Vault } from '../../src/vault/index.ts'
import { failureOf, startPair } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

const DAY = 86_400_000
const START = Date.parse('2026-11-23T10:00:00Z')
const [ALICE, BOB] = [createIdentity().id, createIdentity().id]
const options = { signal: AbortSignal.timeout(60_000) }

interface Kit {
  readonly keys: ApiKeys
  readonly store: Store
  readonly vault: Vault
  readonly auth: ReturnType<typeof createAuth>
  readonly heldChanges: string[]
  now: number
  readonly verify: (key: unknown, holder?: Holder) => ReturnType<ApiKeys['verifier']['verify']>
}

async function setUp(path?: string, vault?: Vault): Promise<Kit> {
  const store = await openStore({ path, migrations: [keysMigrations] })
  onTestFinished(() => store.close())
  const opened = vault ?? (await openVault())
  const heldChanges: string[] = []
  const clock = (): number => kit.now
  const verifiers: ApiKeys['verifier'][] = []
  const auth = createAuth({ standingOf: () => ({ level: 'unknown' }), verifiers, clock })
  const keys = createApiKeys({
    store,
    vault: opened,
    clock,
    onRevoke: (_id, matches) => auth.revoke(matches),
    onHeldChange: (peer) => heldChanges.push(peer)
  })
  verifiers.push(keys.verifier)
  const kit: Kit = {
    keys,
    store,
    vault: opened,
    auth,
    heldChanges,
    now: START,
    verify: (key, holder = { peer: ALICE }) => keys.verifier.verify({ method: 'api-key', key }, holder, options)
  }
  return kit
}

/** A session that has presented the key. */
async function sessionWith({ auth }: Kit, key: string, peer = ALICE) {
  // As much of a connection as a session looks at
  const remotePeer = { type: 'Ed25519', toString: () => peer }
  const connection = { remotePeer, encryption: '/noise', status: 'open', addEventListener: () => {} }
  const session = auth.sessionOf(connection as unknown as Connection)
  const [result] = await auth.present(session, [{ method: 'api-key', key }], options)
  expect(result).toMatchObject({ ok: true })
  return { scopes: () => session.caller.credentials.flatMap(({ scopes }) => scopes) }
}

const reason = (text: string): object => ({ code: 'UNAUTHENTICATED', data: { reason: text } })

it('a new key is accepted, with its scopes and expiry, from the peer that it is pinned to by its first use', async () => {
  const { keys, verify } = await setUp()
  const { key, info } = await keys.create({ name: 'ci', scopes: ['build', 'build'] })
  expect(key).toMatch(KEY_PATTERN)
  expect(info).toMatchObject({ name: 'ci', scopes: ['build'], state: 'active', pin: 'first' })
  expect(Date.parse(info.expiresAt)).toBe(START + 90 * DAY)
  expect(await verify(key)).toEqual({
    method: 'api-key',
    binding: 'noise',
    subject: info.id,
    scopes: ['build'],
    expiresAt: START + 90 * DAY
  })
  expect(keys.list()).toMatchObject([{ id: info.id, peer: ALICE }])
  expect(await failureOf(verify(key, { peer: BOB }))).toMatchObject(reason('wrong-peer'))
  expect(await verify(key)).toMatchObject({ subject: info.id })
})

it('a key without a pin is accepted from anybody, as a mere secret', async () => {
  const { keys, verify } = await setUp()
  const { key } = await keys.create({ name: 'ci', pin: 'off' })
  for (const holder of [{ peer: ALICE }, { peer: BOB }, {}]) {
    expect(await verify(key, holder)).toMatchObject({ binding: 'secret' })
  }
})

it('a key that is given to a peer is refused from others from the start', async () => {
  const { keys, verify } = await setUp()
  const { key } = await keys.create({ name: 'ci', pin: BOB })
  expect(await failureOf(verify(key))).toMatchObject(reason('wrong-peer'))
  expect(await failureOf(verify(key, {}))).toMatchObject(reason('wrong-peer'))
  expect(await verify(key, { peer: BOB })).toMatchObject({ binding: 'noise' })
})

it('a key is not pinned where no PeerId is proven', async () => {
  const { keys, verify } = await setUp()
  const { key } = await keys.create({ name: 'ci' })
  expect(await failureOf(verify(key, {}))).toMatchObject(reason('unbound'))
  expect(keys.list()[0]?.peer).toBeUndefined()
})

it('of two peers that present a new key at once exactly one gets it', async () => {
  const { keys, verify } = await setUp(join(await tempFolder(), 'mesh.db'))
  const { key } = await keys.create({ name: 'ci' })
  const race = await Promise.allSettled([verify(key, { peer: ALICE }), verify(key, { peer: BOB })])
  expect(race.map(({ status }) => status).toSorted()).toEqual(['fulfilled', 'rejected'])
  expect(race.find(({ status }) => status === 'rejected')).toMatchObject({ reason: reason('wrong-peer') })
})

it.each([
  { id: 'no text', key: 7 },
  { id: 'nothing', key: undefined },
  { id: 'other text', key: 'mesh_k_x' }
])('what is no key is malformed: $id', async ({ key }) => {
  const { verify } = await setUp()
  expect(await failureOf(verify(key))).toMatchObject(reason('malformed'))
})

it('keys of other nodes, and other secrets for an id, are unknown', async () => {
  const [kit, other] = [await setUp(), await setUp()]
  const { key } = await other.keys.create({ name: 'ci' })
  expect(await failureOf(kit.verify(key))).toMatchObject(reason('unknown'))
})

it('an expired key is refused', async () => {
  const kit = await setUp()
  const { key } = await kit.keys.create({ name: 'ci', forMs: DAY })
  kit.now += DAY
  expect(await failureOf(kit.verify(key))).toMatchObject(reason('expired'))
  expect(kit.keys.list()).toMatchObject([{ state: 'expired' }])
})

it('a session loses what a key gave it as soon as the key is revoked, and does not get it back', async () => {
  const kit = await setUp()
  const { key, info } = await kit.keys.create({ name: 'ci', scopes: ['build'] })
  const session = await sessionWith(kit, key)
  expect(session.scopes()).toEqual(['build'])
  expect(await kit.keys.revoke(info.id)).toMatchObject({ state: 'revoked' })
  expect(session.scopes()).toEqual([])
  expect(await failureOf(kit.verify(key))).toMatchObject(reason('revoked'))
  expect(await failureOf(kit.keys.rotate(info.id))).toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it('the secret before a rotation is accepted until the overlap ends', async () => {
  const kit = await setUp()
  const first = await kit.keys.create({ name: 'ci' })
  const second = await kit.keys.rotate(first.info.id, { overlapMs: DAY })
  expect(second.info).toMatchObject({ id: first.info.id, overlapUntil: new Date(START + DAY).toISOString() })
  expect(await kit.verify(first.key)).toMatchObject({ expiresAt: START + DAY })
  expect(await kit.verify(second.key)).toMatchObject({ expiresAt: START + 90 * DAY })
  kit.now += DAY
  expect(await failureOf(kit.verify(first.key))).toMatchObject(reason('expired'))
  expect(await kit.verify(second.key)).toMatchObject({ subject: first.info.id })
})

it('no more than two secrets are accepted for an id', async () => {
  const kit = await setUp()
  const first = await kit.keys.create({ name: 'ci', scopes: ['build'] })
  const session = await sessionWith(kit, first.key)
  await kit.keys.rotate(first.info.id)
  expect(session.scopes()).toEqual(['build'])
  await kit.keys.rotate(first.info.id)
  expect(session.scopes()).toEqual([])
  expect(await failureOf(kit.verify(first.key))).toMatchObject(reason('unknown'))
})

it('a session that lives by the secret before goes on until the overlap ends; one by the new secret beyond', async () => {
  const kit = await setUp()
  const { key, info } = await kit.keys.create({ name: 'ci', scopes: ['build'], pin: 'off' })
  const before = await sessionWith(kit, key)
  const rotated = await kit.keys.rotate(info.id, { overlapMs: 30 })
  const after = await sessionWith(kit, rotated.key, BOB)
  expect(before.scopes()).toEqual(['build'])
  kit.now += 30
  await expect.poll(before.scopes).toEqual([])
  expect(after.scopes()).toEqual(['build'])
})

it('a rotation without overlap ends the sessions of the old secret at once', async () => {
  const kit = await setUp()
  const { key, info } = await kit.keys.create({ name: 'ci', scopes: ['build'] })
  const session = await sessionWith(kit, key)
  await kit.keys.rotate(info.id, { overlapMs: 0 })
  expect(session.scopes()).toEqual([])
})

it('the last use is written, but not more than once a minute', async () => {
  const kit = await setUp()
  const { key } = await kit.keys.create({ name: 'ci' })
  const lastUsedAt = (): number => Date.parse(kit.keys.list()[0]?.lastUsedAt ?? '')
  await kit.verify(key)
  await expect.poll(lastUsedAt).toBe(START)
  kit.now += LAST_USED_EVERY_MS - 1
  await kit.verify(key)
  await kit.keys.create({ name: 'a write after it' })
  expect(kit.keys.list().find(({ name }) => name === 'ci')).toMatchObject({ lastUsedAt: new Date(START).toISOString() })
})

it('keys, pins and held keys outlive a restart; the database holds neither key nor pepper', async () => {
  const folder = await tempFolder()
  const [path, vaultPath] = [join(folder, 'mesh.db'), join(folder, 'secrets.key')]
  const before = await setUp(path, await openVault({ path: vaultPath }))
  const { key, info } = await before.keys.create({ name: 'ci' })
  await before.verify(key)
  await before.keys.hold(BOB, key)
  await before.store.close()
  const bytes = await readFile(path)
  const secret = key.split('_')[3] ?? ''
  expect(bytes.includes(info.id)).toBe(true)
  expect(bytes.includes(secret)).toBe(false)
  expect(bytes.includes(before.vault.derive('api-keys'))).toBe(false)

  const after = await setUp(path, await openVault({ path: vaultPath }))
  expect(await after.verify(key)).toMatchObject({ binding: 'noise' })
  expect(await failureOf(after.verify(key, { peer: BOB }))).toMatchObject(reason('wrong-peer'))
  expect(after.keys.holdsFor(BOB)).toBe(true)
  expect(await after.keys.toPresent(BOB)).toEqual([{ method: 'api-key', key }])
})

it('held keys are presented to their peer until they are dropped', async () => {
  const { keys, heldChanges } = await setUp()
  const { key, info } = await keys.create({ name: 'ci' })
  expect(await keys.toPresent(BOB)).toEqual([])
  await keys.hold(BOB, key)
  expect(keys.held()).toEqual([{ peer: BOB, id: info.id, addedAt: new Date(START).toISOString() }])
  expect([keys.holdsFor(BOB), keys.holdsFor(ALICE)]).toEqual([true, false])
  expect([await keys.drop(BOB), await keys.drop(BOB), keys.holdsFor(BOB)]).toEqual([true, false, false])
  expect(heldChanges).toEqual([BOB, BOB])
})

it('nothing is held that was copied wrong, or for no peer', async () => {
  const { keys } = await setUp()
  const { key } = await keys.create({ name: 'ci' })
  expect(await failureOf(keys.hold(BOB, key.slice(0, -1)))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(await failureOf(keys.hold('bob', key))).toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it.each([
  { id: 'no name', init: { name: '' } },
  { id: 'a name that steers a terminal', init: { name: 'a\u001b[2J' } },
  { id: 'a scope with a space', init: { name: 'x', scopes: ['a b'] } },
  { id: 'too many scopes', init: { name: 'x', scopes: Array.from({ length: 33 }, (_, n) => `s${n}`) } },
  { id: 'no time at all', init: { name: 'x', forMs: 0 } },
  { id: 'more than ten years', init: { name: 'x', forMs: 4_000 * DAY } },
  { id: 'a pin to no peer', init: { name: 'x', pin: 'alice' } }
])('refuses to make a key with $id', async ({ init }) => {
  const { keys } = await setUp()
  expect(await failureOf(keys.create(init))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(keys.list()).toEqual([])
})

it('says NOT_FOUND for an id that it has not given out', async () => {
  const { keys } = await setUp()
  expect(await failureOf(keys.revoke('nobody'))).toMatchObject({ code: 'NOT_FOUND' })
  expect(await failureOf(keys.rotate('nobody'))).toMatchObject({ code: 'NOT_FOUND' })
})

it('is BUSY when there are MAX_KEYS live keys, until one is revoked', async () => {
  const { keys } = await setUp()
  const made = await Promise.all(Array.from({ length: MAX_KEYS }, (_, n) => keys.create({ name: `k${n}` })))
  expect(await failureOf(keys.create({ name: 'one more' }))).toMatchObject({ code: 'BUSY' })
  await keys.revoke(made[0]?.info.id ?? '')
  expect(await keys.create({ name: 'one more' })).toMatchObject({ info: { state: 'active' } })
})

it('a key that replaces another is presented on the connection that is open already', async () => {
  const [near, far] = await startPair()
  await far.agents.add({ name: 'files', allow: 'any', capabilities: [{ name: 'list', handler: () => [] }] })
  const [one, other] = [await far.keys.create({ name: 'one' }), await far.keys.create({ name: 'other' })]
  for (const { key, info } of [one, other]) {
    await near.keys.hold(far.id, key)
    await near.call(`${far.id}/files`, 'list', {})
    expect(far.keys.list().find(({ id }) => id === info.id)).toMatchObject({ peer: near.id })
  }
})
