import { expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { failureOf } from '../nodes.ts'
import { keeper, Mesh, openRoom, soon } from './room.ts'

/** Time that goes where it is put. */
function createClock() {
  let now = Date.now()
  return { clock: () => now, pass: (ms: number) => void (now += ms) }
}

async function startTwo(init: Parameters<typeof openRoom>[1] = {}, nearInit: Parameters<typeof openRoom>[1] = {}) {
  const mesh = new Mesh()
  return { mesh, ann: await openRoom(mesh, nearInit), bob: await openRoom(mesh, init) }
}

it('keeps, replies and sends together with the end of the message, or nothing of it', async () => {
  const { ann, bob } = await startTwo()
  const { kept, handler } = keeper()
  ann.handlers.set('keeper', handler)
  let tries = 0
  bob.handlers.set('worker', (message, context) => {
    context.state.set('count', Number(context.state.get('count') ?? 0) + 1)
    context.send(`${ann.id}/keeper`, `from try ${tries}`)
    context.reply(context.state.get('count'))
    if (tries++ === 0) throw new Error('not yet')
    expect(message.kind).toBe('request')
  })
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1, expectsReply: true })
  const { reply } = await ann.messaging.waitFor(id, { until: 'reply', signal: soon() })
  expect(reply).toMatchObject({ outcome: 'result', body: 1 })
  await expect.poll(() => kept).toEqual(['from try 1'])
  const story = bob.messaging.show(id)
  expect(story?.events.map(({ what }) => what)).toEqual(['accepted', 'attempt', 'processed'])
  expect(story?.events[1]).toMatchObject({ code: 'AGENT_ERROR', reason: 'not yet' })
})

it('buries what fails five times, tells the sender, goes on with the next, and replays it on demand', async () => {
  const { clock, pass } = createClock()
  const { ann, bob } = await startTwo({ clock })
  const { kept, handler } = keeper()
  let isBroken = true
  bob.handlers.set('worker', (message, context) => {
    if (message.body === 'poison' && isBroken) throw new Error('secret detail')
    return handler(message, context)
  })
  const to = `${bob.id}/worker`
  const poison = await ann.messaging.send({ to, body: 'poison', expectsReply: true })
  const next = await ann.messaging.send({ to, body: 'next' })
  const aging = setInterval(() => pass(60_000), 5)
  const { reply } = await ann.messaging
    .waitFor(poison.id, { until: 'reply', signal: soon() })
    .finally(() => clearInterval(aging))
  expect(reply).toMatchObject({ outcome: 'error', body: { code: 'AGENT_ERROR' } })
  expect(JSON.stringify(reply)).not.toContain('secret')
  await ann.messaging.waitFor(next.id, { signal: soon() })
  expect(kept).toEqual(['next'])
  expect(await failureOf(ann.messaging.waitFor(poison.id, { signal: soon() }))).toMatchObject({ code: 'AGENT_ERROR' })
  expect(bob.messaging.deadLetters()).toMatchObject([{ id: poison.id, tries: 5 }])
  expect(bob.told.filter(({ event }) => event === 'message:dead')).toHaveLength(1)
  isBroken = false
  await bob.messaging.replay(poison.id)
  await expect.poll(() => kept).toEqual(['next', 'poison'])
  expect(bob.messaging.deadLetters()).toEqual([])
})

it('drops a dead letter', async () => {
  const { clock, pass } = createClock()
  const { ann, bob } = await startTwo({ clock })
  bob.handlers.set('worker', () => Promise.reject(new Error('no')))
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1 })
  const aging = setInterval(() => pass(60_000), 5)
  await expect.poll(() => bob.messaging.counts.deadLetters).toBe(1)
  clearInterval(aging)
  await bob.messaging.drop(id)
  expect(bob.messaging.counts.deadLetters).toBe(0)
  expect(await failureOf(bob.messaging.drop(id))).toMatchObject({ code: 'NOT_FOUND' })
  expect(await failureOf(bob.messaging.replay(id))).toMatchObject({ code: 'NOT_FOUND' })
})

