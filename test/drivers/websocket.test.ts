import { once } from 'node:events'
import { createServer } from 'node:http'
import { expect, it, onTestFinished } from 'vitest'
import { type WebSocket, WebSocketServer } from 'ws'
import { type NodeFrame, nodeFrame } from '../../src/drivers/agent-frames.ts'
import { AgentSession, type Duplex } from '../../src/drivers/agent-session.ts'
import { createWebSocketDriver } from '../../src/drivers/websocket.ts'
import { duplexOf } from '../../src/drivers/websocket-duplex.ts'
import { components, listening } from './endpoints.ts'
import { connect, invokeContext } from './support.ts'

const HELLO = {
  type: 'hello',
  version: '1.1.0',
  capabilities: [{ name: 'do' }, { name: 'items', streaming: true, version: '2.0.0' }]
}

type Handler = (frame: NodeFrame, say: (frame: unknown) => void, socket: WebSocket) => void

/** An agent that listens; each frame from the node goes to the handler. */
async function agent(handler: Handler, hello: unknown = HELLO, config: Record<string, unknown> = {}) {
  const http = createServer()
  const port = await listening(http)
  const server = new WebSocketServer({ server: http })
  const frames: NodeFrame[] = []
  const sockets: WebSocket[] = []
  server.on('connection', (socket) => {
    sockets.push(socket)
    const say = (frame: unknown): void => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
    socket.on('message', (data: Buffer) => {
      const frame = nodeFrame.parse(JSON.parse(data.toString()))
      frames.push(frame)
      handler(frame, say, socket)
    })
    if (hello !== undefined) say(hello)
  })
  const connected = await connect(createWebSocketDriver(components()), { url: `ws://127.0.0.1:${port}/`, ...config })
  const [socket] = sockets
  if (socket === undefined) throw new Error('nobody has connected')
  return { ...connected, frames, socket, http, say: (frame: unknown) => socket.send(JSON.stringify(frame)) }
}

const code = (expected: string) => expect.objectContaining({ code: expected })

async function collect(items: unknown): Promise<unknown[]> {
  const collected: unknown[] = []
  for await (const item of items as AsyncIterable<unknown>) collected.push(item)
  return collected
}

const stream = (connection: { invoke: AgentSession['invoke'] }, context = invokeContext()) =>
  connection.invoke({ kind: 'tool', name: 'items' }, {}, context) as AsyncIterableIterator<unknown>

it('offers what the agent says in its hello, and tells when that changes', async () => {
  const { describe, say, events } = await agent(() => {})
  expect(await describe()).toMatchObject({
    version: '1.1.0',
    capabilities: [
      { kind: 'tool', name: 'do', version: '1.1.0' },
      { name: 'items', version: '2.0.0' }
    ]
  })
  const changed = once(events, 'changed')
  say({ type: 'capabilities', capabilities: [{ name: 'more' }] })
  await changed
  expect(await describe()).toMatchObject({ version: '1.1.0', capabilities: [{ name: 'more' }] })
})

it('tells the agent what is called, by whom, and gives its result back', async () => {
  const { call, frames } = await agent((frame, say) => say({ type: 'result', id: frame.id, result: { sum: 3 } }))
  expect(await call('do', { a: 1 })).toEqual({ sum: 3 })
  expect(frames).toEqual([
    {
      type: 'call',
      id: '1',
      capability: { kind: 'tool', name: 'do', version: '1.1.0' },
      input: { a: 1 },
      caller: { peer: '12D3KooWTest', trust: 'known' },
      deadlineMs: 300_000,
      credit: 64
    }
  ])
  await expect(call('other')).rejects.toThrow(code('NOT_FOUND'))
})

it('keeps calls apart that are answered in another order', async () => {
  const waiting: (() => void)[] = []
  const { call } = await agent((frame, say) => {
    if (frame.type !== 'call') return
    waiting.unshift(() => say({ type: 'result', id: frame.id, result: frame.input }))
    if (waiting.length === 3) for (const answer of waiting) answer()
  })
  expect(await Promise.all([call('do', 1), call('do', 2), call('do', 3)])).toEqual([1, 2, 3])
})

