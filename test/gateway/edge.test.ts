import { once } from 'node:events'
import { request } from 'node:http'
import { connect } from 'node:net'
import { describe, expect, it, onTestFinished } from 'vitest'
import { type EdgeInit, openEdge } from '../../src/gateway/index.ts'
import { createNode } from '../../src/index.ts'
import { failureOf, startNode } from '../nodes.ts'
import { problemOf, startEdge } from './edge-kit.ts'

/** Asks with headers that fetch doesn't let one set. */
function ask(
  url: string,
  headers: Readonly<Record<string, string>>,
  method = 'GET'
): Promise<{ status: number; headers: NodeJS.Dict<string | string[]> }> {
  return new Promise((resolve, reject) => {
    const asked = request(url, { headers, method, agent: false })
    asked.on('error', reject)
    asked.on('response', (response) => {
      response.resume()
      resolve({ status: response.statusCode ?? 0, headers: response.headers })
    })
    asked.end()
  })
}

/** Writes bytes as they are, and reads until the other side ends. */
async function raw(url: string, pieces: AsyncIterable<string> | readonly string[]): Promise<string> {
  const socket = connect(Number(new URL(url).port), '127.0.0.1')
  let text = ''
  socket.setEncoding('utf8').on('data', (chunk) => {
    text += chunk
  })
  socket.on('error', () => {})
  // Not by `once`, which takes a reset for a failure
  const closed = new Promise((resolve) => socket.on('close', resolve))
  for await (const piece of pieces) {
    if (socket.destroyed) break
    socket.write(piece)
  }
  await closed
  return text
}

describe('the host of a request', () => {
  it.each([
    { host: 'evil.example', status: 421 },
    { host: '127.0.0.1', status: 421 },
    { host: '127.0.0.1:1', status: 421 },
    { host: 'mesh.example.org', status: 401 },
    { host: 'MESH.example.org', status: 401 },
    { host: 'mesh.example.org.', status: 421 }
  ])('$host is answered with $status', async ({ host, status }) => {
    const { url } = await startEdge({}, { hosts: ['https://mesh.example.org'] })
    expect((await ask(`${url}/v1/self`, { host })).status).toBe(status)
  })

  it('may be any of the names of this machine', async () => {
    const { url } = await startEdge()
    const { port } = new URL(url)
    for (const name of ['localhost', '127.0.0.1', '[::1]'])
      expect((await ask(`${url}/v1/self`, { host: `${name}:${port}` })).status).toBe(401)
  })

  it('does not matter to probes', async () => {
    const { url } = await startEdge()
    expect((await ask(`${url}/healthz`, { host: '10.0.0.7' })).status).toBe(200)
    expect((await ask(`${url}/readyz`, { host: '10.0.0.7' })).status).toBe(200)
  })
})

describe('a page in a browser', () => {
  it('of somebody else gets nothing, with the owner’s token too', async () => {
    const { url, token } = await startEdge()
    const headers = { origin: 'https://evil.example', authorization: `Bearer ${token}` }
    const answered = await ask(`${url}/v1/self`, headers)
    expect(answered.status).toBe(403)
    expect(answered.headers['access-control-allow-origin']).toBeUndefined()
    expect((await ask(`${url}/v1/calls`, { origin: 'https://evil.example' }, 'OPTIONS')).status).toBe(403)
  })

  it('of its own is answered', async () => {
    const { url, token } = await startEdge()
    const headers = { origin: url, authorization: `Bearer ${token}` }
    expect((await ask(`${url}/v1/self`, headers)).status).toBe(200)
  })

  it('that the owner lets in is answered, after it has asked', async () => {
    const origin = 'https://console.example'
    const { url, token } = await startEdge({}, { origins: [origin] })
    const preflight = await ask(`${url}/v1/calls`, { origin, 'access-control-request-method': 'POST' }, 'OPTIONS')
    expect(preflight).toMatchObject({ status: 204, headers: { 'access-control-allow-origin': origin } })
    const answered = await ask(`${url}/v1/self`, { origin, authorization: `Bearer ${token}` })
    expect(answered).toMatchObject({ status: 200, headers: { 'access-control-allow-origin': origin, vary: 'origin' } })
  })

  it('can’t send a form', async () => {
    const { url, token } = await startEdge()
    const response = await fetch(`${url}/v1/calls`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'text/plain' },
      body: '{"target":"@calculator","capability":"add"}'
    })
    expect(await problemOf(response)).toEqual({ status: 415, code: 'INVALID_ARGUMENT' })
  })
})