it('ends a handler at its deadline and tries again', async () => {
  const { ann, bob } = await startTwo({ handlerTimeoutMs: 30 })
  let tries = 0
  bob.handlers.set('worker', (_message, { signal }) => {
    if (tries++ > 0) return undefined
    return new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
  })
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1 })
  await ann.messaging.waitFor(id, { signal: soon() })
  expect(bob.messaging.show(id)?.events.find(({ what }) => what === 'attempt')).toMatchObject({ code: 'TIMEOUT' })
})

it('a handler that gives up fails the message at once, and the request has its error', async () => {
  const { ann, bob } = await startTwo()
  bob.handlers.set('worker', (_message, { fail }) => fail('INVALID_INPUT', 'no such task'))
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1, expectsReply: true })
  const { reply } = await ann.messaging.waitFor(id, { until: 'reply', signal: soon() })
  expect(reply).toMatchObject({ outcome: 'error', body: { code: 'INVALID_INPUT', message: 'no such task' } })
  expect(bob.messaging.deadLetters()).toEqual([])
})

it('waits for an agent that is down, without counting attempts', async () => {
  const { ann, bob } = await startTwo()
  bob.handlers.set('worker', 'down')
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1 })
  await expect.poll(() => ann.messaging.show(id)?.state).toBe('accepted')
  bob.handlers.set('worker', () => undefined)
  bob.events.emit('agent:up', { agent: `${bob.id}/worker` })
  await ann.messaging.waitFor(id, { signal: soon() })
  expect(bob.messaging.show(id)?.tries).toBe(0)
})

it.each([
  { id: 'there is no such agent', receiver: 'unknown' as const },
  { id: 'the agent takes no messages', receiver: 'unsupported' as const }
])('refuses when $id', async ({ receiver }) => {
  const { ann, bob } = await startTwo()
  bob.handlers.set('worker', receiver)
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1 })
  expect(await failureOf(ann.messaging.waitFor(id, { signal: soon() }))).toMatchObject({ code: 'NOT_FOUND' })
})

it('a chain of messages ends when its hops are used up', async () => {
  const { ann, bob } = await startTwo()
  const [hops, failures]: [number[], unknown[]] = [[], []]
  for (const room of [ann, bob]) {
    const other = room === ann ? bob : ann
    room.handlers.set('relay', ({ budget, body }, context) => {
      hops.push(budget.hops)
      try {
        context.send(`${other.id}/relay`, body)
      } catch (err) {
        failures.push(err)
      }
    })
  }
  await ann.messaging.send({ to: `${bob.id}/relay`, body: 'on and on' })
  await expect.poll(() => failures).toMatchObject([{ code: 'LIMIT_EXCEEDED' }])
  expect(hops).toEqual([8, 7, 6, 5, 4, 3, 2, 1, 0])
})

it('expires what is not delivered in time, and tells the request so, once', async () => {
  const { clock, pass } = createClock()
  const { mesh, ann, bob } = await startTwo({}, { clock })
  mesh.cut.add(bob.id)
  const { id } = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1, expectsReply: true, expiresIn: 90_000 })
  pass(61_000)
  await expect.poll(() => ann.told.filter(({ event }) => event === 'message:delayed')).toHaveLength(1)
  pass(30_000)
  const { reply } = await ann.messaging.waitFor(id, { until: 'reply', signal: soon() })
  expect(reply).toMatchObject({ outcome: 'expired' })
  await expect.poll(() => ann.messaging.show(id)?.state).toBe('expired')
  expect(ann.messaging.counts.queued).toBe(0)
  expect(ann.messaging.show(id)?.events.map(({ what }) => what)).toEqual(['queued', 'delayed', 'expired'])
  expect(await failureOf(ann.messaging.waitFor(id, { signal: soon() }))).toMatchObject({ code: 'TIMEOUT' })
})

