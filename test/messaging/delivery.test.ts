import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { mailboxMigrations, messagingMigrations } from '../../src/messaging/index.ts'
import { signReceipts } from '../../src/messaging/signatures.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { failureOf } from '../nodes.ts'
import { joined, keeper, Mesh, openRoom, queuedFor, soon } from './room.ts'

async function startTwo(init: Parameters<typeof openRoom>[1] = {}) {
  const mesh = new Mesh()
  const [ann, bob] = [await openRoom(mesh), await openRoom(mesh, init)]
  const { kept, handler } = keeper()
  bob.handlers.set('keeper', handler)
  return { mesh, ann, bob, kept, to: `${bob.id}/keeper` }
}

it('delivers messages of a pair in their order, each once', async () => {
  const { ann, kept, to } = await startTwo()
  const bodies = Array.from({ length: 500 }, (_, n) => n)
  const sent = await Promise.all(bodies.map((body) => ann.messaging.send({ to, body })))
  await Promise.all(sent.map(({ id }) => ann.messaging.waitFor(id, { signal: soon() })))
  expect(kept).toEqual(bodies)
  const seqs = sent.map(({ seq }) => seq)
  expect(seqs).toEqual(seqs.toSorted((a, b) => a - b))
  expect(ann.messaging.counts.queued).toBe(0)
})

it.each([
  { id: 'type', message: { type: 'half a pair \ud800' } },
  { id: 'correlationId', message: { correlationId: '\udc00' } },
  { id: 'body', message: { body: { text: '\ud800' } } },
  { id: 'body', message: { body: () => {} } }
])('a message whose $id has no JSON form is refused, and those of the same turn are not', async ({ message }) => {
  const { ann, kept, to } = await startTwo()
  const [good, bad] = [ann.messaging.send({ to, body: 1 }), ann.messaging.send({ to, body: 2, ...message })]
  await expect(bad).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await ann.messaging.waitFor((await good).id, { signal: soon() })
  expect(kept).toEqual([1])
})

it('delivers the same once although its answers are lost', async () => {
  const { mesh, ann, kept, to } = await startTwo()
  let lost = 0
  mesh.meddle = async (_from, _to, body, answer) => {
    // Receipts that are pushed would tell what the lost answers have said
    if ((body as { op: string }).op === 'receipts') throw new Error('the connection broke')
    const answered = await answer()
    if (lost++ < 3) throw new Error('the connection broke')
    return answered
  }
  const sent = await Promise.all([1, 2, 3].map((body) => ann.messaging.send({ to, body })))
  joined(ann, to.split('/')[0] ?? '')
  const rejoin = setInterval(() => joined(ann, to.split('/')[0] ?? ''), 20)
  await Promise.all(sent.map(({ id }) => ann.messaging.waitFor(id, { signal: soon() })))
  clearInterval(rejoin)
  expect(kept).toEqual([1, 2, 3])
  expect(lost).toBeGreaterThan(3)
})

it('keeps what is sent to an absent peer, and sends it when that is there', async () => {
  const { mesh, ann, bob, kept, to } = await startTwo()
  mesh.cut.add(bob.id)
  const { id } = await ann.messaging.send({ to, body: 'later' })
  await expect.poll(() => ann.messaging.outbox()[0]?.code).toBe('UNREACHABLE')
  mesh.cut.delete(bob.id)
  joined(ann, bob.id)
  const story = await ann.messaging.waitFor(id, { signal: soon() })
  expect(kept).toEqual(['later'])
  expect(story.events.map(({ what, isSigned }) => [what, isSigned])).toContainEqual(['processed', true])
})

it('refuses what is forged, tampered with, or for another', async () => {
  const { mesh, ann, bob, kept, to } = await startTwo()
  mesh.cut.add(bob.id)
  await ann.messaging.send({ to, body: 'true' })
  const request = queuedFor(ann, bob.id)
  const [message] = request?.messages ?? []
  if (request === undefined || message === undefined) throw new Error('nothing is queued')
  const eve = createIdentity()
  const results = async (changed: Partial<typeof message>, to = bob) => {
    const {
      results: [result]
    } = await to.messaging.receive({ ...request, messages: [{ ...message, ...changed }] })
    return result
  }
  const refused = { state: 'refused' }
  expect(await results({ envelope: message.envelope.replace('true', 'fals') })).toMatchObject({
    ...refused,
    code: 'INVALID_RECORD'
  })
  expect(await results({ sig: 1 })).toMatchObject({ ...refused, code: 'INVALID_MESSAGE' })
  expect(await results({ envelope: message.envelope.replaceAll(ann.id, eve.id) })).toMatchObject(refused)
  const other = await openRoom(mesh)
  other.handlers.set('keeper', keeper().handler)
  expect(await results({}, other)).toMatchObject({ ...refused, code: 'INVALID_MESSAGE' })
  expect(kept).toEqual([])
})

