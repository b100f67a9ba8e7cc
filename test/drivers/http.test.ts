import { expect, it, onTestFinished } from 'vitest'
import { createHttpDriver } from '../../src/drivers/http.ts'
import { readBody, readItems } from '../../src/drivers/http-body.ts'
import { createDialler } from '../../src/drivers/http-dial.ts'
import type { HttpEndpoint } from '../../src/drivers/http-endpoint.ts'
import { startNode } from '../nodes.ts'
import { type Answer, components, json, startEndpoint } from './endpoints.ts'
import { connect, invokeContext } from './support.ts'

async function agent(answer: Answer, config: Record<string, unknown> = {}, made = components()) {
  const endpoint = await startEndpoint(answer)
  const capabilities = [
    { name: 'do' },
    { name: 'look', effects: 'read' },
    { name: 'find', method: 'GET', path: 'search', effects: 'read' },
    { name: 'items', streaming: 'ndjson' },
    { name: 'events', streaming: 'sse' }
  ]
  const wanted = { url: endpoint.url, ...('describe' in config ? {} : { capabilities }), ...config }
  const connected = await connect(createHttpDriver(made), wanted)
  if (!('describe' in config)) await connected.describe()
  return { ...connected, ...endpoint, made }
}

const code = (expected: string) => expect.objectContaining({ code: expected })

async function collect(items: unknown): Promise<unknown[]> {
  const collected: unknown[] = []
  for await (const item of items as AsyncIterable<unknown>) collected.push(item)
  return collected
}

it('posts the input as JSON, says who calls, and gives the answer back', async () => {
  const { call, seen } = await agent((request, response) => json(response, { got: JSON.parse(request.body) }))
  expect(await call('do', { a: 1 })).toEqual({ got: { a: 1 } })
  expect(seen).toMatchObject([
    {
      method: 'POST',
      url: '/do',
      body: '{"a":1}',
      headers: { 'content-type': 'application/json', 'mesh-caller': '12D3KooWTest', 'mesh-trust': 'known' }
    }
  ])
})

it('puts a flat input into the query where the method has no body', async () => {
  const { call, seen, url } = await agent((_, response) => json(response, 'ok'))
  await call('find', { q: 'a b&c', n: 2, on: true, tags: ['x', 'y'], none: null })
  expect(seen[0]).toMatchObject({ method: 'GET', url: '/search?q=a+b%26c&n=2&on=true&tags=x&tags=y', body: '' })
  await expect(call('find', { q: { deep: 1 } })).rejects.toThrow(code('INVALID_INPUT'))
  expect(url).toContain('127.0.0.1')
})

it('offers what its configuration says', async () => {
  const { describe } = await agent((_, response) => json(response, 'ok'), { version: '2.0.0' })
  const { version, capabilities } = await describe()
  expect(version).toBe('2.0.0')
  expect(capabilities).toContainEqual({
    kind: 'tool',
    name: 'look',
    version: '2.0.0',
    effects: 'read',
    streaming: false
  })
  expect(capabilities).toContainEqual({ kind: 'tool', name: 'events', version: '2.0.0', streaming: true })
})

it('offers what the endpoint says of itself', async () => {
  const said = { description: 'adds', capabilities: [{ name: 'add', path: '/v1/add', effects: 'none' }] }
  const { describe, call, seen } = await agent(
    (request, response) => json(response, request.method === 'GET' ? said : 3),
    {
      describe: '.well-known/agent'
    }
  )
  expect(await describe()).toMatchObject({ description: 'adds', capabilities: [{ name: 'add', effects: 'none' }] })
  expect(await call('add')).toBe(3)
  expect(seen.map(({ url }) => url)).toEqual(['/.well-known/agent', '/v1/add'])
})

it('does not come up when the endpoint says of itself what makes no sense', async () => {
  const { describe } = await agent((_, response) => json(response, { capabilities: [{ name: 'a b' }] }), {
    describe: 'd'
  })
  await expect(describe()).rejects.toThrow('capabilities[0].name')
})

