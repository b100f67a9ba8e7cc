import { expect, it, onTestFinished } from 'vitest'
import { CALL } from '../../src/calls/index.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { createNetwork, networkMigrations } from '../../src/network/index.ts'
import { PAIR } from '../../src/pairing/index.ts'
import { MAX_OPEN_PER_PEER, MAX_WAITS_PER_PEER, PERMISSION } from '../../src/permissions/index.ts'
import { createRpc, type Protocol, type Rpc } from '../../src/rpc/index.ts'
import { openStore } from '../../src/store/index.ts'
import { strangersAuth } from '../callers.ts'
import { addressOf, startNode } from '../nodes.ts'

/** Who speaks the protocols and keeps to nothing else. */
async function attacker(address: string): Promise<{ id: string; rpc: Rpc }> {
  const identity = createIdentity()
  const store = await openStore({ migrations: [networkMigrations] })
  const network = createNetwork({ identity, store, emit: () => {} }, { lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })
  const rpc = createRpc({ network, authenticate: strangersAuth().sessionOf })
  onTestFinished(async () => {
    await rpc.stop()
    await network.stop()
    await store.close()
  })
  await network.start()
  await network.connect(address)
  return { id: identity.id, rpc }
}

/** An owner whose calls are asked about, a hostile peer that it knows, and how to send many requests at once. */
async function attacked() {
  const owner = await startNode({ name: 'owner' })
  await owner.agents.add({ name: 'fs', capabilities: [{ name: 'write', handler: () => 'written' }] })
  const { id, rpc } = await attacker(addressOf(owner))
  await owner.trust.set(id, { level: 'known' })
  /** @returns codes of errors, or `ok`, with how often each came */
  const flood = async (protocol: Protocol, bodies: readonly unknown[]): Promise<Record<string, number>> => {
    const counts: Record<string, number> = {}
    const send = async (body: unknown): Promise<void> => {
      const code = await rpc.request(owner.id, protocol, body).then(
        () => 'ok',
        (err: { code: string }) => err.code
      )
      counts[code] = (counts[code] ?? 0) + 1
    }
    for (let n = 0; n < bodies.length; n += 16) await Promise.all(bodies.slice(n, n + 16).map(send))
    return counts
  }
  return { owner, id, rpc, flood }
}

const ids = (count: number) => Array.from({ length: count }, (_, n) => n.toString(16).padStart(32, '0'))

it('ten thousand ids that were never given are unknown, and cost nothing that stays', async () => {
  const { owner, flood } = await attacked()
  const counts = await flood(PERMISSION, [
    ...ids(5_000).map((id) => ({ op: 'status', id })),
    ...ids(5_000).map((id) => ({ op: 'wait', id }))
  ])
  expect(counts).toEqual({ NOT_FOUND: 10_000 })
  expect(owner.permissions.list()).toEqual([])
}, 60_000)

it('what one peer asks for is a few requests, however often and however differently it asks', async () => {
  const { owner, flood } = await attacked()
  const wanted = { op: 'request', agent: 'fs', capability: 'write' }
  const reasons = Array.from({ length: 500 }, (_, n) => ({ ...wanted, reason: `${n}`.padEnd(512, 'x'), uses: n + 1 }))
  await flood(PERMISSION, reasons)
  expect(owner.permissions.list()).toMatchObject([{ times: 500 }])
  const calls = Array.from({ length: 100 }, (_, n) => ({
    agent: 'fs',
    capability: 'write',
    kind: 'tool',
    input: { n }
  }))
  expect((await flood(CALL, calls))['BUSY']).toBe(100 - MAX_OPEN_PER_PEER + 1)
  const huge = await flood(PERMISSION, [
    { ...wanted, reason: 'x'.repeat(60_000) },
    { ...wanted, agent: 'x'.repeat(60_000) },
    { op: 'present', chain: Array.from({ length: 3 }, () => 'x'.repeat(16_384)) },
    { op: 'present', chain: Array.from({ length: 17 }, () => 'x') },
    { op: 'revoked', jws: 'x'.repeat(60_000) },
    { op: 'x'.repeat(60_000) }
  ])
  expect(huge['ok']).toBe(undefined)
  expect(owner.status().pendingApprovals).toBe(MAX_OPEN_PER_PEER)
}, 60_000)

it('answers and revocations that nobody was asked for change nothing', async () => {
  const { owner, id, flood } = await attacked()
  const decided: string[] = []
  owner.on('permission:decided', (told) => void decided.push(told.id))
  const grant = await owner.grants.issue({ holder: id, act: 'tool.call', res: 'tool:fs/write' })
  const told = ids(500).map((each) => ({ op: 'decided', id: each, state: 'allowed', chain: grant.chain }))
  expect(await flood(PERMISSION, told)).toEqual({ ok: 500 })
  expect(decided).toEqual([])
  const stranger = createIdentity()
  const list = { v: 1, iss: stranger.did, seq: 1, iat: Date.now() / 1_000, ids: [grant.id] }
  const jws = await stranger.sign('mesh-revocations+jws', list)
  expect(await flood(PERMISSION, [{ op: 'revoked', jws }])).toEqual({ ok: 1 })
  expect(owner.grants.get(grant.id)?.state).toBe('valid')
  expect(owner.grants.list()).toHaveLength(1)
}, 60_000)

it('waits that nobody ends leave room for who asks beside them', async () => {
  const { owner, rpc } = await attacked()
  const wanted = { op: 'request', agent: 'fs', capability: 'write' }
  const { id } = (await rpc.request(owner.id, PERMISSION, wanted)) as { id: string } // as the owner answers
  const waits = Array.from({ length: MAX_WAITS_PER_PEER }, () => rpc.request(owner.id, PERMISSION, { op: 'wait', id }))
  const beganAt = performance.now()
  expect(await rpc.request(owner.id, PERMISSION, { op: 'wait', id })).toMatchObject({ state: 'pending' })
  expect(await rpc.request(owner.id, PERMISSION, { op: 'status', id })).toMatchObject({ state: 'pending' })
  expect(performance.now() - beganAt).toBeLessThan(5_000)
  await owner.permissions.deny(id)
  for (const answer of await Promise.all(waits)) expect(answer).toMatchObject({ state: 'denied' })
}, 60_000)

it('guesses at an invite are counted, and the invite is good for who has it', async () => {
  const { owner, flood } = await attacked()
  const { token } = await owner.pairing.invite()
  const guess = { op: 'redeem', invite: 'AAAAAAAAAAA', nonce: 'A'.repeat(22), mac: 'A'.repeat(43), name: 'mallory' }
  const counts = await flood(
    PAIR,
    Array.from({ length: 200 }, () => guess)
  )
  expect(Object.keys(counts).sort()).toEqual(['BUSY', 'UNAUTHENTICATED'])
  expect(counts['BUSY']).toBeGreaterThan(150)
  const friend = await startNode({ name: 'friend' })
  expect(await friend.pairing.join(token)).toMatchObject({ peer: owner.id })
}, 60_000)