it.each([
  { said: 'INVALID_INPUT', expected: { code: 'INVALID_INPUT', message: 'no' } },
  { said: 'AGENT_ERROR', expected: { code: 'AGENT_ERROR', message: 'no', data: undefined } },
  { said: 'FORBIDDEN', expected: { code: 'AGENT_ERROR', data: { code: 'FORBIDDEN' } } },
  { said: 'E_FULL', expected: { code: 'AGENT_ERROR', data: { code: 'E_FULL' } } }
])('reads a failure of $said', async ({ said, expected }) => {
  const { call } = await agent(({ id }, say) => say({ type: 'error', id, error: { code: said, message: 'no' } }))
  await expect(call('do')).rejects.toMatchObject(expected)
})

it('keeps to a bound in what an agent says of its failure', async () => {
  const { call } = await agent(({ id }, say) =>
    say({ type: 'error', id, error: { code: 'X', message: 'e'.repeat(50_000) } })
  )
  const failed = await call('do').catch((err: unknown) => err)
  expect((failed as Error).message).toHaveLength(4096)
})

it('yields items in order, and gives credit as they are read', async () => {
  const { connection } = await agent((frame, say) => {
    if (frame.type === 'call')
      for (let seq = 0; seq < frame.credit; seq += 1) say({ type: 'item', id: frame.id, seq, item: seq })
    if (frame.type !== 'credit') return
    say({ type: 'item', id: frame.id, seq: 64, item: frame.items })
    say({ type: 'end', id: frame.id })
  })
  const expected = [...Array.from({ length: 64 }, (_, seq) => seq), 32]
  expect((await collect(stream(connection))).slice(0, 65)).toEqual(expected)
})

it('takes the result of a stream for its only item', async () => {
  const { connection } = await agent(({ id }, say) => say({ type: 'result', id, result: 'one' }))
  expect(await collect(stream(connection))).toEqual(['one'])
})

it.each([
  {
    id: 'items of what is no stream',
    name: 'do',
    frames: [{ type: 'item', seq: 0, item: 1 }],
    expected: 'AGENT_ERROR'
  },
  { id: 'an item left out', name: 'items', frames: [{ type: 'item', seq: 1, item: 1 }], expected: 'AGENT_ERROR' },
  {
    id: 'an item that is too large',
    name: 'items',
    frames: [{ type: 'item', seq: 0, item: 'x'.repeat(262_144) }],
    expected: 'TOO_LARGE'
  }
])('fails a call for $id, and lets the agent know', async ({ name, frames: said, expected }) => {
  const { connection, frames } = await agent(({ type, id }, say) => {
    if (type === 'call') for (const frame of said) say({ ...frame, id })
  })
  const result = connection.invoke({ kind: 'tool', name }, {}, invokeContext())
  await expect(name === 'do' ? result : collect(result)).rejects.toThrow(code(expected))
  await expect.poll(() => frames.at(-1)).toEqual({ type: 'cancel', id: '1' })
})

it('cancels at the agent when the caller leaves, and ignores what comes after', async () => {
  const { call, connection, frames, say } = await agent((frame, answer) => {
    if (frame.type === 'call' && frame.id === '3') answer({ type: 'result', id: '3', result: 'ok' })
    if (frame.type === 'call' && frame.id === '2') answer({ type: 'item', id: '2', seq: 0, item: 1 })
  })
  const controller = new AbortController()
  const hanging = call('do', {}, invokeContext(controller.signal))
  await expect.poll(() => frames).toHaveLength(1)
  controller.abort()
  await expect(hanging).rejects.toThrow(code('CANCELLED'))
  for await (const item of stream(connection)) {
    expect(item).toBe(1)
    break
  }
  await expect
    .poll(() => frames.slice(1))
    .toMatchObject([
      { type: 'cancel', id: '1' },
      { type: 'call', id: '2' },
      { type: 'cancel', id: '2' }
    ])
  say({ type: 'result', id: '1', result: 'late' })
  say({ type: 'a type of a later version' })
  expect(await call('do')).toBe('ok')
})