it('takes messages from whoever carries them, for they are signed', async () => {
  const { mesh, ann, bob, kept, to } = await startTwo()
  mesh.cut.add(bob.id)
  const { id } = await ann.messaging.send({ to, body: 'by another way' })
  const request = queuedFor(ann, bob.id)
  if (request === undefined) throw new Error('nothing is queued')
  const { results, receipts } = await bob.messaging.receive(request)
  expect(results).toEqual([{ state: 'kept' }])
  await ann.messaging.takeReceipts(receipts ?? '')
  await expect.poll(() => kept).toEqual(['by another way'])
  expect(['accepted', 'processed']).toContain(ann.messaging.show(id)?.state)
})

it('refuses receipts of a node that the message was not for', async () => {
  const { mesh, ann, bob, to } = await startTwo()
  mesh.cut.add(bob.id)
  const { id } = await ann.messaging.send({ to, body: 1 })
  const eve = createIdentity()
  const receipts = signReceipts(eve, [{ id, state: 'processed', at: 1 }])
  await ann.messaging.takeReceipts(receipts)
  expect(ann.messaging.show(id)?.state).toBe('queued')
  const stolen = receipts.replace(eve.did, bob.identity.did)
  expect(await failureOf(ann.messaging.takeReceipts(stolen))).toMatchObject({ code: 'INVALID_RECORD' })
  expect(ann.messaging.show(id)?.state).toBe('queued')
})

it('lets no message overtake one that is lost on the way', async () => {
  const { mesh, ann, bob, kept, to } = await startTwo()
  mesh.cut.add(bob.id)
  await ann.messaging.send({ to, body: 1 })
  await ann.messaging.send({ to, body: 2 })
  const request = queuedFor(ann, bob.id)
  if (request === undefined) throw new Error('nothing is queued')
  const second = { ...request, messages: request.messages.slice(1) }
  expect(await bob.messaging.receive(second)).toEqual({ results: [{ state: 'gap' }] })
  expect((await bob.messaging.receive(request)).results).toEqual([{ state: 'kept' }, { state: 'kept' }])
  await expect.poll(() => kept).toEqual([1, 2])
})

it('waits with a full receiver, and goes on when it has room', async () => {
  const { ann, bob } = await startTwo({ maxUnhandledPerPeer: 2 })
  const gate = Promise.withResolvers<void>()
  const seen: unknown[] = []
  bob.handlers.set('slow', async ({ body }) => {
    await gate.promise
    seen.push(body)
  })
  const sent = await Promise.all([1, 2, 3, 4].map((body) => ann.messaging.send({ to: `${bob.id}/slow`, body })))
  await expect.poll(() => ann.messaging.show(sent[1]?.id ?? '')?.state).toMatch(/accepted|delivered/)
  await expect.poll(() => ann.messaging.outbox({ state: 'queued' }).map(({ code }) => code)).toEqual(['BUSY', 'BUSY'])
  gate.resolve()
  await Promise.all(sent.map(({ id }) => ann.messaging.waitFor(id, { signal: soon() })))
  expect(seen).toEqual([1, 2, 3, 4])
})

it('a send waits for room in a full outbox, and fails with BUSY when there is none in time', async () => {
  const mesh = new Mesh()
  const ann = await openRoom(mesh, { maxQueuedPerPeer: 2 })
  const bob = await openRoom(mesh)
  const { kept, handler } = keeper()
  bob.handlers.set('keeper', handler)
  mesh.cut.add(bob.id)
  const to = `${bob.id}/keeper`
  await Promise.all([1, 2].map((body) => ann.messaging.send({ to, body })))
  expect(await failureOf(ann.messaging.send({ to, body: 3 }, { timeoutMs: 20 }))).toMatchObject({ code: 'BUSY' })
  const cancelled = ann.messaging.send({ to, body: 3 }, { signal: AbortSignal.abort() })
  expect(await failureOf(cancelled)).toMatchObject({ code: 'CANCELLED' })
  const waiting = ann.messaging.send({ to, body: 3 })
  mesh.cut.delete(bob.id)
  joined(ann, bob.id)
  await ann.messaging.waitFor((await waiting).id, { signal: soon() })
  expect(kept).toEqual([1, 2, 3])
})

