import { expect, it } from 'vitest'
import type { MessageContext, Node } from '../../src/index.ts'
import { addressOf, failureOf, nextEvent, startNode, startPair } from '../nodes.ts'

const soon = () => AbortSignal.timeout(10_000)

/** An agent that keeps what it was sent, in order. */
async function addKeeper(node: Node, name = 'keeper'): Promise<unknown[]> {
  const kept: unknown[] = []
  await node.agents.add({ name, onMessage: ({ body }) => void kept.push(body) })
  await allow(node, name)
  return kept
}

const allow = (node: Node, agent: string): Promise<void> =>
  node.policy.put([{ id: `messages-${agent}`, effect: 'allow', who: '*', act: 'message.send', res: `agent:${agent}` }])

it('delivers messages in the order in which they were sent, each once', async () => {
  const [near, far] = await startPair()
  const kept = await addKeeper(far)
  const bodies = Array.from({ length: 300 }, (_, n) => ({ n }))
  const sent = await Promise.all(bodies.map((body) => near.send(`${far.id}/keeper`, body)))
  const last = sent.at(-1)
  await near.messages.waitFor(last?.id ?? '', { signal: soon() })
  expect(kept).toEqual(bodies)
  expect(near.status().messages.queued).toBe(0)
})

it('brings a request its one result', async () => {
  const [near, far] = await startPair()
  await far.agents.add({
    name: 'adder',
    onMessage: (message, context: MessageContext) => {
      const [a = 0, b = 0] = message.body as number[]
      context.reply(a + b)
    }
  })
  await allow(far, 'adder')
  const { id } = await near.send(`${far.id}/adder`, [2, 3], { expectsReply: true })
  const { reply } = await near.messages.waitFor(id, { until: 'reply', signal: soon() })
  expect(reply).toMatchObject({ outcome: 'result', body: 5 })
  await near.messages.waitFor(id, { signal: soon() })
  // Taken, so nothing of it is unread
  expect(near.status().messages.unread).toBe(0)
})

it('keeps a message for a peer that is not there, and delivers it when it comes', async () => {
  const far = await startNode({ name: 'far' })
  const kept = await addKeeper(far)
  const near = await startNode({ name: 'near' })
  const { id } = await near.send(`${far.id}/keeper`, 'hello')
  expect(near.messages.show(id)?.state).toBe('queued')
  await near.connect(addressOf(far))
  await near.messages.waitFor(id, { signal: soon() })
  expect(kept).toEqual(['hello'])
})

it('brings messages to the owner, who reads and answers them', async () => {
  const [near, far] = await startPair()
  await far.trust.set(near.id, { level: 'known' })
  const received = nextEvent(far, 'message:received')
  const { id } = await near.send(`${far.id}/owner`, 'may I?', { expectsReply: true })
  await received
  expect(far.messages.inbox()).toMatchObject([{ id, state: 'delivered', body: 'may I?', from: `${near.id}/owner` }])
  expect(far.status().messages.unread).toBe(1)
  await far.messages.reply(id, 'yes')
  const { reply } = await near.messages.waitFor(id, { until: 'reply', signal: soon() })
  expect(reply).toMatchObject({ outcome: 'result', body: 'yes' })
  expect(far.status().messages.unread).toBe(0)
})

it('refuses for good what policy denies', async () => {
  const [near, far] = await startPair()
  await far.agents.add({ name: 'keeper', onMessage: () => undefined })
  const { id } = await near.send(`${far.id}/keeper`, 'hello')
  const failure = await failureOf(near.messages.waitFor(id, { signal: soon() }))
  expect(failure).toMatchObject({ code: 'FORBIDDEN' })
})

it('sends to its own agents without a network', async () => {
  const node = await startNode()
  const kept = await addKeeper(node)
  const { id } = await node.send('@keeper', 1)
  await node.messages.waitFor(id, { signal: soon() })
  expect(kept).toEqual([1])
})