it.each([
  { id: 'a text', type: 'text/plain; charset=utf-8', body: 'hello', result: 'hello' },
  { id: 'nothing', type: undefined, body: '', result: null },
  { id: 'a kind of JSON', type: 'application/ld+json', body: '[1]', result: [1] }
])('gives back $id', async ({ type, body, result }) => {
  const { call } = await agent((_, response) =>
    response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end(body)
  )
  expect(await call('do')).toEqual(result)
})

it.each([
  { id: 'no JSON', type: 'application/json', body: '{', expected: 'INVALID_OUTPUT' },
  {
    id: 'a key that reaches a prototype',
    type: 'application/json',
    body: '{"__proto__":1}',
    expected: 'INVALID_OUTPUT'
  },
  { id: 'an image', type: 'image/png', body: 'png', expected: 'INVALID_OUTPUT' },
  { id: 'too much', type: 'application/json', body: `"${'x'.repeat(1024 * 1024)}"`, expected: 'TOO_LARGE' },
  { id: 'a stream', type: 'text/event-stream', body: 'data: 1\n\n', expected: 'AGENT_ERROR' }
])('refuses an answer that is $id', async ({ type, body, expected }) => {
  const { call } = await agent((_, response) => response.writeHead(200, { 'content-type': type }).end(body))
  await expect(call('do')).rejects.toThrow(code(expected))
})

it('reports a problem in the words of the endpoint, and keeps to a bound', async () => {
  const problem = { type: 'https://example.org/no-money', title: 'No money', detail: 'You have 3', secret: 'x' }
  const { call } = await agent((request, response) => {
    if (request.url === '/do') json(response, problem, 402, 'application/problem+json')
    else response.writeHead(400, { 'content-type': 'text/plain' }).end('e'.repeat(100_000))
  })
  await expect(call('do')).rejects.toMatchObject({
    code: 'AGENT_ERROR',
    message: 'No money: You have 3',
    data: { status: 402, type: 'https://example.org/no-money' }
  })
  const failed: unknown = await call('look').catch((err: unknown) => err)
  expect((failed as Error).message).toHaveLength(4096)
})

it.each([
  { status: 500, expected: 'AGENT_ERROR', asked: 3 },
  { status: 502, expected: 'AGENT_UNAVAILABLE', asked: 3 },
  { status: 503, expected: 'AGENT_UNAVAILABLE', asked: 3 },
  { status: 429, expected: 'BUSY', asked: 1 },
  { status: 404, expected: 'AGENT_ERROR', asked: 1 }
])('takes $status for $expected, and asks $asked times for what does no harm', async ({ status, expected, asked }) => {
  const { call, seen } = await agent((_, response) => response.writeHead(status).end())
  await expect(call('look')).rejects.toThrow(code(expected))
  expect(seen).toHaveLength(asked)
  expect(seen[0]?.headers).not.toHaveProperty('idempotency-key')
})

it.each([500, 502, 504])('asks once for what may do harm when the answer is %i', async (status) => {
  const { call, seen } = await agent((_, response) => response.writeHead(status).end())
  await expect(call('do')).rejects.toThrow(`HTTP status ${status}`)
  expect(seen).toHaveLength(1)
  expect(seen[0]?.headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/)
})

it('sends the same key again when the endpoint has refused before it did anything', async () => {
  const { call, seen } = await agent((_, response) => {
    if (seen.length < 3) response.writeHead(429, { 'retry-after': '0' }).end()
    else json(response, 'done')
  })
  expect(await call('do')).toBe('done')
  expect(new Set(seen.map(({ headers }) => headers['idempotency-key'])).size).toBe(1)
})

it('leaves an endpoint alone for as long as it asks for', async () => {
  const { call, seen, made } = await agent((_, response) => {
    if (seen.length === 1) response.writeHead(503, { 'retry-after': '120' }).end()
    else json(response, 'back')
  })
  await expect(call('do')).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE', data: { retryAfterMs: 120_000 } })
  const retryAt = new Date(made.now + 120_000).toISOString()
  await expect(call('do')).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE', data: { retryAt } })
  expect(seen).toHaveLength(1)
  made.now += 120_000
  expect(await call('do')).toBe('back')
})

