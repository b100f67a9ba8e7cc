import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { type IncomingMessage, request } from 'node:http'
import { createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished } from 'vitest'
import { ERROR_CODES } from '../../src/errors.ts'
import { MAX_BODY_BYTES, MAX_QUEUED_EVENTS } from '../../src/gateway/constants.ts'
import { type Control, HTTP_STATUS, openControl } from '../../src/gateway/index.ts'
import { type FakeNode, fakeNode, PEER, SELF } from './fake-node.ts'

describe('the control socket', () => {
  it('may be opened by its owner only, whatever the umask', async () => {
    const mask = process.umask(0)
    onTestFinished(() => void process.umask(mask))
    const { path } = await open()
    expect(statSync(path).mode & 0o777).toBe(0o600)
    expect(process.umask()).toBe(0)
  })

  it('replaces the socket that a crash left', async () => {
    const path = join(home(), 'control.sock')
    await leaveSocket(path)
    await open({ path })
    expect(await ask(path, 'GET', '/v1/status')).toMatchObject({ status: 200, body: { peerId: SELF } })
  })

  it('does not remove a file that is no socket', async () => {
    const path = join(home(), 'control.sock')
    writeFileSync(path, 'mine')
    await expect(open({ path })).rejects.toMatchObject({ code: 'IO', hint: 'move it away' })
    expect(statSync(path).size).toBe(4)
  })

  it('says which folder it can not be in', async () => {
    const path = join(home(), 'no', 'such', 'folder', 'control.sock')
    await expect(open({ path })).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining(path) })
  })

  it('is gone after close', async () => {
    const { path, control } = await open()
    control.close()
    await expect(ask(path, 'GET', '/v1/status')).rejects.toThrow('ENOENT')
  })
})

describe('a request', () => {
  it('is refused when its body is too large, and the node goes on', async () => {
    const { path } = await open()
    const input = 'x'.repeat(MAX_BODY_BYTES)
    const refused = await ask(path, 'POST', '/v1/call', { target: '@maths', capability: 'echo', input })
    expect(refused).toMatchObject({ status: 413, body: { error: { code: 'TOO_LARGE', retryable: false } } })
    expect(await ask(path, 'GET', '/v1/status')).toMatchObject({ status: 200 })
  })

  it.each([
    { id: 'no JSON', method: 'POST', route: '/v1/call', body: '{', code: 'INVALID_ARGUMENT', status: 400 },
    { id: 'a missing field', method: 'POST', route: '/v1/connect', body: {}, code: 'INVALID_ARGUMENT', status: 400 },
    {
      id: 'an unknown field',
      method: 'POST',
      route: '/v1/connect',
      body: { address: '/', x: 1 },
      code: 'INVALID_ARGUMENT',
      status: 400
    },
    { id: 'a bad kind', method: 'GET', route: '/v1/find?kind=robot', code: 'INVALID_ARGUMENT', status: 400 },
    { id: 'a bad timeout', method: 'GET', route: '/v1/find?timeoutMs=0', code: 'INVALID_ARGUMENT', status: 400 },
    {
      id: 'a bad version range',
      method: 'GET',
      route: '/v1/find?version=nonsense',
      code: 'INVALID_ARGUMENT',
      status: 400
    },
    {
      id: 'an unknown event',
      method: 'GET',
      route: '/v1/events?type=peer:sneeze',
      code: 'INVALID_ARGUMENT',
      status: 400
    },
    { id: 'an unknown route', method: 'GET', route: '/v2/status', code: 'NOT_FOUND', status: 404 },
    { id: 'an unknown agent', method: 'DELETE', route: '/v1/agents/nobody', code: 'NOT_FOUND', status: 404 },
    { id: 'an ambiguous name', method: 'GET', route: '/v1/agents/%40twins', code: 'AMBIGUOUS', status: 409 },
    {
      id: 'a denied call',
      method: 'POST',
      route: '/v1/call',
      body: { target: '@maths', capability: 'deny' },
      code: 'FORBIDDEN',
      status: 403
    },
    {
      id: 'a late call',
      method: 'POST',
      route: '/v1/call',
      body: { target: '@maths', capability: 'late' },
      code: 'TIMEOUT',
      status: 504
    }
  ])('with $id answers $code', async ({ method, route, body, code, status }) => {
    const { path } = await open()
    expect(await ask(path, method, route, body)).toMatchObject({ status, body: { error: { code } } })
  })

  it('that meets a defect learns nothing of it, and the owner all', async () => {
    const defects: unknown[] = []
    const { path } = await open({ onDefect: (cause) => defects.push(cause) })
    const answer = await ask(path, 'POST', '/v1/call', { target: '@maths', capability: 'defect' })
    expect(answer).toEqual({
      status: 500,
      body: { error: { code: 'INTERNAL', message: 'internal error', retryable: false } }
    })
    expect(defects).toEqual([new TypeError('secret detail')])
  })

  it('may come in chunks', async () => {
    const { path } = await open()
    const client = request({ socketPath: path, method: 'POST', path: '/v1/connect', agent: false })
    client.write('{"address":')
    client.end('"/ip4/10.0.0.2/tcp/4001"}')
    const incoming = await response(client)
    expect(incoming.statusCode).toBe(200)
    incoming.resume()
  })

  it.each(ERROR_CODES)('that fails with %s has a status of failure', (code) => {
    expect(HTTP_STATUS[code]).toBeGreaterThanOrEqual(400)
    expect(HTTP_STATUS[code]).toBeLessThan(600)
  })
})

