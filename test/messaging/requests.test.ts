import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { MessageHandler } from '../../src/messaging/index.ts'
import { tempFolder } from '../temp.ts'
import { Mesh, openRoom, type RoomInit } from './room.ts'

interface Heard {
  readonly from: string
  readonly corr: string | undefined
  readonly outcome: string | undefined
  readonly body: unknown
  readonly by: string
}

/** An agent that passes on what it is sent as a request, and keeps the replies. */
async function openAsker(mesh: Mesh, to: () => string, init: RoomInit = {}) {
  const heard: Heard[] = []
  const room = await openRoom(mesh, init)
  const asker: MessageHandler = ({ kind, from, corr, outcome, body }, { caller, send }) => {
    if (kind === 'reply') heard.push({ from, corr, outcome, body, by: caller.peer })
    else send(to(), body, { expectsReply: true, expiresIn: 60_000 })
  }
  room.handlers.set('asker', asker)
  const ask = async (body: unknown): Promise<string> => {
    await room.messaging.send({ to: `${room.id}/asker`, body })
    await expect.poll(() => room.messaging.outbox({ agent: 'asker', state: 'all' })).toHaveLength(1)
    return room.messaging.outbox({ agent: 'asker', state: 'all' })[0]?.id ?? ''
  }
  return { room, heard, asker, ask }
}

it.each<{ id: string; handler: MessageHandler | 'unknown'; outcome: string; body: unknown; isLocal: boolean }>([
  {
    id: 'the result',
    handler: (_message, { reply }) => reply('done'),
    outcome: 'result',
    body: 'done',
    isLocal: false
  },
  {
    id: 'the error',
    handler: (_message, { fail }) => fail('INVALID_INPUT', 'no such task'),
    outcome: 'error',
    body: { code: 'INVALID_INPUT', message: 'no such task' },
    isLocal: false
  },
  {
    id: 'a refusal',
    handler: 'unknown',
    outcome: 'error',
    body: expect.objectContaining({ code: 'NOT_FOUND' }),
    isLocal: true
  }
])('gives an agent that asked $id once', async ({ handler, outcome, body, isLocal }) => {
  const mesh = new Mesh()
  const bob = await openRoom(mesh)
  bob.handlers.set('worker', handler)
  const { room, heard, ask } = await openAsker(mesh, () => `${bob.id}/worker`)
  const id = await ask('go')
  const by = isLocal ? room.id : bob.id
  await expect.poll(() => heard).toEqual([{ from: `${bob.id}/worker`, corr: id, outcome, body, by }])
  expect(room.messaging.show(id)?.reply).toMatchObject({ outcome })
})

it('tells an agent once that its request has expired, and nothing of a reply that comes later', async () => {
  const mesh = new Mesh()
  let now = Date.now()
  const bob = await openRoom(mesh, { clock: () => now })
  const { promise: free, resolve: release } = Promise.withResolvers<void>()
  bob.handlers.set('worker', async (_message, { reply }) => {
    await free
    reply('too late')
  })
  const { room, heard, ask } = await openAsker(mesh, () => `${bob.id}/worker`, { clock: () => now })
  const id = await ask('go')
  await expect.poll(() => room.messaging.show(id)?.state).toBe('accepted')
  now += 61_000
  await expect.poll(() => heard).toMatchObject([{ corr: id, outcome: 'expired', by: room.id }])
  release()
  await expect.poll(() => room.messaging.show(id)?.events.map(({ what }) => what)).toContain('late-reply')
  expect(heard).toHaveLength(1)
})

it('tells of an expiry after a restart, when the agent is up again', async () => {
  const mesh = new Mesh()
  const path = join(await tempFolder(), 'mesh.db')
  let now = Date.now()
  const { room, heard, ask, asker } = await openAsker(mesh, () => `${room.id.slice(0, -1)}x/worker`, {
    path,
    clock: () => now
  })
  const id = await ask('go')
  room.handlers.set('asker', 'down')
  now += 61_000
  await expect.poll(() => room.messaging.show(id)?.reply?.outcome).toBe('expired')
  await room.crash()
  const more = { receiver: () => asker }
  const again = await openRoom(mesh, { path, identity: room.identity, clock: () => now, more })
  await expect.poll(() => heard).toMatchObject([{ corr: id, outcome: 'expired' }])
  await again.messaging.send({ to: `${again.id}/owner`, body: 'still here' }).then(async (sent) => {
    await expect.poll(() => again.messaging.show(sent.id)?.state, { timeout: 5_000 }).toBe('delivered')
  })
  expect(heard).toHaveLength(1)
})