it('opens after five failures in a row, lets one probe through, and closes when that succeeds', async () => {
  let isWell = false
  let hold: (() => void) | undefined
  const { call, seen, made } = await agent((_, response) => {
    if (!isWell) response.writeHead(500).end()
    else hold = () => json(response, 'well')
  })
  for (let count = 0; count < 5; count += 1) await expect(call('do')).rejects.toThrow(code('AGENT_ERROR'))
  await expect(call('do')).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    data: { retryAt: new Date(made.now + 500).toISOString() }
  })
  made.now += 500
  await expect(call('do')).rejects.toThrow(code('AGENT_ERROR'))
  made.now += 999
  await expect(call('do')).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  made.now += 1
  isWell = true
  const probe = call('do')
  await expect(call('do')).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  await expect.poll(() => hold).toBeDefined()
  hold?.()
  expect(await probe).toBe('well')
  const next = call('do')
  await expect.poll(() => seen).toHaveLength(8)
  hold?.()
  expect(await next).toBe('well')
})

it('lets another probe through when the caller of the first one has left', async () => {
  let isWell = false
  const { call, seen, made } = await agent((_, response) => {
    if (!isWell) response.writeHead(500).end()
    else if (seen.length > 6) json(response, 'well')
  })
  for (let count = 0; count < 5; count += 1) await expect(call('do')).rejects.toThrow(code('AGENT_ERROR'))
  made.now += 500
  isWell = true
  const gone = new AbortController()
  const probe = call('do', {}, invokeContext(gone.signal))
  await expect.poll(() => seen).toHaveLength(6)
  gone.abort()
  await expect(probe).rejects.toThrow(code('CANCELLED'))
  expect(await call('do')).toBe('well')
})

it('is unavailable when nobody listens, and when the endpoint goes away', async () => {
  const { server, url, connection, call } = await agent((_, response) => json(response, 'ok'))
  await call('do')
  server.closeAllConnections()
  await new Promise((resolve) => server.close(resolve))
  // The first may still go into a connection that is about to close.
  await expect
    .poll(() => call('do').catch((err: unknown) => err), { timeout: 10_000 })
    .toMatchObject({ code: 'AGENT_UNAVAILABLE' })
  await expect(connection.health({ signal: AbortSignal.timeout(5_000) })).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  await expect(connect(createHttpDriver(components()), { url, capabilities: [] })).rejects.toThrow(
    code('AGENT_UNAVAILABLE')
  )
})

it('is well although a connection was closed just when it was asked', async () => {
  let breaks = 1
  const { connection } = await agent(
    (_, response) => {
      breaks -= 1
      if (breaks === 0) response.destroy()
      else response.end()
    },
    { health: 'healthz' }
  )
  breaks = 1
  await connection.health({ signal: AbortSignal.timeout(5_000) })
  expect(breaks).toBe(-1)
})

it('loses the call whose connection breaks', async () => {
  const { call, seen } = await agent((_, response) => response.destroy())
  await expect(call('do')).rejects.toThrow(code('CONNECTION_LOST'))
  expect(seen).toHaveLength(1)
})

it('gives up when the endpoint takes longer than its configuration allows', async () => {
  const { call, seen } = await agent(() => {}, { timeoutMs: 100 })
  for (let count = 0; count < 5; count += 1) await expect(call('look')).rejects.toThrow(code('TIMEOUT'))
  expect(seen).toHaveLength(5)
  await expect(call('look')).rejects.toThrow(code('AGENT_UNAVAILABLE'))
})

it('gives up on an answer that comes in drops', async () => {
  const { call } = await agent(
    (_, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      const drip = setInterval(() => response.write(' '), 10)
      response.once('close', () => clearInterval(drip))
    },
    { timeoutMs: 150 }
  )
  await expect(call('do')).rejects.toThrow(code('TIMEOUT'))
})

it('lets the endpoint know that the caller has left', async () => {
  const left: string[] = []
  const { call, seen } = await agent((request, response) => response.once('close', () => left.push(request.url ?? '')))
  const controller = new AbortController()
  const hanging = call('do', {}, invokeContext(controller.signal))
  await expect.poll(() => seen).toHaveLength(1)
  controller.abort()
  await expect(hanging).rejects.toThrow(code('CANCELLED'))
  await expect.poll(() => left).toEqual(['/do'])
})