describe('what is too much', () => {
  it('of a body is refused, announced or not', async () => {
    const { url, owner, token } = await startEdge()
    const large = { target: '@calculator', capability: 'add', input: 'x'.repeat(1_048_576) }
    expect(await problemOf(await owner('POST', '/v1/calls', large))).toEqual({ status: 413, code: 'TOO_LARGE' })
    const chunks = async function* () {
      for (let n = 0; n < 20; n += 1) yield Buffer.alloc(65_536, 'x')
    }
    const response = await fetch(`${url}/v1/calls`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: ReadableStream.from(chunks()),
      duplex: 'half'
    } as RequestInit)
    expect(response.status).toBe(413)
  })

  it('of headers is refused', async () => {
    const { url } = await startEdge()
    expect((await ask(`${url}/v1/self`, { 'x-large': 'x'.repeat(20_000) })).status).toBe(431)
  })

  it('of JSON is refused: depth, and keys that reach a prototype', async () => {
    const { url, token } = await startEdge()
    const post = (body: string) =>
      fetch(`${url}/v1/calls`, {
        method: 'POST',
        headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
        body
      })
    for (const body of ['['.repeat(200), '{"__proto__":{}}', 'no json', ''])
      expect(await problemOf(await post(body))).toEqual({ status: 400, code: 'INVALID_ARGUMENT' })
  })

  it('of connections is cut off', async () => {
    const { url } = await startEdge({}, { limits: { maxConnections: 3 } })
    const sockets = [1, 2, 3, 4].map(() => connect(Number(new URL(url).port), '127.0.0.1'))
    const closed = sockets.map((socket) => {
      socket.on('error', () => {})
      return new Promise((resolve) => socket.on('close', resolve))
    })
    await Promise.race(closed)
    expect(sockets.filter(({ destroyed }) => destroyed)).toHaveLength(1)
    for (const socket of sockets) socket.destroy()
  })
})

describe('who is slow', () => {
  const limits = {
    headersTimeoutMs: 300,
    requestTimeoutMs: 600,
    checkIntervalMs: 50,
    slowGraceMs: 200,
    minBytesPerSecond: 1_000
  }
  const drip = async function* (head: string, piece: string) {
    yield head
    for (let n = 0; n < 100; n += 1) {
      await new Promise((resolve) => setTimeout(resolve, 20))
      yield piece
    }
  }

  it('with headers is cut off', async () => {
    const { url } = await startEdge({}, { limits })
    const host = new URL(url).host
    const text = await raw(url, drip(`GET /v1/self HTTP/1.1\r\nhost: ${host}\r\n`, 'x: y\r\n'))
    expect(text).toMatch(/^HTTP\/1.1 408 /)
  })

  it('with a body is cut off, though each byte comes in time', async () => {
    const { url, token } = await startEdge({}, { limits: { ...limits, requestTimeoutMs: 60_000 } })
    const head = [
      'POST /v1/calls HTTP/1.1',
      `host: ${new URL(url).host}`,
      `authorization: Bearer ${token}`,
      'content-type: application/json',
      'content-length: 10000',
      '',
      ''
    ].join('\r\n')
    const began = performance.now()
    await raw(url, drip(head, ' '))
    expect(performance.now() - began).toBeLessThan(1_800)
  })

  it('does not keep others from being served', async () => {
    const { url, owner } = await startEdge(
      {},
      { limits: { ...limits, headersTimeoutMs: 5_000, requestTimeoutMs: 5_000 } }
    )
    const { host, port } = new URL(url)
    const sockets = Array.from({ length: 200 }, () => {
      const socket = connect(Number(port), '127.0.0.1')
      socket.on('error', () => {})
      socket.write(`GET /v1/self HTTP/1.1\r\nhost: ${host}\r\n`)
      return socket
    })
    await Promise.all(sockets.map((socket) => once(socket, 'connect')))
    expect((await owner('GET', '/v1/self')).status).toBe(200)
    for (const socket of sockets) socket.destroy()
  })
})

