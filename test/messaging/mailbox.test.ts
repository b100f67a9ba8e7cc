import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { failureOf } from '../nodes.ts'
import { appoint, deposited, kept, type MailRoom, meet, openMailRoom } from './mailbox-room.ts'
import { keeper, Mesh, soon } from './room.ts'

const SECRET = 'the plans of the house'

/** Ann writes to bob's agent, and mel keeps a mailbox for bob. */
async function startThree() {
  const mesh = new Mesh()
  const [ann, bob, mel] = [await openMailRoom(mesh), await openMailRoom(mesh), await openMailRoom(mesh)]
  await appoint(mel, bob)
  const { kept: handled, handler } = keeper()
  bob.handlers.set('keeper', handler)
  const to = `${bob.id}/keeper`
  return { mesh, ann, bob, mel, to, handled }
}

/** The same node again, with the same agent. */
async function again(mesh: Mesh, before: MailRoom): Promise<MailRoom> {
  const room = await openMailRoom(mesh, before)
  for (const [name, handler] of before.handlers) room.handlers.set(name, handler)
  return room
}

async function write(ann: MailRoom, to: string, bodies: readonly unknown[]): Promise<string[]> {
  const sent: string[] = []
  for (const body of bodies) sent.push((await ann.messaging.send({ to, body })).id)
  return sent
}

it('brings messages to a recipient that is there only while their sender is not, and receipts back the same way', async () => {
  const { mesh, ann, bob, mel, to, handled } = await startThree()
  await appoint(mel, ann)
  const [met = ''] = await write(ann, to, ['hello'])
  await ann.messaging.waitFor(met, { signal: soon() })
  // Each has asked the other where its messages may be left
  for (const [one, other] of [
    [ann, bob],
    [bob, ann]
  ] as const)
    await expect.poll(() => one.store.get('SELECT 1 FROM mailbox_statement WHERE peer = ?', [other.id])).toBeDefined()

  await bob.crash()
  const ids = await write(ann, to, [1, 2, 3])
  await deposited(ann, 3)
  expect(ann.messaging.show(ids[0] ?? '')?.events).toContainEqual(
    expect.objectContaining({ what: 'deposited', reason: mel.id })
  )
  await ann.crash()

  const later = await again(mesh, bob)
  meet(later, mel)
  await expect.poll(() => handled).toEqual(['hello', 1, 2, 3])
  // All is taken; what lies there now are bob's receipts for ann
  await expect
    .poll(() => mel.mailboxes.list().served.map(({ peer, items }) => [peer, items > 0]))
    .toEqual([
      [bob.id, false],
      [ann.id, true]
    ])
  await later.crash()

  const back = await again(mesh, ann)
  meet(back, mel)
  for (const id of ids) await expect.poll(() => back.messaging.show(id)?.state, { timeout: 5_000 }).toBe('processed')
  await expect.poll(() => kept(mel)).toBe(0)
})

it('hides from the mailbox what is in it: its database has ciphertext only', async () => {
  const { ann, bob, mel, to } = await startThree()
  await ann.mailboxes.learn(bob.id, mel.id)
  await bob.crash()
  const [id = ''] = await write(ann, to, [SECRET])
  await deposited(ann, 1)
  expect(kept(mel)).toBe(1)
  const files = await Promise.all(
    ['mesh.db', 'mesh.db-wal'].map((name) => readFile(join(mel.folder, name)).catch(() => Buffer.alloc(0)))
  )
  const bytes = Buffer.concat(files)
  // What it must know is there, so looking for the rest means something
  expect(bytes.includes(bob.id)).toBe(true)
  for (const text of [SECRET, 'keeper', id, Buffer.from(SECRET).toString('base64url').slice(4, -4)])
    expect(bytes.includes(text)).toBe(false)
})

it('asks peers that it knows for the mailbox of one that it has never met', async () => {
  const { ann, bob, mel, to } = await startThree()
  await bob.crash()
  await write(ann, to, ['a stranger writes'])
  await deposited(ann, 1)
  expect(kept(mel)).toBe(1)
})

it('deposits only for those who can be reached by no other way', async () => {
  const { mesh, ann, bob, mel, to, handled } = await startThree()
  await ann.mailboxes.learn(bob.id, mel.id)
  const [id = ''] = await write(ann, to, ['straight'])
  await ann.messaging.waitFor(id, { signal: soon() })
  expect(handled).toEqual(['straight'])
  await expect.poll(() => kept(mel)).toBe(0)
  mesh.cut.add(bob.id)
  await write(ann, to, ['around'])
  await deposited(ann, 1)
  expect(ann.told.filter(({ event }) => event === 'mailbox:deposited')).toHaveLength(1)
})

it('tells a recipient that is there what has come for it', async () => {
  const { mesh, ann, bob, mel, to, handled } = await startThree()
  await ann.mailboxes.learn(bob.id, mel.id)
  // Ann can't reach bob, though mel can
  mesh.meddle = async (from, recipient, _body, answer) => {
    if (from === ann.id && recipient === bob.id) throw new MeshError('UNREACHABLE', 'filtered')
    return answer()
  }
  await write(ann, to, ['by way of mel'])
  await expect.poll(() => handled, { timeout: 5_000 }).toEqual(['by way of mel'])
})