it('gives up when there is no answer, or no next item, in time', async () => {
  const { call, connection } = await agent(() => {}, HELLO, { timeoutMs: 100 })
  await expect(call('do')).rejects.toThrow(code('TIMEOUT'))
  await expect(collect(stream(connection))).rejects.toThrow(code('TIMEOUT'))
})

it('takes 64 calls at once, and no more', async () => {
  const waiting: (() => void)[] = []
  const { call } = await agent((frame, say) => waiting.push(() => say({ type: 'result', id: frame.id, result: 1 })))
  const calls = Array.from({ length: 64 }, () => call('do'))
  await expect(call('do')).rejects.toThrow(code('BUSY'))
  await expect.poll(() => waiting).toHaveLength(64)
  for (const answer of waiting) answer()
  expect(await Promise.all(calls)).toHaveLength(64)
})

it('fails what is under way and is lost when the agent goes away', async () => {
  const { call, connection, events, socket, frames } = await agent(() => {})
  const lost = once(events, 'lost')
  const pending = [call('do'), collect(stream(connection))]
  await expect.poll(() => frames).toHaveLength(2)
  socket.terminate()
  for (const one of pending) await expect(one).rejects.toThrow(code('CONNECTION_LOST'))
  expect(await lost).toEqual(['it closed the connection (1006)', undefined])
  await expect(call('do')).rejects.toThrow(code('AGENT_UNAVAILABLE'))
})

it.each([
  { id: 'what is no JSON', said: 'hello', reason: 'not JSON' },
  { id: 'a result without an id', said: '{"type":"result"}', reason: 'the agent sent a bad frame: id' },
  { id: 'a key that reaches a prototype', said: '{"__proto__":{}}', reason: 'the key __proto__ is not allowed' },
  { id: 'a frame that is too large', said: 'x'.repeat(1024 * 1024 + 4097), reason: 'it sent a frame that is too large' }
])('lets go of an agent that sends $id', async ({ said, reason }) => {
  const { events, socket } = await agent(() => {})
  const [lost, closed] = [once(events, 'lost'), once(socket, 'close')]
  socket.send(said)
  expect((await lost)[0]).toContain(reason)
  await closed
})

it.each([
  { id: 'no hello', hello: { type: 'capabilities', capabilities: [] } },
  { id: 'a name that is none', hello: { type: 'hello', capabilities: [{ name: 'a b' }] } },
  { id: 'a hidden character', hello: { type: 'hello', description: 'a\u202eb', capabilities: [] } }
])('does not come up with $id', async ({ hello }) => {
  await expect(agent(() => {}, hello)).rejects.toThrow(code('AGENT_UNAVAILABLE'))
})

it('is unavailable when nobody listens, or what listens is no WebSocket', async () => {
  const http = createServer((_, response) => response.end())
  const port = await listening(http)
  const driver = createWebSocketDriver(components())
  await expect(connect(driver, { url: `ws://127.0.0.1:${port}/` })).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  http.close()
  await expect(connect(driver, { url: `ws://127.0.0.1:${port}/` })).rejects.toThrow(code('AGENT_UNAVAILABLE'))
})

it.each([
  { url: 'ws://example.org/', resolved: '93.184.216.34' },
  { url: 'wss://10.0.0.1/', resolved: '10.0.0.1' },
  { url: 'wss://inside.example/', resolved: '192.168.0.1' }
])('does not dial $url', async ({ url, resolved }) => {
  const resolve: ReturnType<typeof components>['resolve'] = (_hostname, _options, done) =>
    done(null, [{ address: resolved, family: 4 }])
  const driver = createWebSocketDriver({ ...components(), resolve })
  await expect(connect(driver, { url })).rejects.toThrow(code('FORBIDDEN'))
})

it('hands over a message, and says whether the agent has taken it', async () => {
  const { connection, frames } = await agent((frame, say) => {
    if (frame.type !== 'message') return
    if (frame.message === 'bad') say({ type: 'error', id: frame.id, error: { code: 'X', message: 'no' } })
    else say({ type: 'ack', id: frame.id })
  })
  const session = connection as AgentSession
  const { caller, signal } = invokeContext()
  await session.message({ text: 'hi' }, { signal, caller })
  expect(frames).toEqual([
    { type: 'message', id: '1', message: { text: 'hi' }, caller: { peer: '12D3KooWTest', trust: 'known' } }
  ])
  await expect(session.message('bad', { signal })).rejects.toThrow(code('AGENT_ERROR'))
})