describe('agents', () => {
  it('are added, listed, shown, changed and removed', async () => {
    const { path } = await open()
    const added = await ask(path, 'POST', '/v1/agents', {
      name: 'fs',
      driver: 'mcp-stdio',
      config: { command: 'true' },
      tags: ['files']
    })
    expect(added).toMatchObject({
      status: 201,
      body: { id: `${SELF}/fs`, state: 'up', record: { record: { seq: 7 } } }
    })
    expect(await ask(path, 'GET', '/v1/agents?agent=fs')).toMatchObject({ status: 200, body: [{ id: `${SELF}/fs` }] })
    expect(await ask(path, 'GET', '/v1/agents?agent=other')).toEqual({ status: 200, body: [] })
    expect(await ask(path, 'PATCH', '/v1/agents/%40fs', { audience: 'paired' })).toMatchObject({
      status: 200,
      body: { definition: { audience: 'paired', tags: ['files'] } }
    })
    expect(await ask(path, 'GET', `/v1/agents/${encodeURIComponent(`${SELF}/fs`)}`)).toMatchObject({
      body: { signed: { record: { audience: 'paired' } }, local: { state: 'up' } }
    })
    expect(await ask(path, 'DELETE', '/v1/agents/fs')).toEqual({ status: 200, body: { removed: `${SELF}/fs` } })
    expect(await ask(path, 'GET', '/v1/agents')).toEqual({ status: 200, body: [] })
  })

  it('of other nodes are shown by their signed records', async () => {
    const { path } = await open()
    const shown = await ask(path, 'GET', '/v1/agents/%40maths%40bob')
    expect(shown).toMatchObject({
      status: 200,
      body: { signed: { jws: expect.any(String), record: { id: `${PEER}/maths` } } }
    })
    expect(shown.body).not.toHaveProperty('local')
  })
})