it('takes 64 calls at once, and no more', async () => {
  const waiting: (() => void)[] = []
  const { call } = await agent((_, response) => waiting.push(() => json(response, 'ok')))
  const calls = Array.from({ length: 64 }, () => call('do'))
  await expect.poll(() => waiting, { timeout: 10_000 }).toHaveLength(64)
  await expect(call('do')).rejects.toThrow(code('BUSY'))
  for (const answer of waiting) answer()
  expect(await Promise.all(calls)).toHaveLength(64)
})

it.each([
  { name: 'items', type: 'application/x-ndjson', body: '1\r\n\n{"a":2}\n3', items: [1, { a: 2 }, 3] },
  {
    name: 'events',
    type: 'text/event-stream; charset=utf-8',
    body: ': hello\nid: 1\ndata: {"a":\ndata: 1}\n\nevent: message\r\ndata:2\r\n\r\nretry: 3\n\nevent: end\ndata: 9\n\ndata: 4\n\n',
    items: [{ a: 1 }, 2]
  },
  { name: 'events', type: 'text/event-stream', body: 'data: 1\n\ndata: [DONE]\n\n', items: [1] },
  { name: 'events', type: 'application/json', body: '[1]', items: [[1]] }
])('yields the items of $name as $type', async ({ name, type, body, items }) => {
  const { connection } = await agent((_, response) => response.writeHead(200, { 'content-type': type }).end(body))
  const stream = connection.invoke({ kind: 'tool', name }, {}, invokeContext())
  expect(await collect(stream)).toEqual(items)
})

it.each([
  {
    id: 'an error event',
    type: 'text/event-stream',
    body: 'data: 1\n\nevent: error\ndata: no\n\n',
    expected: 'AGENT_ERROR'
  },
  { id: 'bad JSON', type: 'application/x-ndjson', body: '1\n{\n', expected: 'INVALID_OUTPUT' },
  {
    id: 'an item that is too large',
    type: 'application/x-ndjson',
    body: `1\n"${'x'.repeat(262_145)}"\n`,
    expected: 'TOO_LARGE'
  },
  {
    id: 'an event of many lines that is too large',
    type: 'text/event-stream',
    body: `data: 1\n\n${`data: "${'x'.repeat(100_000)}",\n`.repeat(3)}\n`,
    expected: 'TOO_LARGE'
  }
])('ends a stream at $id', async ({ type, body, expected }) => {
  const { connection } = await agent((_, response) => response.writeHead(200, { 'content-type': type }).end(body))
  const stream = connection.invoke({ kind: 'tool', name: 'items' }, {}, invokeContext()) as AsyncIterator<unknown>
  expect(await stream.next()).toEqual({ done: false, value: 1 })
  await expect(stream.next()).rejects.toThrow(code(expected))
})

it('fails a stream whose connection breaks before its end', async () => {
  const { connection } = await agent((_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).write('1\n')
    setImmediate(() => response.destroy())
  })
  const stream = connection.invoke({ kind: 'tool', name: 'items' }, {}, invokeContext())
  await expect(collect(stream)).rejects.toThrow(code('CONNECTION_LOST'))
})

it('ends the stream at the endpoint when the reader leaves, and reads no faster than the reader', async () => {
  let isClosed = false
  let written = 0
  const { connection } = await agent((_, response) => {
    response.once('close', () => {
      isClosed = true
    })
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    const line = `"${'x'.repeat(65_536)}"\n`
    const more = (): void => {
      while (!response.destroyed && response.write(line)) written += line.length
    }
    response.on('drain', more)
    more()
  })
  const stream = connection.invoke({ kind: 'tool', name: 'items' }, {}, invokeContext()) as AsyncGenerator<unknown>
  await stream.next()
  // The buffers fill, then nothing moves any more.
  let before = -1
  const isStill = (): boolean => {
    const same = written === before
    before = written
    return same
  }
  await expect.poll(isStill, { interval: 100 }).toBe(true)
  await stream.return(undefined)
  await expect.poll(() => isClosed).toBe(true)
})

