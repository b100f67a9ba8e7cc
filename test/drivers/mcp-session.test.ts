import { EventEmitter, once } from 'node:events'
import { InMemoryTransport, type JSONRPCMessage } from '@modelcontextprotocol/client'
import { Server } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createClient, McpSession } from '../../src/drivers/mcp-session.ts'
import { invokeContext } from './support.ts'

/** A session with a server of 2026 in this process. */
async function session({ listChanged, ttlMs }: { listChanged: boolean; ttlMs: number }) {
  const [ours, theirs] = InMemoryTransport.createLinkedPair()
  const events = new EventEmitter()
  const sent: JSONRPCMessage[] = []
  const send = ours.send.bind(ours)
  ours.send = (message, options) => {
    sent.push(message)
    if ('method' in message) events.emit(message.method, message)
    return send(message, options)
  }
  const handle = serveStdio(
    () => {
      const server = new Server({ name: 'near', version: '1.0.0' }, { capabilities: { tools: { listChanged } } })
      server.setRequestHandler('tools/list', () => ({ tools: [], ttlMs, cacheScope: 'private' as const }))
      return server
    },
    { transport: theirs }
  )
  const client = createClient()
  await client.connect(ours)
  const signal = AbortSignal.timeout(20_000)
  const context = {
    agent: 'near',
    signal,
    onChange: () => events.emit('changed'),
    onLost: (reason: string) => events.emit('lost', reason)
  }
  const opened = new McpSession({ client, context, close: () => client.close() })
  onTestFinished(async () => {
    await opened.close()
    await handle.close()
  })
  return { session: opened, theirs, events, signal }
}

it.each([
  [1_000, 30_000],
  [120_000, 120_000]
])('asks for the tools again when a list is %i ms old, but not before %i ms', async (ttlMs, after) => {
  const { session: opened, events, signal } = await session({ listChanged: false, ttlMs })
  const changed = vi.fn<() => void>()
  events.on('changed', changed)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  await opened.describe({ signal })
  vi.advanceTimersByTime(after - 1)
  expect(changed).not.toHaveBeenCalled()
  vi.advanceTimersByTime(1)
  expect(changed).toHaveBeenCalledOnce()
})

it.each([
  ['has no time to live', { listChanged: false, ttlMs: 0 }],
  ['tells its changes', { listChanged: true, ttlMs: 60_000 }]
])('does not ask again for a list that %s', async (_, init) => {
  const { session: opened, events, signal } = await session(init)
  const changed = vi.fn<() => void>()
  events.on('changed', changed)
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  await opened.describe({ signal })
  vi.advanceTimersByTime(24 * 60 * 60_000)
  expect(changed).not.toHaveBeenCalled()
})

it('asks for the tools even if the last list is still good', async () => {
  const { session: opened, events, signal } = await session({ listChanged: false, ttlMs: 60_000 })
  await opened.describe({ signal })
  const asked = once(events, 'tools/list')
  await opened.describe({ signal })
  expect(await asked).toMatchObject([{ method: 'tools/list' }])
})

it('passes the trace of a call on, as metadata of the request', async () => {
  const { session: opened, events } = await session({ listChanged: false, ttlMs: 0 })
  const trace = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
  const called = once(events, 'tools/call')
  const invoking = opened.invoke({ kind: 'tool', name: 'look' }, {}, { ...invokeContext(), trace })
  invoking.catch(() => {}) // The server has no such tool.
  const [{ params }] = await called
  expect(params).toMatchObject({ name: 'look', _meta: { traceparent: trace } })
})

it('subscribes again when the server ends the subscription, and looks what it has missed', async () => {
  const { theirs, events } = await session({ listChanged: true, ttlMs: 0 })
  const again = once(events, 'subscriptions/listen')
  const changed = once(events, 'changed')
  await theirs.send({ jsonrpc: '2.0', id: 'listen:0', result: { resultType: 'complete' } })
  expect(await again).toMatchObject([{ params: { notifications: { toolsListChanged: true } } }])
  expect(await changed).toEqual([])
})
