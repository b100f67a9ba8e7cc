import { expect, it } from 'vitest'
import { createNode, type Node, type NodeInit } from '../../src/index.ts'
import { addressOf, nextEvent, startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

const soon = () => AbortSignal.timeout(20_000)

async function addKeeper(node: Node): Promise<unknown[]> {
  const kept: unknown[] = []
  await node.agents.add({ name: 'keeper', onMessage: ({ body }) => void kept.push(body) })
  await node.policy.put([{ id: 'mail', effect: 'allow', who: '*', act: 'message.send', res: 'agent:keeper' }])
  return kept
}

it('brings a message from a node to another that is never up at the same time', { timeout: 60_000 }, async () => {
  const home = await tempFolder()
  const init: NodeInit = { name: 'far', home, listen: ['/ip4/127.0.0.1/tcp/0'], lan: false }
  const mail = await startNode({ name: 'mail' })
  const far = await createNode(init)
  await far.start()
  const before = await addKeeper(far)
  await far.connect(addressOf(mail))
  await mail.mailboxes.serve(far.id, { from: '*' })
  expect(await far.mailboxes.use(mail.id)).toMatchObject({ peer: mail.id, maxBytes: 16 * 1024 * 1024 })

  // Near has only ever met far, and learns from it where its mailbox is
  const nearHome = await tempFolder()
  const near = await createNode({ name: 'near', home: nearHome, listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
  await near.start()
  await near.connect(addressOf(far))
  const met = await near.send(`${far.id}/keeper`, 'met')
  await near.messages.waitFor(met.id, { signal: soon() })
  expect(before).toEqual(['met'])
  // It asks by itself too, but nobody can see when it has the answer
  expect(await near.mailboxes.learn(far.id, far.id)).toBe(true)
  await far.stop()

  const deposited = nextEvent(near, 'mailbox:deposited')
  const { id } = await near.send(`${far.id}/keeper`, 'left')
  expect(await deposited).toEqual({ peer: far.id, mailbox: mail.id, messages: 1 })
  expect(mail.mailboxes.list().served).toMatchObject([{ peer: far.id, items: 1 }])
  await near.stop()

  const later = await startNode(init)
  const collected = nextEvent(later, 'mailbox:collected')
  const kept = await addKeeper(later)
  expect(await collected).toEqual({ mailbox: mail.id, messages: 1 })
  await expect.poll(() => kept, { timeout: 10_000 }).toEqual(['left'])
  expect(mail.mailboxes.list().served).toMatchObject([{ peer: later.id, items: 0 }])

  // It learns so when it is back, and nothing is handled again
  const back = await startNode({ name: 'near', home: nearHome })
  await back.connect(addressOf(later))
  await back.messages.waitFor(id, { signal: soon() })
  expect(kept).toEqual(['left'])
})