it('is well while the agent answers pings', async () => {
  const { connection, socket } = await agent(() => {})
  await connection.health({ signal: AbortSignal.timeout(5_000) })
  socket.pause()
  await expect(connection.health({ signal: AbortSignal.timeout(100) })).rejects.toThrow('abort')
})

it('lets go of a connection whose pings stay without an answer', async () => {
  const server = new WebSocketServer({ port: 0, host: '127.0.0.1', autoPong: false })
  onTestFinished(() => server.close())
  await once(server, 'listening')
  const { WebSocket: Client } = await import('ws')
  const socket = new Client(`ws://127.0.0.1:${(server.address() as { port: number }).port}`)
  const duplex = duplexOf(socket, 20)
  const reason = new Promise((resolve) => duplex.onClose(resolve))
  await once(socket, 'open')
  expect(await reason).toBe('it does not answer')
})

/** A session over a connection that the test plays. */
function played(stallMs?: number) {
  const sent: NodeFrame[] = []
  const state = { isPaused: false, bufferedBytes: 0, lost: '' }
  let hear: (text: string) => void = () => {}
  let close: (reason: string) => void = () => {}
  const duplex: Duplex = {
    get bufferedBytes() {
      return state.bufferedBytes
    },
    send: (text) => sent.push(JSON.parse(text) as NodeFrame),
    onMessage: (listener) => {
      hear = listener
    },
    onClose: (listener) => {
      close = listener
    },
    pause: () => {
      state.isPaused = true
    },
    resume: () => {
      state.isPaused = false
    },
    ping: async () => {},
    close: async () => {}
  }
  const onLost = (reason: string): void => {
    state.lost = reason
  }
  const session = new AgentSession({
    duplex,
    onChange: () => {},
    onLost,
    ...(stallMs === undefined ? {} : { stallMs })
  })
  const say = (frame: unknown): void => hear(JSON.stringify(frame))
  say(HELLO)
  return { session, sent, state, say, close: (reason: string) => close(reason) }
}

it('pauses the connection while a reader is behind, and resumes when it has caught up', async () => {
  const { session, state, say } = played()
  const items = stream(session)
  for (let seq = 0; seq < 64; seq += 1) say({ type: 'item', id: '1', seq, item: seq })
  expect(state.isPaused).toBe(false)
  say({ type: 'item', id: '1', seq: 64, item: 64 })
  expect(state.isPaused).toBe(true)
  await items.next()
  expect(state.isPaused).toBe(true)
  await items.next()
  expect(state.isPaused).toBe(false)
})

it('gives up on a reader who keeps the connection paused for too long', async () => {
  const { session, state, say, sent } = played(20)
  const items = stream(session)
  for (let seq = 0; seq < 6; seq += 1) say({ type: 'item', id: '1', seq, item: 'x'.repeat(200_000) })
  expect(state.isPaused).toBe(true)
  await expect.poll(() => state.isPaused).toBe(false)
  expect(sent.at(-1)).toEqual({ type: 'cancel', id: '1' })
  await expect(items.next()).rejects.toThrow(code('TIMEOUT'))
  expect(await items.next()).toEqual({ done: true, value: undefined })
})

it('takes no call while too much waits to be sent', () => {
  const { session, state } = played()
  state.bufferedBytes = 8 * 1024 * 1024 + 1
  expect(() => session.invoke({ kind: 'tool', name: 'do' }, {}, invokeContext())).toThrow(code('BUSY'))
})

it('is not lost when the node itself lets go of it', async () => {
  const { session, state, close } = played()
  await session.close()
  close('late')
  expect(state.lost).toBe('')
  expect(() => session.invoke({ kind: 'tool', name: 'do' }, {}, invokeContext())).toThrow(code('AGENT_UNAVAILABLE'))
})
