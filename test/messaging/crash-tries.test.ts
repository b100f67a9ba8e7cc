import { join } from 'node:path'
import { expect, it } from 'vitest'
import type { MessageHandler } from '../../src/messaging/index.ts'
import { tempFolder } from '../temp.ts'
import { Mesh, openRoom, soon } from './room.ts'

it('counts a crash once for a message, however often it is tried after it', async () => {
  const mesh = new Mesh()
  const ann = await openRoom(mesh)
  const path = join(await tempFolder(), 'mesh.db')
  const bob = await openRoom(mesh, { path })
  bob.handlers.set('keeper', 'down')
  const to = `${bob.id}/keeper`
  const sent = await Promise.all([1, 2, 3].map((body) => ann.messaging.send({ to, body })))
  await expect.poll(() => bob.messaging.inbox({ agent: 'keeper' })).toHaveLength(3)
  await bob.crash()

  const attempts: unknown[] = []
  // The crash and three failures are four of the five attempts that each has
  const handler: MessageHandler = ({ body }, { tries }) => {
    attempts.push([body, tries])
    if (tries < 4) throw new Error('not yet')
  }
  const again = await openRoom(mesh, {
    path,
    identity: bob.identity,
    more: { random: () => 0, receiver: () => handler }
  })
  for (const { id } of sent) await ann.messaging.waitFor(id, { signal: soon() })
  expect(attempts).toEqual([1, 2, 3].flatMap((body) => [1, 2, 3, 4].map((tries) => [body, tries])))
  expect(again.messaging.deadLetters()).toEqual([])
})
