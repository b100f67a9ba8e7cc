import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { MAILBOX } from '../../src/messaging/index.ts'
import * as limits from '../../src/messaging/mailbox/constants.ts'
import type { CollectAnswer, SealingKey } from '../../src/messaging/mailbox/messages.ts'
import { seal } from '../../src/messaging/mailbox/sealing.ts'
import { signBatch } from '../../src/messaging/signatures.ts'
import { canonicalJson } from '../../src/wire/index.ts'
import { failureOf } from '../nodes.ts'
import { appoint, deposited, kept, type MailRoom, meet, openMailRoom } from './mailbox-room.ts'
import { keeper, Mesh, queuedFor, soon } from './room.ts'

/** Ann has left five messages for bob with mel, one by one, and bob is about to come back. */
async function startAway() {
  const mesh = new Mesh()
  const [ann, bob, mel] = [await openMailRoom(mesh), await openMailRoom(mesh), await openMailRoom(mesh)]
  await appoint(mel, bob)
  const { kept: handled, handler } = keeper()
  bob.handlers.set('keeper', handler)
  await ann.mailboxes.learn(bob.id, mel.id)
  mesh.cut.add(bob.id)
  for (const body of [1, 2, 3, 4, 5]) {
    await ann.messaging.send({ to: `${bob.id}/keeper`, body })
    await deposited(ann, body)
  }
  expect(kept(mel)).toBe(5)
  // Bob comes back while ann is away
  mesh.cut.add(ann.id)
  mesh.cut.delete(bob.id)
  return { mesh, ann, bob, mel, handled }
}

/** Everything has been looked through `times` more often than before. */
function looks(mesh: Mesh): { collects: number } {
  const counted = { collects: 0 }
  const before = mesh.meddle
  mesh.meddle = (from, to, body, answer) => {
    if ((body as { op: string }).op === 'collect') counted.collects += 1
    return before(from, to, body, answer)
  }
  return counted
}

/** The mailbox answers collects as it likes. */
function lie(mesh: Mesh, change: (items: CollectAnswer['items']) => CollectAnswer['items']): void {
  mesh.meddle = async (_from, _to, body, answer) => {
    const { op } = body as { op: string }
    const given = await answer()
    if (op !== 'collect') return given
    return { items: change((given as CollectAnswer).items) }
  }
}

async function annReturns(mesh: Mesh, ann: MailRoom, bob: MailRoom): Promise<void> {
  mesh.cut.delete(ann.id)
  meet(ann, bob)
  for (const { id } of ann.messaging.outbox({ state: 'all' })) await ann.messaging.waitFor(id, { signal: soon() })
}

it('loses nothing when a mailbox drops what it was given: the sender still has it', async () => {
  const { mesh, ann, bob, mel, handled } = await startAway()
  lie(mesh, (items) => items.filter(({ id }) => id !== 2))
  const counted = looks(mesh)
  meet(bob, mel)
  await expect.poll(() => counted.collects).toBeGreaterThan(1)
  await expect.poll(() => handled).toEqual([1])
  await annReturns(mesh, ann, bob)
  expect(handled).toEqual([1, 2, 3, 4, 5])
})

it('handles in order what a mailbox gives in disorder', async () => {
  const { bob, mel, handled } = await startAway()
  const sealed = mel.store.all('SELECT sealed FROM mailbox_item ORDER BY n').map((row) => String(row['sealed']))
  const order = [0, 3, 2, 1, 4]
  await mel.store.write(
    order.map((from, index) => ({
      sql: 'UPDATE mailbox_item SET sealed = ? WHERE n = ?',
      params: [sealed[from] ?? '', index + 1]
    }))
  )
  meet(bob, mel)
  await expect.poll(() => handled).toEqual([1, 2, 3, 4, 5])
})