it('gives up on a body that does not go on', async () => {
  const { url } = await startEndpoint((_, response) => {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' }).write('1\n')
  })
  const dialler = createDialler({ reach: 'loopback' })
  onTestFinished(() => dialler.close())
  const ask = () =>
    dialler.send({ method: 'GET', url: new URL(url), headers: async () => ({}), signal: AbortSignal.timeout(10_000) })
  await expect(readBody(await ask(), { maxBytes: 100, progressMs: 50 })).rejects.toThrow(code('TIMEOUT'))
  await expect(collect(readItems(await ask(), 50))).rejects.toThrow(code('TIMEOUT'))
})

it('delivers messages to the path for them, and answers requests with what the endpoint says', async () => {
  const { connection, seen } = await agent(
    (_, response) => {
      if (seen.length === 1) response.writeHead(202).end()
      else json(response, { ok: true })
    },
    { messages: 'inbox' }
  )
  const { message } = connection as HttpEndpoint
  const replies: unknown[] = []
  const { caller, signal } = invokeContext()
  const context = { caller, signal, reply: (body: unknown) => replies.push(body) }
  const trace = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
  for (const kind of ['request', 'message', 'request'] as const) await message?.({ id: 'm1', kind, trace }, context)
  expect(replies).toEqual([{ ok: true }])
  expect(seen[0]).toMatchObject({
    method: 'POST',
    url: '/inbox',
    body: JSON.stringify({ id: 'm1', kind: 'request', trace }),
    headers: { 'idempotency-key': 'm1', traceparent: trace, 'mesh-caller': '12D3KooWTest' }
  })
  const without = await agent((_, response) => response.end())
  expect(without.connection.message).toBeUndefined()
})

it('asks the path for its health, where there is one', async () => {
  let status = 200
  const { connection, seen } = await agent((_, response) => response.writeHead(status).end(), { health: 'healthz' })
  await connection.health({ signal: AbortSignal.timeout(5_000) })
  status = 404
  await expect(connection.health({ signal: AbortSignal.timeout(5_000) })).rejects.toThrow(code('AGENT_UNAVAILABLE'))
  expect(seen.map(({ method, url }) => `${method} ${url}`)).toEqual(Array.from({ length: 3 }, () => 'GET /healthz'))
})

it.each([
  { id: 'no URL', config: { url: 'agent' }, text: 'http://' },
  { id: 'a password in the URL', config: { url: 'https://a:b@example.org/' }, text: 'password' },
  { id: 'nothing to offer', config: { url: 'https://example.org/' }, text: 'describe' },
  { id: 'a path that climbs', config: { url: 'https://example.org/a', health: '../b' }, text: 'climb' },
  { id: 'an encoded path that climbs', config: { url: 'https://example.org/a', health: 'x/%2E%2e/b' }, text: 'climb' },
  {
    id: 'a secret in the configuration',
    config: { url: 'https://example.org/', describe: '', auth: { type: 'bearer', secret: 'x' } },
    text: 'secretFile'
  },
  {
    id: 'the same twice',
    config: { url: 'https://example.org/', capabilities: [{ name: 'a' }, { name: 'a' }] },
    text: 'twice'
  },
  {
    id: 'an option that does not exist',
    config: { url: 'https://example.org/', describe: '', retries: 1 },
    text: 'retries'
  }
])('refuses a configuration with $id', ({ config, text }) => {
  expect(() => createHttpDriver(components()).parse(config)).toThrow(text)
})

it('does not connect to a private network without permission', async () => {
  const config = { url: 'https://10.0.0.1/', capabilities: [] }
  await expect(connect(createHttpDriver(components()), config)).rejects.toThrow(code('FORBIDDEN'))
})

it('is called through a node like any agent', async () => {
  const { url } = await startEndpoint((request, response) => json(response, { echo: JSON.parse(request.body) }))
  const node = await startNode()
  await node.agents.add({
    name: 'shop',
    driver: 'http',
    config: { url, capabilities: [{ name: 'echo', input: { type: 'object', required: ['a'] } }] },
    allow: 'any'
  })
  expect(await node.call('@shop', 'echo', { a: 1 })).toEqual({ echo: { a: 1 } })
  await expect(node.call('@shop', 'echo', {})).rejects.toThrow(code('INVALID_INPUT'))
})