describe('a call', () => {
  it('answers its result', async () => {
    const { path } = await open()
    const answer = await ask(path, 'POST', '/v1/call', {
      target: '@maths',
      capability: 'echo',
      input: { a: [1, null] }
    })
    expect(answer).toEqual({ status: 200, body: { result: { a: [1, null] } } })
  })

  it('without a result answers null', async () => {
    const { path } = await open()
    expect(await ask(path, 'POST', '/v1/call', { target: '@maths', capability: 'echo' })).toEqual({
      status: 200,
      body: { result: null }
    })
  })

  it('that streams answers a line per item and an end', async () => {
    const { path } = await open()
    expect(await ask(path, 'POST', '/v1/call', { target: '@maths', capability: 'count', input: { to: 2 } })).toEqual({
      status: 200,
      body: [{ item: { n: 1 } }, { item: { n: 2 } }, { end: true }]
    })
  })

  it('that fails amid its items says so in the last line', async () => {
    const { path } = await open()
    const { body } = await ask(path, 'POST', '/v1/call', {
      target: '@maths',
      capability: 'count',
      input: { to: 1, fail: true }
    })
    expect(body).toEqual([
      { item: { n: 1 } },
      { error: { code: 'AGENT_ERROR', message: 'it broke', retryable: false } }
    ])
  })
})

describe('find', () => {
  it('answers a line per result and a summary', async () => {
    const { path } = await open()
    const { body } = await ask(path, 'GET', '/v1/find?name=a*&tag=x&tag=y&limit=2&timeoutMs=100')
    expect(body).toMatchObject([
      { item: { agent: `${PEER}/maths` } },
      { item: { source: 'peer' } },
      { end: { complete: true, count: 2 } }
    ])
  })
})

describe('a find that is explained', () => {
  it('has its steps at its end', async () => {
    const { path } = await open()
    const { body } = await ask(path, 'GET', '/v1/find?explain=true&limit=1')
    const { end } = (body as { end: { steps: { step: string }[] } }[]).at(-1) ?? { end: { steps: [] } }
    expect(end.steps.map(({ step }) => step)).toEqual([
      'began',
      'source',
      'holder',
      'holder',
      'refused',
      'owner',
      'found',
      'ended'
    ])
    const plain = await ask(path, 'GET', '/v1/find?explain=false&limit=1')
    expect(JSON.stringify(plain.body)).not.toContain('steps')
  })
})

describe('a client that goes away', () => {
  it.each([
    { what: 'call', method: 'POST', route: '/v1/call', body: { target: '@maths', capability: 'wait' }, lines: 0 },
    {
      what: 'stream',
      method: 'POST',
      route: '/v1/call',
      body: { target: '@maths', capability: 'count', input: { wait: true } },
      lines: 3
    },
    { what: 'find', method: 'GET', route: '/v1/find?name=slow', lines: 3 },
    { what: 'watch', method: 'GET', route: '/v1/watch', lines: 1 },
    { what: 'events', method: 'GET', route: '/v1/events', lines: 0 }
  ])('cancels its $what', async ({ what, method, route, body, lines }) => {
    const { path, node, requested } = await open()
    const client = begin(path, method, route, body)
    client.on('error', () => {})
    if (lines > 0) await readLines(await response(client), lines)
    else if (what === 'events') await node.whenHeard()
    else await requested
    client.destroy()
    await node.whenEnded(what)
    expect(node.ended).toEqual([what])
  })
})

describe('events', () => {
  it('arrive as they happen, of the asked types only', async () => {
    const { path, node } = await open({ now: () => Date.UTC(2026, 10, 23) })
    const client = begin(path, 'GET', '/v1/events?type=peer:join&type=peer:leave')
    onTestFinished(() => void client.destroy())
    const incoming = await response(client)
    await node.whenHeard()
    node.emit('agent:removed', { agent: 'x' })
    node.emit('peer:join', { peer: PEER, address: '/ip4/10.0.0.2/tcp/1' })
    expect(await readLines(incoming, 1)).toEqual([
      {
        item: {
          event: 'peer:join',
          at: '2026-11-23T00:00:00.000Z',
          detail: { peer: PEER, address: '/ip4/10.0.0.2/tcp/1' }
        }
      }
    ])
  })

  it('end with BUSY for a listener that does not keep up', async () => {
    const { path, node } = await open()
    const client = begin(path, 'GET', '/v1/events')
    onTestFinished(() => void client.destroy())
    const incoming = await response(client)
    await node.whenHeard()
    // In one turn of the loop, so that nothing can be read meanwhile
    for (let n = 0; n < MAX_QUEUED_EVENTS + 2; n++) node.emit('agent:removed', { agent: String(n) })
    const lines = await readLines(incoming, MAX_QUEUED_EVENTS + 1)
    expect(lines.at(-1)).toMatchObject({ error: { code: 'BUSY', retryable: true } })
    await node.whenEnded('events')
  })
})

