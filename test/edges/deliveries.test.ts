import { once } from 'node:events'
import { createServer } from 'node:http'
import { expect, it, onTestFinished, vi } from 'vitest'
import { WebSocketServer } from 'ws'
import { createWsEdge, openEdge, WS_PATH } from '../../src/gateway/index.ts'
import type { Node } from '../../src/index.ts'
import { json, listening, startEndpoint } from '../drivers/endpoints.ts'
import { register } from '../gateway/ws-kit.ts'
import { startPair } from '../nodes.ts'

// A handler that has failed is tried again after a second and more
vi.setConfig({ testTimeout: 30_000 })

interface Message {
  readonly id: string
  readonly body: unknown
}

/** Says whether the endpoint takes a message, when it knows. */
type Judge = (message: Message) => Promise<boolean>

const CAPABILITIES = [{ name: 'echo', effects: 'none' }]
const REFUSAL = { code: 'AGENT_ERROR', message: 'not now' }

async function addWebhook(node: Node, judge: Judge): Promise<void> {
  const { url } = await startEndpoint((request, response) => {
    if (request.url !== '/inbox') return json(response, {}, 404)
    void judge(JSON.parse(request.body)).then((isTaken) => json(response, {}, isTaken ? 202 : 503))
  })
  await node.agents.add({
    name: 'agent',
    driver: 'http',
    config: { url, capabilities: CAPABILITIES, messages: '/inbox' }
  })
}

async function addWebSocket(node: Node, judge: Judge): Promise<void> {
  const server = createServer()
  const sockets = new WebSocketServer({ server })
  sockets.on('connection', (socket) => {
    socket.send(JSON.stringify({ type: 'hello', capabilities: CAPABILITIES }))
    socket.on('message', (data: Buffer) => {
      const { type, id, message } = JSON.parse(data.toString())
      if (type !== 'message') return
      void judge(message).then((isTaken) => socket.send(JSON.stringify(answerTo(id, isTaken))))
    })
  })
  onTestFinished(() => {
    for (const socket of sockets.clients) socket.terminate()
  })
  const port = await listening(server)
  await node.agents.add({ name: 'agent', driver: 'websocket', config: { url: `ws://127.0.0.1:${port}` } })
}

async function dialIn(node: Node, judge: Judge): Promise<void> {
  const edge = await openEdge({ node, listen: '127.0.0.1:0', upgrades: { [WS_PATH]: createWsEdge() } })
  onTestFinished(() => edge.close())
  const url = edge.url.replace('http', 'ws') + WS_PATH
  const { client } = await register({ url, token: await node.edges.ownerToken() }, 'agent', CAPABILITIES)
  client.socket.on('message', (data: Buffer) => {
    const { type, id, message } = JSON.parse(data.toString())
    if (type === 'message') void judge(message).then((isTaken) => client.send(answerTo(id, isTaken)))
  })
}

function answerTo(id: string, isTaken: boolean): unknown {
  return isTaken ? { type: 'ack', id } : { type: 'error', id, error: REFUSAL }
}

it.each([
  { id: "an HTTP driver's webhook", attach: addWebhook },
  { id: 'a WebSocket that the node dials', attach: addWebSocket },
  { id: 'an agent that has dialled in', attach: dialIn }
])('a message of another node reaches $id: tried again when it fails, done once it is taken', async ({ attach }) => {
  const [near, far] = await startPair()
  const seen: Message[] = []
  const arrivals = new EventTarget()
  const taken = Promise.withResolvers<boolean>()
  await attach(far, async ({ id, body }) => {
    seen.push({ id, body })
    arrivals.dispatchEvent(new Event(String(seen.length)))
    return seen.length === 1 ? false : taken.promise
  })
  await far.policy.put([{ id: 'mail', effect: 'allow', who: near.id, act: 'message.send', res: 'agent:agent' }])
  const second = once(arrivals, '2', { signal: AbortSignal.timeout(20_000) })
  const { id } = await near.send(`${far.id}/agent`, { tidy: 'up' })
  await second
  expect(seen).toEqual([
    { id, body: { tidy: 'up' } },
    { id, body: { tidy: 'up' } }
  ])
  // It has it, and has not said that it takes it
  expect(near.messages.show(id)?.state).not.toBe('processed')
  taken.resolve(true)
  await near.messages.waitFor(id, { signal: AbortSignal.timeout(10_000) })
  expect(near.messages.show(id)?.state).toBe('processed')
  expect(seen).toHaveLength(2)
})