it('notes a reply that comes after the request has its outcome, and delivers it to nobody', async () => {
  const { clock, pass } = createClock()
  const { ann, bob } = await startTwo({}, { clock })
  const gate = Promise.withResolvers<void>()
  bob.handlers.set('slow', async (_message, { reply }) => {
    await gate.promise
    reply('too late')
  })
  const { id } = await ann.messaging.send({ to: `${bob.id}/slow`, body: 1, expectsReply: true, expiresIn: 60_000 })
  await expect.poll(() => ann.messaging.show(id)?.state).toBe('accepted')
  pass(61_000)
  const { reply } = await ann.messaging.waitFor(id, { until: 'reply', signal: soon() })
  expect(reply?.outcome).toBe('expired')
  gate.resolve()
  await expect.poll(() => ann.messaging.show(id)?.events.map(({ what }) => what)).toContain('late-reply')
  expect(ann.messaging.show(id)?.reply?.outcome).toBe('expired')
  expect(ann.messaging.counts.unread).toBe(0)
})

it('asks the owner where policy says so, and delivers when that is allowed', async () => {
  const mesh = new Mesh()
  const ann = await openRoom(mesh)
  let isAllowed = false
  const bob = await openRoom(mesh, {
    permissions: {
      expect: () => {},
      permit: async () => {
        if (!isAllowed) throw new MeshError('PERMISSION_PENDING', 'the owner has been asked', { data: { id: 'x' } })
        return {} as never
      }
    }
  })
  const { kept, handler } = keeper()
  bob.handlers.set('keeper', handler)
  await bob.policy.put([{ id: 'all', effect: 'ask', who: '*', act: 'message.send', res: 'agent:*' }])
  const { id } = await ann.messaging.send({ to: `${bob.id}/keeper`, body: 'please' })
  await expect.poll(() => ann.messaging.show(id)?.state).toBe('queued')
  expect(kept).toEqual([])
  isAllowed = true
  ann.events.emit('permission:decided', { id: 'x', peer: bob.id, state: 'allowed' })
  const retry = setInterval(
    () => ann.events.emit('permission:decided', { id: 'x', peer: bob.id, state: 'allowed' }),
    20
  )
  await ann.messaging.waitFor(id, { signal: soon() }).finally(() => clearInterval(retry))
  expect(kept).toEqual(['please'])
})

it('cancels what is queued to a blocked peer and drops what of it is not handled', async () => {
  const { mesh, ann, bob } = await startTwo()
  bob.handlers.set('worker', 'down')
  const kept = await ann.messaging.send({ to: `${bob.id}/worker`, body: 1 })
  await expect.poll(() => ann.messaging.show(kept.id)?.state).toBe('accepted')
  mesh.cut.add(ann.id)
  const queued = await bob.messaging.send({ to: `${ann.id}/owner`, body: 1 })
  await bob.messaging.dropPeer(ann.id)
  expect(bob.messaging.show(queued.id)).toMatchObject({ state: 'cancelled', reason: 'the peer was blocked' })
  expect(bob.messaging.show(kept.id)?.state).toBe('cancelled')
  expect(bob.messaging.counts.queued).toBe(0)
})

it('takes nothing new on a full disk, and goes on when there is room', async () => {
  let isFull = true
  const refusal = () => (isFull ? new MeshError('IO', 'the disk is nearly full') : undefined)
  const { ann, bob } = await startTwo({ refusal })
  const { kept, handler } = keeper()
  bob.handlers.set('keeper', handler)
  const { id } = await ann.messaging.send({ to: `${bob.id}/keeper`, body: 1 })
  await expect.poll(() => ann.messaging.outbox()[0]?.code).toBe('BUSY')
  expect(await failureOf(bob.messaging.send({ to: `${ann.id}/owner`, body: 1 }))).toMatchObject({ code: 'IO' })
  isFull = false
  await ann.messaging.waitFor(id, { signal: soon() })
  expect(kept).toEqual([1])
})