it.each([
  { id: 'a body without JSON', message: { body: undefined }, code: 'INVALID_ARGUMENT' },
  { id: 'a huge body', message: { body: 'x'.repeat(300_000) }, code: 'TOO_LARGE' },
  { id: 'no agent id', message: { to: 'somebody' }, code: 'INVALID_ARGUMENT' },
  { id: 'too long an expiry', message: { expiresIn: 2_592_000_001 }, code: 'INVALID_ARGUMENT' },
  { id: 'too short an expiry', message: { expiresIn: 999 }, code: 'INVALID_ARGUMENT' },
  { id: 'too long an expiry in words', message: { expiresIn: '31d' }, code: 'INVALID_ARGUMENT' },
  { id: 'an expiry that is no duration', message: { expiresIn: 'soon' }, code: 'INVALID_ARGUMENT' },
  { id: 'an expiry in units that there are not', message: { expiresIn: '10 parsecs' }, code: 'INVALID_ARGUMENT' },
  { id: 'an empty expiry', message: { expiresIn: '' }, code: 'INVALID_ARGUMENT' },
  { id: 'an expiry of too many characters', message: { expiresIn: `${'1'.repeat(100)}m` }, code: 'INVALID_ARGUMENT' },
  { id: 'a sender that is not here', message: { from: 'nobody' }, code: 'NOT_FOUND' },
  { id: 'a function in the body', message: { body: { a: () => 1 } }, code: 'INVALID_ARGUMENT' },
  { id: 'no traceparent', message: { trace: 'x' }, code: 'INVALID_ARGUMENT' },
  { id: 'an empty correlation id', message: { correlationId: '' }, code: 'INVALID_ARGUMENT' }
])('does not send $id', async ({ message, code }) => {
  const { ann, to } = await startTwo()
  expect(await failureOf(ann.messaging.send({ to, body: 1, ...message }))).toMatchObject({ code })
  expect(ann.messaging.counts.queued).toBe(0)
})

it.each([
  { expiresIn: '10m', ms: 600_000 },
  { expiresIn: '1.5h', ms: 5_400_000 },
  { expiresIn: '2 days', ms: 172_800_000 },
  { expiresIn: 90_000, ms: 90_000 },
  { expiresIn: '90000', ms: 90_000 }
])('tries a message for $expiresIn, if so long', async ({ expiresIn, ms }) => {
  const { ann, to } = await startTwo()
  const { id } = await ann.messaging.send({ to, body: 1, expiresIn })
  const { sentAt, expiresAt } = ann.messaging.show(id) ?? { sentAt: '', expiresAt: '' }
  expect(Date.parse(expiresAt) - Date.parse(sentAt)).toBe(ms)
})

it('knows what is brought again while it is being written: kept both times, handled once, and in order', async () => {
  const mesh = new Mesh()
  const store = await openStore({ migrations: [messagingMigrations, mailboxMigrations] })
  // A disk that takes its time
  const write: Store['write'] = async (statements) => {
    for (let turns = 0; turns < 5; turns += 1) await new Promise(setImmediate)
    return store.write(statements)
  }
  const [ann, bob] = [await openRoom(mesh), await openRoom(mesh, { store: withWrite(store, write) })]
  const { kept, handler } = keeper()
  bob.handlers.set('keeper', handler)
  const states: string[] = []
  mesh.meddle = async (_from, to, body, answer) => {
    if (to !== bob.id || (body as { op: string }).op !== 'deliver') return answer()
    const answers = (await Promise.all([answer(), answer()])) as { results: { state: string }[] }[]
    states.push(...answers.flatMap(({ results }) => results.map(({ state }) => state)))
    return answers[1]
  }
  const bodies = Array.from({ length: 200 }, (_, n) => n)
  const sent = await Promise.all(bodies.map((body) => ann.messaging.send({ to: `${bob.id}/keeper`, body })))
  for (const { id } of sent) await ann.messaging.waitFor(id, { signal: soon() })
  expect(kept).toEqual(bodies)
  expect(new Set(states)).toEqual(new Set(['kept']))
})

it('a send that the disk refuses takes none with it, and those after it keep their order', async () => {
  const mesh = new Mesh()
  const store = await openStore({ migrations: [messagingMigrations, mailboxMigrations] })
  let refusals = 0
  const ann = await openRoom(mesh, {
    store: withWrite(store, (statements) =>
      statements.some(({ params = [] }) => params.some((each) => String(each).includes('"poison"'))) && ++refusals
        ? Promise.reject(new MeshError('IO', 'no'))
        : store.write(statements)
    )
  })
  const bob = await openRoom(mesh)
  const { kept, handler } = keeper()
  bob.handlers.set('keeper', handler)
  const to = `${bob.id}/keeper`
  // Turns of their own, so a transaction each
  const sent: ReturnType<typeof ann.messaging.send>[] = []
  for (const n of [1, 'poison', 3]) {
    const sending = ann.messaging.send({ to, body: { n } })
    // Looked at below
    sending.catch(() => {})
    sent.push(sending)
    await new Promise(setImmediate)
  }
  const [first, poison, last] = sent
  expect(await failureOf(poison ?? Promise.resolve())).toMatchObject({ code: 'IO' })
  for (const each of [await first, await last]) await ann.messaging.waitFor(each?.id ?? '', { signal: soon() })
  expect(kept).toEqual([{ n: 1 }, { n: 3 }])
  expect(refusals).toBe(1)
})

function withWrite(store: Store, write: Store['write']): Store {
  return {
    write,
    get: (sql, params) => store.get(sql, params),
    all: (sql, params) => store.all(sql, params),
    close: () => store.close()
  }
}