it('handles once what a mailbox gives again and again, also after a restart', async () => {
  const { mesh, ann, bob, mel, handled } = await startAway()
  const items = mel.store.all('SELECT n AS id, sealed FROM mailbox_item ORDER BY n')
  mesh.meddle = async (_from, _to, body, answer) => {
    const { op, after } = body as { op: string; after: number }
    if (op === 'collected') return {}
    return op === 'collect' ? { items: items.filter(({ id }) => Number(id) > after) } : answer()
  }
  meet(bob, mel)
  await expect.poll(() => handled).toEqual([1, 2, 3, 4, 5])
  const counted = looks(mesh)
  meet(bob, mel)
  await expect.poll(() => counted.collects).toBeGreaterThan(1)
  await bob.crash()
  const later = await openMailRoom(mesh, bob)
  const again = keeper()
  later.handlers.set('keeper', again.handler)
  meet(later, mel)
  await expect.poll(() => counted.collects).toBeGreaterThan(3)
  await annReturns(mesh, ann, later)
  expect([handled, again.kept]).toEqual([[1, 2, 3, 4, 5], []])
})

it('stops at a mailbox that goes in circles', async () => {
  const { mesh, bob, mel, handled } = await startAway()
  lie(mesh, (items) => [...items, ...items])
  const counted = looks(mesh)
  meet(bob, mel)
  await expect.poll(() => handled).toEqual([1, 2, 3, 4, 5])
  // It would have asked again otherwise
  expect(counted.collects).toBe(1)
})

it('takes nothing that is forged, for another, or no message', async () => {
  const { mesh, ann, bob, mel, handled } = await startAway()
  const eve = createIdentity()
  const x = String(bob.store.get('SELECT x FROM mailbox_key')?.['x'])
  const key: SealingKey = { kty: 'OKP', crv: 'X25519', x }
  const others: SealingKey = { ...key, x: String(ann.store.get('SELECT x FROM mailbox_key')?.['x']) }
  const real = queuedFor(ann, bob.id)
  const [first] = real?.messages ?? []
  if (real === undefined || first === undefined) throw new Error('nothing is queued')
  // In ann's name, signed by eve
  const forged = canonicalJson({ ...JSON.parse(first.envelope), body: 'forged' })
  const own = signBatch(eve, [forged])
  const stolen = own.replace(eve.did, ann.identity.did)
  const deliver = (signature: string, envelope: string) =>
    JSON.stringify({ op: 'deliver', signatures: [signature], messages: [{ envelope, sig: 0, after: 0 }] })
  const texts = [
    deliver(stolen, forged),
    deliver(own, forged),
    deliver(real.signatures[0] ?? '', forged),
    JSON.stringify({ op: 'receipts', receipts: stolen }),
    '{"op":"deliver"}',
    'no JSON'
  ]
  const sealed = await Promise.all(texts.map((text) => seal(text, key)))
  sealed.push(await seal(JSON.stringify(real), others), 'a.b.c.d.e')
  const collected: number[] = []
  mesh.meddle = async (_from, _to, body, answer) => {
    const { op, after, ids = [] } = body as { op: string; after: number; ids?: number[] }
    collected.push(...ids)
    if (op !== 'collect') return answer()
    return { items: after > 0 ? [] : sealed.map((text, index) => ({ id: index + 1, sealed: text })) }
  }
  meet(bob, mel)
  await expect.poll(() => collected).toHaveLength(sealed.length)
  expect(handled).toEqual([])
  expect(bob.messaging.inbox({ state: 'all', agent: 'keeper' })).toEqual([])
})

