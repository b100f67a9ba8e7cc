import { once } from 'node:events'
import { connect as connectSocket, type Socket } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { WS_LIMITS } from '../../src/gateway/ws/constants.ts'
import { failureOf, nextEvent } from '../nodes.ts'
import { Client, connect, refusal, register, startEdge } from './ws-kit.ts'

const LARGE = 'x'.repeat(200 * 1024)

it.each([
  { id: 'no JSON', frame: '{"type":', code: 1002 },
  { id: 'no object', frame: '[]', code: 1002 },
  { id: 'no type', frame: '{}', code: 1002 },
  {
    id: 'JSON that is too deep',
    frame: `{"type":"find","id":"1","name":${'['.repeat(70)}${']'.repeat(70)}}`,
    code: 1002
  },
  { id: 'a key that reaches a prototype', frame: '{"type":"find","id":"1","__proto__":{}}', code: 1002 },
  { id: 'a request without an id', frame: '{"type":"find"}', code: 1002 },
  {
    id: 'more than a frame may have',
    frame: JSON.stringify({ type: 'find', id: '1', x: 'x'.repeat(1024 * 1024) }),
    code: 1009
  }
])('ends with a client that sends $id', async ({ frame, code }) => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const down = nextEvent(node, 'agent:down')
  client.send(frame)
  expect(await client.closed).toBe(code)
  await down
})

it('ends with a client that sends bytes', async () => {
  const { url, ownerToken } = await startEdge()
  const client = await connect({ url, token: ownerToken })
  client.socket.send(Buffer.from('{"type":"find","id":"1"}'), { binary: true })
  expect(await client.closed).toBe(1002)
})

it('ends with an agent that breaks the protocol of agents', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const called = failureOf(node.call(`${node.id}/worker`, 'echo', {}))
  const { id } = await client.take('call')
  client.send({ type: 'error', id })
  expect(await client.closed).toBe(1002)
  expect(await called).toMatchObject({ code: 'CONNECTION_LOST' })
})

it('passes over frames of a type that a later version may have', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  client.send({ type: 'wave', at: 'the crowd' })
  const called = node.call(`${node.id}/worker`, 'echo', {})
  client.send({ type: 'result', id: (await client.take('call')).id, result: 1 })
  expect(await called).toBe(1)
})

it('answers a flood of requests with BUSY, and the first ones all the same', async () => {
  const { node, url, ownerToken } = await startEdge()
  const gate = Promise.withResolvers<void>()
  await node.agents.add({ name: 'slow', capabilities: [{ name: 'wait', handler: () => gate.promise }] })
  const client = await connect({ url, token: ownerToken })
  for (let n = 0; n < 200; n += 1)
    client.send({ type: 'invoke', id: String(n), target: `${node.id}/slow`, capability: 'wait' })
  for (let n = 64; n < 200; n += 1)
    expect(await client.take('error')).toMatchObject({ id: String(n), error: { code: 'BUSY' } })
  gate.resolve()
  for (let n = 0; n < 64; n += 1) expect(await client.take('result')).toMatchObject({ result: null })
})

it('ends with a client that uses an id twice', async () => {
  const { node, url, ownerToken } = await startEdge()
  const client = await connect({ url, token: ownerToken })
  await node.agents.add({ name: 'slow', capabilities: [{ name: 'wait', handler: () => new Promise(() => {}) }] })
  const invoke = { type: 'invoke', id: 'same', target: `${node.id}/slow`, capability: 'wait' }
  client.send(invoke)
  client.send(invoke)
  expect(await client.closed).toBe(1002)
})

it('gives an agent no more calls than it may have', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const call = (): Promise<unknown> => node.call(`${node.id}/worker`, 'echo', {})
  const calls = Array.from({ length: 64 }, () => call())
  expect(await failureOf(call())).toMatchObject({ code: 'BUSY' })
  for (const _ of calls) client.send({ type: 'result', id: (await client.take('call')).id, result: 1 })
  expect(await Promise.all(calls)).toHaveLength(64)
})