describe('where it listens', () => {
  it.each([
    { id: 'off this machine without TLS', init: { listen: '0.0.0.0:0' } },
    { id: 'at a name without TLS', init: { listen: 'example.org:0' } },
    { id: 'at no address', init: { listen: 'nowhere' } },
    { id: 'at a port beyond all', init: { listen: '127.0.0.1:70000' } },
    { id: 'with a host that is none', init: { listen: '127.0.0.1:0', hosts: ['a b'] } },
    { id: 'with an origin that is none', init: { listen: '127.0.0.1:0', origins: ['https://a.example/path'] } },
    {
      id: 'with a certificate that is not there',
      init: { listen: '127.0.0.1:0', tls: { certFile: '/none', keyFile: '/none' } }
    }
  ] satisfies { id: string; init: Omit<EdgeInit, 'node'> }[])('$id is refused', async ({ init }) => {
    const node = await startNode()
    expect(await failureOf(openEdge({ node, ...init }))).toMatchObject({ code: 'INVALID_CONFIG' })
  })

  it('where somebody else does is refused', async () => {
    const { node, url } = await startEdge()
    const taken = openEdge({ node, listen: new URL(url).host })
    expect(await failureOf(taken)).toMatchObject({ code: 'ADDRESS_IN_USE' })
  })

  it('ends what is under way when it closes', async () => {
    const { edge, owner } = await startEdge()
    const running = owner('POST', '/v1/calls', { target: '@calculator', capability: 'count', input: { to: 1e9 } })
    const { body } = await running
    const reader = body?.getReader()
    await reader?.read()
    await edge.close()
    await expect(
      (async () => {
        while ((await reader?.read())?.done === false);
      })()
    ).rejects.toThrow('terminated')
  })
})

describe('a connection that asks to become another', () => {
  it('is handed over by path, with what it takes to know who asks', async () => {
    const seen: string[] = []
    const { url, token, node } = await startEdge(
      {},
      {
        upgrades: {
          '/v1/ws': ({ request: asked, socket, auth }) => {
            const accept = async () => {
              seen.push((await auth.authenticate(asked)).caller.peer)
              socket.end('HTTP/1.1 101 Switching Protocols\r\n\r\n')
            }
            accept().catch((err: unknown) => socket.destroy(err as Error))
          }
        }
      }
    )
    const upgrade = (path: string, more = '') =>
      raw(url, [
        `GET ${path} HTTP/1.1\r\nhost: ${new URL(url).host}\r\nconnection: upgrade\r\nupgrade: websocket\r\nauthorization: Bearer ${token}\r\n${more}\r\n`
      ])
    expect(await upgrade('/v1/ws')).toMatch(/^HTTP\/1.1 101 /)
    expect(seen).toEqual([node.id])
    expect(await upgrade('/v1/other')).toMatch(/^HTTP\/1.1 404 /)
    expect(await upgrade('/v1/ws', 'origin: https://evil.example\r\n')).toMatch(/^HTTP\/1.1 403 /)
    expect(seen).toHaveLength(1)
  })
})

it('a node that is not started is alive, and not ready', async () => {
  const node = await createNode({ listen: ['/ip4/127.0.0.1/tcp/0'], lan: false })
  onTestFinished(() => node.stop())
  const edge = await openEdge({ node, listen: '127.0.0.1:0' })
  onTestFinished(() => edge.close())
  expect((await fetch(`${edge.url}/healthz`)).status).toBe(200)
  expect(await problemOf(await fetch(`${edge.url}/readyz`))).toEqual({ status: 503, code: 'UNREACHABLE' })
})

it('a node whose disk takes nothing is not ready', async () => {
  const { node, url } = await startEdge()
  expect((await fetch(`${url}/readyz`)).status).toBe(200)
  await node.stop()
  await expect.poll(async () => (await fetch(`${url}/readyz`)).status, { timeout: 5_000 }).toBe(503)
})

it('every answer carries what keeps browsers from harm', async () => {
  const { url } = await startEdge()
  const asked: [string, Record<string, string>][] = [
    ['/v1/self', {}],
    ['/nope', {}],
    ['/healthz', {}],
    ['/openapi.json', {}],
    ['/v1/self', { host: 'evil.example' }],
    ['/v1/self', { origin: 'https://evil.example' }]
  ]
  for (const [path, sent] of asked) {
    const { headers } = await ask(url + path, sent)
    expect(headers).toMatchObject({
      'cache-control': 'no-store',
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff'
    })
  }
})

it('a wrong method is told the right ones', async () => {
  const { owner } = await startEdge()
  const response = await owner('PATCH', '/v1/status', {})
  expect(response.headers.get('allow')).toBe('GET')
  expect(await problemOf(response)).toEqual({ status: 405, code: 'INVALID_ARGUMENT' })
})