it.each([
  {
    what: 'who is not allowed',
    code: 'FORBIDDEN',
    prepare: (mel: MailRoom, to: string) => mel.policy.remove([`mailbox:${to}`])
  },
  { what: 'for whom no mailbox is kept', code: 'NOT_FOUND', prepare: (mel: MailRoom, to: string) => unserved(mel, to) },
  { what: 'what has expired', code: 'INVALID_ARGUMENT', exp: 1 },
  {
    what: 'beyond what is kept for a recipient',
    code: 'LIMIT_EXCEEDED',
    prepare: (mel: MailRoom, to: string) => mel.mailboxes.serve(to, { bytes: 8 })
  },
  {
    what: 'beyond the bytes of a depositor',
    code: 'LIMIT_EXCEEDED',
    prepare: (mel: MailRoom, _to: string, from: string) =>
      fill(mel, { depositor: from, bytes: limits.MAX_KEPT_BYTES_PER_DEPOSITOR })
  },
  {
    what: 'beyond the bytes of all',
    code: 'LIMIT_EXCEEDED',
    prepare: (mel: MailRoom) => fill(mel, { depositor: 'another', bytes: limits.MAX_KEPT_BYTES })
  },
  {
    what: 'beyond the items of a depositor',
    code: 'LIMIT_EXCEEDED',
    prepare: (mel: MailRoom, _to: string, from: string) =>
      fill(mel, { depositor: from, bytes: 0, items: limits.MAX_KEPT_ITEMS_PER_DEPOSITOR })
  },
  {
    what: 'beyond the items of all',
    code: 'LIMIT_EXCEEDED',
    prepare: (mel: MailRoom) => fill(mel, { depositor: 'another', bytes: 0, items: limits.MAX_KEPT_ITEMS })
  },
  { what: 'what is no JWE', code: 'INVALID_MESSAGE', sealed: 'plain' }
])('refuses to keep $what: $code', async ({ code, prepare, exp = Date.now() + 60_000, sealed = 'a.b.c.d.e' }) => {
  const mesh = new Mesh()
  const [ann, bob, mel] = [await openMailRoom(mesh), await openMailRoom(mesh), await openMailRoom(mesh)]
  await appoint(mel, bob)
  const deposit = (what: object = {}) =>
    mesh.rpcOf(ann.id).request(mel.id, MAILBOX, { op: 'deposit', to: bob.id, exp, sealed, ...what })
  mesh.cut.add(bob.id)
  expect(await deposit({ exp: Date.now() + 60_000, sealed: 'a.b.c.d.e' })).toEqual({})
  await prepare?.(mel, bob.id, ann.id)
  const before = kept(mel)
  expect(await failureOf(deposit())).toMatchObject({ code })
  expect(kept(mel)).toBe(before)
})

async function unserved(mel: MailRoom, to: string): Promise<void> {
  await mel.mailboxes.unserve(to)
  await mel.policy.put([{ id: 'all-mail', effect: 'allow', who: '*', act: 'mailbox.keep', res: '*' }])
}

/** Rows that only count. */
async function fill(mel: MailRoom, of: { depositor: string; bytes: number; items?: number }): Promise<void> {
  await mel.store.write([
    {
      sql: `WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ?)
            INSERT INTO mailbox_item (recipient, depositor, bytes, exp, sealed)
            SELECT 'another', ?, ?, ?, 'x' FROM counter`,
      params: [of.items ?? 1, of.depositor, of.bytes, Date.now() + 60_000]
    }
  ])
}

it('keeps nothing new while the disk is nearly full', async () => {
  const mesh = new Mesh()
  const [ann, bob] = [await openMailRoom(mesh), await openMailRoom(mesh)]
  let isFull = false
  const refusal = () => (isFull ? new MeshError('IO', 'the disk is nearly full') : undefined)
  const mel = await openMailRoom(mesh, { refusal })
  await appoint(mel, bob)
  mesh.cut.add(bob.id)
  const request = { op: 'deposit', to: bob.id, sealed: 'a.b.c.d.e', exp: Date.now() + 60_000 }
  const deposit = () => mesh.rpcOf(ann.id).request(mel.id, MAILBOX, request)
  await deposit()
  isFull = true
  expect(await failureOf(deposit())).toMatchObject({ code: 'BUSY' })
  expect(kept(mel)).toBe(1)
  isFull = false
  await deposit()
  expect(kept(mel)).toBe(2)
})