it('lets a stream wait for a client that reads slowly, and holds little of it', async () => {
  const { node, url, ownerToken } = await startEdge()
  let yielded = 0
  const items = 100
  await node.agents.add({
    name: 'source',
    capabilities: [
      {
        name: 'flood',
        async *handler() {
          for (; yielded < items; yielded += 1) yield LARGE
        }
      }
    ]
  })
  const slow = await connect({ url, token: ownerToken })
  slow.socket.pause()
  slow.send({ type: 'invoke', id: 's', target: `${node.id}/source`, capability: 'flood', stream: true })
  const other = await connect({ url, token: ownerToken })
  let before = -1
  // Once it has stood still for a while, the connection is full
  while (before !== yielded) {
    before = yielded
    other.send({ type: 'find', id: String(yielded), limit: 1, timeoutMs: 200 })
    await other.take('end')
  }
  expect(yielded).toBeLessThan(items)
  slow.socket.resume()
  await slow.take('end')
  expect(slow.frames.filter(({ type }) => type === 'item')).toHaveLength(items)
})

it('lets go of a client that reads nothing while much is for it', async () => {
  const { node, url, ownerToken } = await startEdge({ limits: { maxWriteQueueBytes: 256 * 1024 } })
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const other = await connect({ url, token: ownerToken })
  client.socket.pause()
  const huge = 'x'.repeat(900 * 1024)
  const calls = Array.from({ length: 40 }, () => failureOf(node.call(`${node.id}/worker`, 'echo', huge)))
  for (const id of ['1', '2']) {
    other.send({ type: 'find', id, limit: 1, timeoutMs: 200 })
    await other.take('end')
  }
  client.socket.resume()
  expect(await client.closed).toBe(1013)
  await node.agents.remove('worker')
  await Promise.all(calls)
})

it('pings its clients, and lets go of those who do not answer', async () => {
  let now = 0
  const { node, url, ownerToken } = await startEdge({ limits: { sweepMs: 5, resumeMs: 10 }, now: () => now })
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const pinged = once(client.socket, 'ping')
  now = WS_LIMITS.pingMs
  await pinged
  const down = nextEvent(node, 'agent:down')
  client.socket.pause()
  // Again and again: an answer may be on its way
  const passing = setInterval(() => {
    now += WS_LIMITS.deadMs + 1
  }, 20)
  onTestFinished(() => clearInterval(passing))
  expect(await down).toMatchObject({ reason: 'it has not come back' })
})

it('has room for so many connections, and for fewer that have not said who they are', async () => {
  const { url, ownerToken } = await startEdge({ limits: { maxConnections: 4, maxWaiting: 2 } })
  const waiting = [new Client({ url }), new Client({ url })]
  await Promise.all(waiting.map(({ socket }) => once(socket, 'open')))
  expect(await refusal({ url })).toBe(503)
  // Who says who it is isn't kept out by those who wait
  await connect({ url, token: ownerToken })
  waiting[0]?.send({ type: 'auth', method: 'local', token: ownerToken })
  await waiting[0]?.take('welcome')
  await connect({ url, token: ownerToken })
  expect(await refusal({ url, token: ownerToken })).toBe(503)
  waiting[0]?.socket.close()
  await waiting[0]?.closed
  const last = await connect({ url, token: ownerToken })
  expect(last.socket.readyState).toBe(last.socket.OPEN)
})

it('tells its clients when the node stops, those without credentials too', async () => {
  const { node, url, ownerToken, close } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const waiting = new Client({ url })
  await once(waiting.socket, 'open')
  const called = failureOf(node.call(`${node.id}/worker`, 'echo', {}))
  await client.take('call')
  await close()
  expect([await client.closed, await waiting.closed]).toEqual([1001, 1001])
  expect(await called).toMatchObject({ code: 'CONNECTION_LOST' })
  expect(node.agents.get('worker')?.state).toBe('down')
})

it('survives what is no WebSocket at all', async () => {
  const { url, ownerToken } = await startEdge()
  const { port } = new URL(url)
  const raw = (): Promise<Socket> =>
    new Promise((resolve) => {
      const socket = connectSocket(Number(port), '127.0.0.1', () => resolve(socket))
      onTestFinished(() => void socket.destroy())
    })
  const head = `GET /v1/ws HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nAuthorization: Bearer ${ownerToken}\r\n`
  for (const rest of ['\r\n', 'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 7\r\n\r\n']) {
    const socket = await raw()
    socket.write(head + rest)
    expect(String(await once(socket, 'data'))).toMatch(/^HTTP\/1.1 (400|426)/)
  }
  const socket = await raw()
  socket.write(`${head}Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n`)
  expect(String(await once(socket, 'data'))).toMatch(/^HTTP\/1.1 101/)
  // No mask, RFC 6455 §5.1
  socket.write(Buffer.from([0x81, 0x02, 0x7b, 0x7d]))
  await once(socket, 'close')
  await connect({ url, token: ownerToken })
})
