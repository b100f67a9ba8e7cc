import { expect, it } from 'vitest'
import { MESSAGE_KEPT_MS } from '../../src/messaging/constants.ts'
import { sweep } from '../../src/messaging/sweep.ts'
import { keeper, Mesh, openRoom, soon } from './room.ts'

it('forgets messages with their texts and signatures a while after their end, and nothing that waits', async () => {
  const mesh = new Mesh()
  const [ann, bob] = [await openRoom(mesh), await openRoom(mesh)]
  bob.handlers.set('keeper', keeper().handler)
  const to = `${bob.id}/keeper`
  const done = await ann.messaging.send({ to, body: 1 })
  await ann.messaging.waitFor(done.id, { signal: soon() })
  mesh.cut.add(bob.id)
  const waiting = await ann.messaging.send({ to, body: 2 })
  const rows = () =>
    ['message_out', 'message_text', 'message_signature'].map((table) =>
      Number(ann.store.get(`SELECT count(*) AS count FROM ${table}`)?.['count'])
    )
  await sweep(ann.store, Date.now() + MESSAGE_KEPT_MS - 60_000)
  expect(rows()).toEqual([2, 2, 2])
  await sweep(ann.store, Date.now() + MESSAGE_KEPT_MS + 60_000)
  expect(rows()).toEqual([1, 1, 1])
  expect(ann.messaging.show(done.id)).toBeUndefined()
  expect(ann.messaging.show(waiting.id)).toMatchObject({ state: 'queued', body: 2 })
})