it('keeps mailboxes for so many and no more', async () => {
  const mesh = new Mesh()
  const mel = await openMailRoom(mesh)
  await mel.store.write([
    {
      sql: `WITH RECURSIVE counter (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter WHERE n < ?)
            INSERT INTO mailbox_served (peer, max_bytes, since) SELECT n, 1, 1 FROM counter`,
      params: [limits.MAX_SERVED - 1]
    }
  ])
  const [last, late] = [createIdentity().id, createIdentity().id]
  await mel.mailboxes.serve(last)
  expect(await failureOf(mel.mailboxes.serve(late))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  // Of those that are served already, the size may still change
  expect(await mel.mailboxes.serve(last, { bytes: 7 })).toMatchObject({ maxBytes: 7 })
})

it('forgets what nobody has collected in time, and nothing is kept longer than a week', async () => {
  const mesh = new Mesh()
  let now = Date.now()
  const [ann, bob] = [await openMailRoom(mesh), await openMailRoom(mesh)]
  const mel = await openMailRoom(mesh, { clock: () => now })
  await appoint(mel, bob)
  mesh.cut.add(bob.id)
  const request = { op: 'deposit', to: bob.id, sealed: 'a.b.c.d.e' }
  await mesh.rpcOf(ann.id).request(mel.id, MAILBOX, { ...request, exp: now + 3_600_000 })
  await mesh.rpcOf(ann.id).request(mel.id, MAILBOX, { ...request, exp: now + 300 * 86_400_000 })
  now += 3_600_000
  await expect.poll(() => kept(mel)).toBe(1)
  now += limits.MAX_KEPT_MS
  await expect.poll(() => kept(mel)).toBe(0)
})

it('shows and takes away only what is for the one who asks', async () => {
  const { mesh, ann, bob, mel } = await startAway()
  mesh.cut.delete(ann.id)
  const rpc = mesh.rpcOf(ann.id)
  expect(await rpc.request(mel.id, MAILBOX, { op: 'collect', after: 0 })).toEqual({ items: [] })
  await rpc.request(mel.id, MAILBOX, { op: 'collected', ids: [1, 2, 3, 4, 5] })
  expect(kept(mel)).toBe(5)
  expect(mel.mailboxes.list().served).toMatchObject([{ peer: bob.id, items: 5 }])
})

it('believes only the newest statement about mailboxes, and only of the node itself', async () => {
  const mesh = new Mesh()
  const [ann, bob, mel, nan] = [
    await openMailRoom(mesh),
    await openMailRoom(mesh),
    await openMailRoom(mesh),
    await openMailRoom(mesh)
  ]
  await appoint(mel, bob)
  const jwsOf = (room: MailRoom) =>
    String(room.store.get('SELECT jws FROM mailbox_statement WHERE peer = ?', [bob.id])?.['jws'])
  const old = jwsOf(bob)
  await appoint(nan, bob)
  await ann.mailboxes.learn(bob.id, bob.id)
  const answerWith = (jws: string): void => {
    mesh.meddle = async (_from, _to, body, answer) => ((body as { op: string }).op === 'statement' ? { jws } : answer())
  }
  answerWith(old)
  await ann.mailboxes.learn(bob.id, mel.id)
  expect(jwsOf(ann)).toBe(jwsOf(bob))
  const eve = createIdentity()
  const statement = JSON.parse(Buffer.from(old.split('.')[1] ?? '', 'base64url').toString())
  for (const [lie, code] of [
    [await eve.sign('mesh-mailboxes+jws', statement), 'INVALID_RECORD'],
    [await eve.sign('mesh-mailboxes+jws', { ...statement, iss: eve.did }), 'INVALID_RECORD'],
    [await bob.identity.sign('mesh-mailboxes+jws', { ...statement, exp: 1 }), 'INVALID_RECORD'],
    [await bob.identity.sign('mesh-mailboxes+jws', { ...statement, key: {} }), 'INVALID_MESSAGE'],
    [await bob.identity.sign('mesh-record+jws', statement), 'INVALID_MESSAGE']
  ] as const) {
    answerWith(lie)
    expect(await failureOf(ann.mailboxes.learn(bob.id, mel.id))).toMatchObject({ code })
  }
  expect(jwsOf(ann)).toBe(jwsOf(bob))
})
