import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished, vi } from 'vitest'
import { mcpHttpDriver } from '../../src/drivers/mcp-http.ts'
import { connect, invokeContext, ODD_SERVER, packageBinary, startServer, textOf } from './support.ts'

async function odd() {
  const { child, port } = await startServer([ODD_SERVER, '--http'])
  return { child, ...(await connect(mcpHttpDriver, { url: `http://127.0.0.1:${port}/mcp` })) }
}

type Answer = (request: IncomingMessage, response: ServerResponse) => void

/** An HTTP server that answers as the test says. */
async function answering(answer: Answer): Promise<string> {
  const server = createServer(answer)
  await listening(server)
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/mcp`
}

async function listening(server: Server): Promise<void> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
}

it('offers and calls the tools of a server of 2026', async () => {
  const { describe, call, connection } = await odd()
  const { version, capabilities } = await describe()
  expect(version).toBe('1.2.0')
  expect(capabilities.map(({ name }) => name)).toContain('grow')
  expect(await call('echo', { a: 1 })).toMatchObject({ structuredContent: { a: 1 } })
  expect(await call('tree')).toMatchObject({ structuredContent: { root: { label: 'a' } } })
  await expect(call('fail')).rejects.toMatchObject({ code: 'AGENT_ERROR', data: { isError: true } })
  await expect(call('wrong')).rejects.toMatchObject({ code: 'INVALID_INPUT' })
  await connection.health({ signal: AbortSignal.timeout(10_000) })
})

it('tells when the tools of a server of 2026 change', async () => {
  const { call, describe, events } = await odd()
  const before = (await describe()).capabilities.length
  const changed = once(events, 'changed')
  await call('grow')
  await changed
  expect((await describe()).capabilities).toHaveLength(before + 1)
})

it('lets the server know that its caller gave up', async () => {
  const { call } = await odd()
  const controller = new AbortController()
  const hanging = call('hang', {}, invokeContext(controller.signal))
  await call('echo')
  controller.abort()
  await expect(hanging).rejects.toMatchObject({ code: 'CANCELLED' })
  await vi.waitFor(async () => expect(textOf(await call('cancelled'))).toBe('1'))
})

it('refuses an answer that is too large, and goes on with the next', async () => {
  const { call } = await odd()
  await expect(call('huge', { bytes: 6_000_000 })).rejects.toMatchObject({ code: 'TOO_LARGE' })
  expect(textOf(await call('huge', { bytes: 1_000_000 }))).toHaveLength(1_000_000)
})

it('fails its calls at once when the server is killed, and is lost then', async () => {
  const { child, call, events } = await odd()
  const lost = once(events, 'lost')
  const hanging = call('hang')
  await call('echo')
  child.kill('SIGKILL')
  await expect(hanging).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  expect(await lost).toEqual(['its server does not answer', expect.any(String)])
  await expect(call('echo')).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE' })
})

it('is lost when the server goes away while nobody calls', async () => {
  const { child, events } = await odd()
  const lost = once(events, 'lost')
  child.kill('SIGKILL')
  expect(await lost).toEqual(['its server does not answer', expect.any(String)])
})

it('works with server-everything, which has sessions, and ends its own', async () => {
  const port = await freePort()
  const child = spawn(process.execPath, [packageBinary('@modelcontextprotocol/server-everything'), 'streamableHttp'], {
    env: { ...process.env, PORT: String(port) },
    stdio: ['ignore', 'pipe', 'pipe']
  })
  onTestFinished(async () => {
    child.kill('SIGKILL')
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  })
  let log = ''
  child.stdout.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  child.stderr.on('data', (chunk: Buffer) => {
    log += chunk.toString()
  })
  await vi.waitFor(() => expect(log).toContain('listening on port'), 10_000)
  const { call, describe, connection } = await connect(mcpHttpDriver, { url: `http://127.0.0.1:${port}/mcp` })
  expect((await describe()).capabilities.map(({ name }) => name)).toContain('get-structured-content')
  expect(textOf(await call('echo', { message: 'hello' }))).toBe('Echo: hello')
  await connection.health({ signal: AbortSignal.timeout(10_000) })
  await connection.close()
  await vi.waitFor(() => expect(log).toContain('session termination'), 10_000)
})

async function freePort(): Promise<number> {
  const server = createServer()
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as AddressInfo
  server.close()
  await once(server, 'close')
  return port
}

it('sends its headers with every request, and not to another origin', async () => {
  const seen: (string | undefined)[] = []
  const elsewhere = vi.fn<Answer>((_request, response) => void response.end())
  const other = await answering(elsewhere)
  const url = await answering((request, response) => {
    seen.push(request.headers.authorization)
    response.writeHead(307, { location: other }).end()
  })
  await expect(connect(mcpHttpDriver, { url, headers: { authorization: 'Bearer x' } })).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE'
  })
  expect(new Set(seen)).toEqual(new Set(['Bearer x']))
  expect(elsewhere).not.toHaveBeenCalled()
})

it.each<[string, Answer]>([
  ['is something else', (_, response) => void response.writeHead(200, { 'content-type': 'text/html' }).end('<html>')],
  ['refuses', (_, response) => void response.writeHead(401).end()],
  [
    'answers nonsense',
    (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"a":')
  ],
  ['breaks the connection', (request) => void request.destroy()]
])('tells where no MCP server answers when the one there %s', async (_, answer) => {
  const url = await answering(answer)
  await expect(connect(mcpHttpDriver, { url })).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringContaining(url)
  })
})

it('tells where no MCP server answers when nobody listens', async () => {
  const url = `http://127.0.0.1:${await freePort()}/mcp`
  await expect(connect(mcpHttpDriver, { url })).rejects.toMatchObject({
    code: 'AGENT_UNAVAILABLE',
    message: expect.stringContaining('ECONNREFUSED')
  })
})

it('waits for a server no longer than it may', async () => {
  const url = await answering(() => {})
  await expect(connect(mcpHttpDriver, { url }, AbortSignal.timeout(200))).rejects.toMatchObject({ code: 'TIMEOUT' })
})

it('bounds what it reads of a server that never ends', async () => {
  let sent = 0
  const url = await answering((_, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    const chunk = Buffer.alloc(1024 * 1024, 'x')
    const more = () => {
      sent += 1
      if (sent < 100 && !response.destroyed) response.write(chunk, more)
    }
    more()
  })
  await expect(connect(mcpHttpDriver, { url })).rejects.toMatchObject({ code: 'AGENT_UNAVAILABLE' })
  expect(sent).toBeLessThan(60)
})

it.each<[unknown, string]>([
  [{}, 'url'],
  [{ url: 'ftp://localhost/' }, 'url'],
  [{ url: 'localhost:3000' }, 'url'],
  [{ url: 'http://me:secret@localhost/' }, 'use headers'],
  [{ url: 'http://:secret@localhost/' }, 'use headers'],
  [{ url: 'http://localhost/', headers: { 'a b': 'c' } }, 'headers'],
  [{ url: 'http://localhost/', headers: { a: 'b\nc' } }, 'headers']
])('refuses the configuration %j', (config, text) => {
  expect(() => mcpHttpDriver.parse(config)).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(text) })
  )
})