it('tells the author that the recipient has refused its message', async () => {
  const { mesh, ann, bob, mel, to } = await startThree()
  await appoint(mel, ann)
  await ann.mailboxes.learn(bob.id, mel.id)
  await bob.mailboxes.learn(ann.id, mel.id)
  await bob.crash()
  const [id = ''] = await write(ann, to, ['unwanted'])
  await deposited(ann, 1)
  mesh.cut.add(ann.id)
  const later = await again(mesh, bob)
  await later.policy.put([{ id: 'no', effect: 'deny', who: ann.id, act: 'message.send', res: '*' }])
  meet(later, mel)
  await expect
    .poll(() => mel.mailboxes.list().served.map(({ peer, items }) => [peer, items]))
    .toEqual([
      [bob.id, 0],
      [ann.id, 1]
    ])
  await later.crash()
  mesh.cut.delete(ann.id)
  meet(ann, mel)
  expect(await failureOf(ann.messaging.waitFor(id, { signal: soon() }))).toMatchObject({ code: 'FORBIDDEN' })
})

it('has at most three mailboxes, none of them itself', async () => {
  const mesh = new Mesh()
  const ann = await openMailRoom(mesh)
  for (let n = 0; n < 3; n += 1) await appoint(await openMailRoom(mesh), ann)
  const fourth = await openMailRoom(mesh)
  await fourth.mailboxes.serve(ann.id)
  expect(await failureOf(ann.mailboxes.use(fourth.id))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  expect(await failureOf(ann.mailboxes.use(ann.id))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(await failureOf(ann.mailboxes.use('nobody'))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(await failureOf(fourth.mailboxes.serve(ann.id, { bytes: 0 }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
})

it('tells a dropped mailbox so, and leaves nothing there any more', async () => {
  const { ann, bob, mel, to } = await startThree()
  expect(await bob.mailboxes.drop(mel.id)).toBe(true)
  expect(await bob.mailboxes.drop(mel.id)).toBe(false)
  expect(bob.mailboxes.list().used).toEqual([])
  expect(bob.store.get('SELECT 1 FROM mailbox_used')).toBeUndefined()
  await ann.mailboxes.learn(bob.id, mel.id)
  await bob.crash()
  await write(ann, to, [1])
  await expect.poll(() => ann.messaging.outbox()[0]?.code).toBe('UNREACHABLE')
  await expect.poll(() => kept(mel)).toBe(0)
})

it('forgets a blocked peer: what it has left, and what was left for it', async () => {
  const { ann, bob, mel, to } = await startThree()
  await ann.mailboxes.learn(bob.id, mel.id)
  await bob.crash()
  await write(ann, to, [1])
  await deposited(ann, 1)
  await mel.mailboxes.dropPeer(ann.id)
  await expect.poll(() => kept(mel)).toBe(0)
  await mel.mailboxes.dropPeer(bob.id)
  expect(mel.mailboxes.list().served).toEqual([])
})

it('states anew where its mailbox is when that has moved, and before the statement expires', async () => {
  const mesh = new Mesh()
  let now = Date.now()
  let addresses: string[] = []
  const [bob, mel] = [
    await openMailRoom(mesh, { clock: () => now, addresses: () => addresses }),
    await openMailRoom(mesh, { clock: () => now })
  ]
  await appoint(mel, bob)
  const known = () => {
    const jws = String(mel.store.get('SELECT jws FROM mailbox_statement WHERE peer = ?', [bob.id])?.['jws'])
    const { mailboxes, exp } = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString())
    return { addresses: mailboxes[0].addresses, exp }
  }
  expect(known().addresses).toEqual([])
  addresses = ['/ip4/192.0.2.7/tcp/4001']
  now += 60_000
  await expect.poll(() => known().addresses).toEqual(addresses)
  const { exp } = known()
  now += 16 * 86_400_000
  await expect.poll(() => known().exp).toBeGreaterThan(exp)
})

it('leaves in the mailbox what it has no room for, and takes it later', async () => {
  const { mesh, ann, bob, mel, to } = await startThree()
  await ann.mailboxes.learn(bob.id, mel.id)
  await bob.crash()
  for (const body of [1, 2, 3]) {
    await write(ann, to, [body])
    await deposited(ann, body)
  }
  mesh.cut.add(ann.id)
  let isFull = true
  const busy = () => (isFull ? new MeshError('IO', 'the disk is nearly full') : undefined)
  let now = Date.now()
  const later = await openMailRoom(mesh, { ...bob, clock: () => now, refusal: busy })
  const { kept: handled, handler } = keeper()
  later.handlers.set('keeper', handler)
  let collects = 0
  mesh.meddle = (_from, _to, body, answer) => {
    if ((body as { op: string }).op === 'collect') collects += 1
    return answer()
  }
  meet(later, mel)
  await expect.poll(() => collects).toBeGreaterThan(0)
  isFull = false
  now += 10_000
  await expect.poll(() => handled).toEqual([1, 2, 3])
  await expect.poll(() => kept(mel)).toBe(0)
})