describe('stop', () => {
  it('answers when the node is down, and what else is under way ends without an end', async () => {
    const stopped = Promise.withResolvers<void>()
    const opened: { control?: Control } = {}
    const { path, node, control } = await open({
      onStop: async () => {
        opened.control?.close()
        await stopped.promise
      }
    })
    opened.control = control
    const watching = await response(begin(path, 'GET', '/v1/watch'))
    const stop = ask(path, 'POST', '/v1/stop')
    expect(await readLines(watching, Number.POSITIVE_INFINITY)).toMatchObject([{ item: { change: 'added' } }])
    await node.whenEnded('watch')
    stopped.resolve()
    expect(await stop).toEqual({ status: 200, body: { stopped: true } })
  })
})

interface Opened {
  path: string
  node: FakeNode
  control: Control
  /** Resolves when a call has reached the node. */
  requested: Promise<void>
}

async function open(init: Partial<Parameters<typeof openControl>[0]> = {}): Promise<Opened> {
  const node = fakeNode()
  const requested = Promise.withResolvers<void>()
  const call = node.call.bind(node)
  node.call = (...args) => {
    requested.resolve()
    return call(...args)
  }
  const path = init.path ?? join(home(), 'control.sock')
  const control = await openControl({ node, onStop: async () => {}, ...init, path })
  onTestFinished(() => control.close())
  return { path, node, control, requested: requested.promise }
}

function home(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pryx-mesh-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** What a killed process leaves: a socket that nobody listens on. */
async function leaveSocket(path: string): Promise<void> {
  const server: Server = createServer()
  await new Promise<void>((resolve) => server.listen(`${path}.live`, resolve))
  const { renameSync } = await import('node:fs')
  renameSync(`${path}.live`, path)
  await new Promise((resolve) => server.close(resolve))
  expect(statSync(path).isSocket()).toBe(true)
}

function begin(path: string, method: string, route: string, body?: unknown) {
  const headers = body === undefined ? {} : { 'content-type': 'application/json' }
  const client = request({ socketPath: path, method, path: route, headers, agent: false })
  client.end(body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body))
  return client
}

function response(client: ReturnType<typeof begin>): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => client.on('response', resolve).on('error', reject))
}

/** The answer: parsed JSON, or an array of the lines of a stream. */
async function ask(
  path: string,
  method: string,
  route: string,
  body?: unknown
): Promise<{ status?: number; body: unknown }> {
  const incoming = await response(begin(path, method, route, body))
  const status = incoming.statusCode ?? 0
  if (incoming.headers['content-type'] === 'application/x-ndjson')
    return { status, body: await readLines(incoming, Number.POSITIVE_INFINITY) }
  let text = ''
  for await (const chunk of incoming.setEncoding('utf8')) text += chunk
  return { status, body: JSON.parse(text) }
}

/** Reads this many lines, or all that come. */
function readLines(incoming: IncomingMessage, count: number): Promise<unknown[]> {
  return new Promise((resolve) => {
    let text = ''
    const lines = () => text.split('\n').slice(0, -1)
    incoming.setEncoding('utf8').on('data', (chunk) => {
      text += chunk
      if (lines().length >= count) resolve(lines().map((line) => JSON.parse(line)))
    })
    incoming.on('close', () => resolve(lines().map((line) => JSON.parse(line))))
  })
}
