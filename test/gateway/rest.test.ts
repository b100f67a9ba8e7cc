import { Validator } from '@seriousme/openapi-schema-validator'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { describe, expect, it } from 'vitest'
import { OPERATIONS } from '../../src/gateway/rest/rest.ts'
import { addressOf, nextEvent, startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { CALCULATOR, type EdgeKit, problemOf, startEdge } from './edge-kit.ts'

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, Described>>>>
  readonly components: { readonly schemas: { readonly Problem: object } }
}

interface Described {
  readonly operationId: string
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema: object }>> }>
  >
}

async function documentOf({ url }: Pick<EdgeKit, 'url'>): Promise<Document> {
  return (await (await fetch(`${url}/openapi.json`)).json()) as Document
}

const MODULE = new URL('./rest-module.ts', import.meta.url).pathname

const ajv = new Ajv2020({ strict: false, validateFormats: false })

function fits({ components }: Document, schema: object, text: string): unknown {
  return ajv.validate({ ...schema, components }, JSON.parse(text)) ? undefined : ajv.errors
}

/** What is wrong with an answer, by the document. */
async function faultsOf(document: Document, id: string, response: Response): Promise<unknown> {
  const described = Object.values(document.paths)
    .flatMap((path) => Object.values(path))
    .find(({ operationId }) => operationId === id)
  const text = await response.text()
  const type = response.headers.get('content-type') ?? ''
  if (type === 'application/problem+json') {
    return fits(document, { $ref: '#/components/schemas/Problem' }, text)
  }
  const answer = described?.responses[response.status]
  if (answer === undefined) return `no answer ${response.status} of ${id} is described: ${text}`
  const schema = answer.content?.['application/json']?.schema
  if (schema === undefined) return text === '' ? undefined : `${id} answers ${text}`
  return fits(document, schema, text)
}

describe('the OpenAPI document', () => {
  it('is valid', async () => {
    const document = await documentOf(await startEdge())
    const validator = new Validator()
    const { valid, errors } = await validator.validate(Object.fromEntries(Object.entries(structuredClone(document))))
    expect(errors).toBeUndefined()
    expect(valid).toBe(true)
    expect(validator.version).toBe('3.1')
  })

  it('describes each operation, and every operation answers as it says', { timeout: 60_000 }, async () => {
    const kit = await startEdge()
    const { owner, node } = kit
    const document = await documentOf(kit)
    const { key } = await node.keys.create({ name: 'asker', scopes: ['ask'], pin: 'off' })
    await node.policy.put([
      { id: 'ask', effect: 'ask', who: 'scope:ask', act: '*.call', res: '*' },
      { id: 'ahead', effect: 'allow', who: 'scope:ask', act: 'permission.request', res: '*' }
    ])
    const sent = await node.send(`${node.id}/owner`, 'hello')
    const asker = { authorization: `Bearer ${key}` }
    const ask = (capability: string) => owner('POST', '/v1/permissions', { agent: 'calculator', capability }, asker)
    const idOf = async (response: Promise<Response>) => ((await (await response).json()) as { id: string }).id
    const calls: Readonly<Record<string, () => Promise<Response>>> = {
      listAgents: () => owner('GET', '/v1/agents?limit=1'),
      createAgent: () => owner('POST', '/v1/agents', { name: 'clock', driver: 'module', config: { file: MODULE } }),
      readAgent: () => owner('GET', '/v1/agents/calculator'),
      updateAgent: () => owner('PATCH', '/v1/agents/calculator', { description: 'counts' }),
      readAgentHealth: () => owner('GET', '/v1/agents/calculator/health'),
      find: () => owner('GET', '/v1/find?name=add&timeoutMs=200&explain=true'),
      call: () => owner('POST', '/v1/calls', { target: '@calculator', capability: 'add', input: { a: 1, b: 2 } }),
      readStatus: () => owner('GET', '/v1/status'),
      listPeers: () => owner('GET', '/v1/peers'),
      readSelf: () => owner('GET', '/v1/self'),
      sendMessage: () => owner('POST', '/v1/messages', { target: `${node.id}/owner`, body: { a: 1 } }),
      listMessages: () => owner('GET', '/v1/messages'),
      readMessage: () => owner('GET', `/v1/messages/${sent.id}`),
      askPermission: () => ask('add'),
      listPermissions: () => owner('GET', '/v1/permissions?state=pending'),
      readPermission: async () => owner('GET', `/v1/permissions/${await idOf(ask('add'))}`, undefined, asker),
      allowPermission: async () =>
        owner('POST', `/v1/permissions/${await idOf(ask('add'))}/allow`, { remember: 'always' }),
      denyPermission: async () => owner('POST', `/v1/permissions/${await idOf(ask('who'))}/deny`, { reason: 'no' }),
      deleteAgent: () => owner('DELETE', '/v1/agents/calculator')
    }
    expect(Object.keys(calls).sort()).toEqual(OPERATIONS.map(({ id }) => id).toSorted())
    for (const [id, call] of Object.entries(calls)) {
      const response = await call()
      const { status } = response
      const faults = await faultsOf(document, id, response)
      expect({ id, isGood: status < 300, faults }).toEqual({ id, isGood: true, faults: undefined })
    }
  })

  it('describes what goes wrong', async () => {
    const kit = await startEdge()
    const document = await documentOf(kit)
    const response = await kit.owner('POST', '/v1/calls', { target: '@calculator', capability: 'add', input: { a: 1 } })
    expect(response.status).toBe(422)
    expect(await faultsOf(document, 'call', response)).toBeUndefined()
  })

  it('is what routes are made from: nothing answers that it does not describe', async () => {
    const kit = await startEdge()
    const { paths } = await documentOf(kit)
    for (const path of Object.keys(paths)) {
      const response = await fetch(kit.url + path.replace(/\{\w+\}/g, 'x'), { method: 'PUT' })
      expect(response.status).toBe(405)
      const methods = Object.keys(paths[path] ?? {}).map((method) => method.toUpperCase())
      expect(response.headers.get('allow')?.split(', ').sort()).toEqual(methods.sort())
    }
  })
})

describe('agents', () => {
  it('are changed only by who has seen how they are', async () => {
    const { owner } = await startEdge()
    const read = await owner('GET', '/v1/agents/calculator')
    const tag = read.headers.get('etag') ?? ''
    const unchanged = await owner('GET', '/v1/agents/calculator', undefined, { 'if-none-match': tag })
    expect({ status: unchanged.status, body: await unchanged.text() }).toEqual({ status: 304, body: '' })
    const change = (description: string) =>
      owner('PATCH', '/v1/agents/calculator', { description }, { 'if-match': tag })
    const answers = await Promise.all(['one', 'two', 'three'].map(change))
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 412, 412])
    const removed = await owner('DELETE', '/v1/agents/calculator', undefined, { 'if-match': tag })
    expect(removed.status).toBe(412)
    const [changed] = answers.filter(({ status }) => status === 200)
    const now = changed?.headers.get('etag') ?? ''
    expect((await owner('DELETE', '/v1/agents/calculator', undefined, { 'if-match': now })).status).toBe(204)
    expect((await owner('GET', '/v1/agents/calculator')).status).toBe(404)
  })

  it('come in pages, for their owner and for others', async () => {
    const { owner, node } = await startEdge()
    for (const name of ['a', 'b', 'c', 'd']) await node.agents.add({ ...CALCULATOR, name })
    const { key } = await node.keys.create({ name: 'reader', pin: 'off' })
    for (const headers of [{}, { authorization: `Bearer ${key}` }]) {
      const names: string[] = []
      let next: string | undefined = '/v1/agents?limit=2'
      while (next !== undefined) {
        const response: Response = await owner('GET', next, undefined, headers)
        const { items } = (await response.json()) as { items: { id: string }[] }
        names.push(...items.map(({ id }) => id.split('/')[1] ?? ''))
        next = /^<(.+)>; rel="next"$/.exec(response.headers.get('link') ?? '')?.[1]
      }
      expect(names).toEqual(['a', 'b', 'c', 'calculator', 'd'])
    }
  })

  it('show others what a peer would see, and no configuration', async () => {
    const { owner, node } = await startEdge()
    await node.agents.add({ ...CALCULATOR, name: 'hidden', audience: 'paired' })
    const { key } = await node.keys.create({ name: 'reader', pin: 'off' })
    const reader = { authorization: `Bearer ${key}` }
    const shown = (await (await owner('GET', '/v1/agents/calculator', undefined, reader)).json()) as object
    expect(Object.keys(shown)).toEqual(['id', 'signed'])
    expect((await owner('GET', '/v1/agents/hidden', undefined, reader)).status).toBe(404)
    expect((await owner('GET', '/v1/agents/hidden')).status).toBe(200)
    const { items } = (await (await owner('GET', '/v1/agents', undefined, reader)).json()) as { items: unknown[] }
    expect(items).toHaveLength(1)
  })

  it.each([
    ['POST', '/v1/agents', { name: 'x', driver: 'mcp-stdio', config: { command: 'true' } }],
    ['PATCH', '/v1/agents/calculator', { description: 'x' }],
    ['DELETE', '/v1/agents/calculator', undefined],
    ['DELETE', '/v1/agents/nobody', undefined],
    ['GET', '/v1/status', undefined],
    ['GET', '/v1/peers', undefined],
    ['GET', '/v1/find', undefined],
    ['GET', '/v1/messages', undefined],
    ['POST', '/v1/messages', { target: '@a', body: 1 }],
    ['GET', '/v1/permissions', undefined],
    ['POST', `/v1/permissions/${'a'.repeat(32)}/allow`, { remember: 'always' }],
    ['GET', '/metrics', undefined]
  ])('and the like are the owner’s: %s %s', async (method, path, body) => {
    const { owner, node } = await startEdge()
    const { key } = await node.keys.create({ name: 'reader', pin: 'off' })
    const response = await owner(method, path, body, { authorization: `Bearer ${key}` })
    expect(await problemOf(response)).toEqual({ status: 403, code: 'FORBIDDEN' })
  })
})

describe('calls', () => {
  it('of another node’s agents are made for who may have them made', async () => {
    const { owner, node } = await startEdge()
    const far = await startNode({ name: 'far' })
    await far.agents.add({ ...CALCULATOR, name: 'sums', allow: [node.id] })
    const found = nextEvent(node, 'capability:found')
    await far.connect(addressOf(node))
    await found
    const call = { target: `${far.id}/sums`, capability: 'add', input: { a: 2, b: 3 } }
    expect(await (await owner('POST', '/v1/calls', call)).json()).toEqual({ result: 5 })
    const { key } = await node.keys.create({ name: 'ci', scopes: ['ci'], pin: 'off' })
    const ci = { authorization: `Bearer ${key}` }
    await node.policy.put([{ id: 'calls', effect: 'allow', who: 'scope:ci', act: '*.call', res: '*' }])
    expect(await problemOf(await owner('POST', '/v1/calls', call, ci))).toEqual({ status: 403, code: 'FORBIDDEN' })
    const res = `tool:${far.id}/sums/add`
    await node.policy.put([{ id: 'forward', effect: 'allow', who: 'scope:ci', act: 'call.forward', res }])
    expect(await (await owner('POST', '/v1/calls', call, ci)).json()).toEqual({ result: 5 })
    const other = await owner('POST', '/v1/calls', { ...call, capability: 'who' }, ci)
    expect(await problemOf(other)).toEqual({ status: 403, code: 'FORBIDDEN' })
    const stream = { target: `${far.id}/sums`, capability: 'count', input: { to: 2 } }
    expect(await (await owner('POST', '/v1/calls', stream)).text()).toContain('event: end')
  })

  it('see who calls, and nothing of how that was proven', async () => {
    const { owner, node } = await startEdge()
    const { result } = (await (
      await owner('POST', '/v1/calls', { target: '@calculator', capability: 'who' })
    ).json()) as {
      result: unknown
    }
    expect(result).toMatchObject({ peer: node.id, trust: 'owner' })
    expect(JSON.stringify(result)).not.toContain('mesh_o_')
  })

  it('that stream go on after a cut where the client was', async () => {
    const { owner } = await startEdge()
    const call = { target: '@calculator', capability: 'count', input: { to: 5 } }
    const first = await owner('POST', '/v1/calls', call, { accept: 'text/event-stream' })
    expect(first.headers.get('content-type')).toBe('text/event-stream')
    const reader = first.body?.getReader()
    const text = Buffer.from((await reader?.read())?.value ?? []).toString()
    const [, id = ''] = /^id: (.+)$/m.exec(text) ?? []
    expect(id).toMatch(/^[\w-]{22}:1$/)
    // Whatever of it has arrived: the client goes on from what it has dealt with
    await reader?.cancel()
    const resume = async (after: string) => {
      const headers = { accept: 'text/event-stream', 'last-event-id': after }
      const rest = await (await owner('POST', '/v1/calls', call, headers)).text()
      return [...rest.matchAll(/^data: (.+)$/gm)].map(([, data]) => JSON.parse(data ?? ''))
    }
    expect(await resume(id)).toEqual([{ n: 2 }, { n: 3 }, { n: 4 }, { n: 5 }, {}])
    expect(await resume(id.replace(/1$/, '4'))).toEqual([{ n: 5 }, {}])
  })

  it('that stream wait a while for a client that was cut off', async () => {
    const { owner, node } = await startEdge()
    const gate = Promise.withResolvers<void>()
    let starts = 0
    const capability = {
      name: 'slow',
      streaming: true,
      handler: async function* () {
        starts += 1
        yield 1
        await gate.promise
        yield 2
      }
    }
    await node.agents.add({ name: 'late', capabilities: [capability] })
    const call = { target: '@late', capability: 'slow' }
    const first = await owner('POST', '/v1/calls', call, { accept: 'text/event-stream' })
    const reader = first.body?.getReader()
    const [, id = ''] = /^id: (.+)$/m.exec(Buffer.from((await reader?.read())?.value ?? []).toString()) ?? []
    await reader?.cancel()
    // By then the node has seen that the first connection is gone
    for (let n = 0; n < 5; n += 1) await owner('GET', '/v1/self')
    const again = await owner('POST', '/v1/calls', call, { accept: 'text/event-stream', 'last-event-id': id })
    gate.resolve()
    const text = await again.text()
    expect([...text.matchAll(/^data: (.+)$/gm)].map(([, data]) => data)).toEqual(['2', '{}'])
    expect(starts).toBe(1)
  })

  it('whose streams are somebody else’s are not taken up', async () => {
    const { owner, node } = await startEdge()
    const call = { target: '@calculator', capability: 'count', input: { to: 1e6 } }
    const first = await owner('POST', '/v1/calls', call, { accept: 'text/event-stream' })
    const reader = first.body?.getReader()
    const [, id = ''] = /^id: (.+)$/m.exec(Buffer.from((await reader?.read())?.value ?? []).toString()) ?? []
    const { key } = await node.keys.create({ name: 'other', scopes: ['other'], pin: 'off' })
    await node.policy.put([{ id: 'calls', effect: 'allow', who: 'scope:other', act: '*.call', res: '*' }])
    const headers = { accept: 'text/event-stream', 'last-event-id': id, authorization: `Bearer ${key}` }
    const text = await (await owner('POST', '/v1/calls', call, headers)).text()
    expect(text).toContain('STREAM_LOST')
    await reader?.cancel()
  })

  it('that the owner is asked about say where the answer will be', async () => {
    const { owner, node } = await startEdge()
    const { key, info } = await node.keys.create({ name: 'ci', scopes: ['ci'], pin: 'off' })
    await node.policy.put([{ id: 'ask', effect: 'ask', who: `api-key:${info.id}`, act: '*.call', res: '*' }])
    const ci = { authorization: `Bearer ${key}` }
    const call = () =>
      owner('POST', '/v1/calls', { target: '@calculator', capability: 'add', input: { a: 1, b: 2 } }, ci)
    const asked = await call()
    expect(asked.status).toBe(202)
    const location = asked.headers.get('location') ?? ''
    expect(await (await owner('GET', location, undefined, ci)).json()).toMatchObject({ state: 'pending' })
    const stranger = await node.keys.create({ name: 'stranger', pin: 'off' })
    const prying = await owner('GET', location, undefined, { authorization: `Bearer ${stranger.key}` })
    expect(await problemOf(prying)).toEqual({ status: 404, code: 'NOT_FOUND' })
    expect((await owner('POST', `${location}/allow`, { remember: 'once' })).status).toBe(200)
    expect(await (await owner('GET', location, undefined, ci)).json()).toMatchObject({ state: 'allowed' })
    expect(await (await call()).json()).toEqual({ result: 3 })
    expect((await call()).status).toBe(202)
  })

  it('beyond a limit are told when to come back', async () => {
    const { owner, node } = await startEdge()
    const { key } = await node.keys.create({ name: 'ci', scopes: ['ci'], pin: 'off' })
    await node.policy.put([
      { id: 'ci', effect: 'allow', who: 'scope:ci', act: '*.call', res: '*', limit: { calls: '1/10m' } }
    ])
    const call = () =>
      owner('POST', '/v1/calls', { target: '@calculator', capability: 'who' }, { authorization: `Bearer ${key}` })
    expect((await call()).status).toBe(200)
    const limited = await call()
    expect(Number(limited.headers.get('retry-after'))).toBeGreaterThan(500)
    expect(await problemOf(limited)).toEqual({ status: 429, code: 'LIMIT_EXCEEDED' })
  })

  it('end when the client goes', async () => {
    const { url, token, node } = await startEdge()
    const aborted = Promise.withResolvers<void>()
    const began = Promise.withResolvers<void>()
    await node.agents.add({
      name: 'slow',
      capabilities: [
        {
          name: 'wait',
          handler: (_, { signal }) => {
            began.resolve()
            return new Promise((_resolve, reject) => {
              signal.addEventListener('abort', () => {
                aborted.resolve()
                reject(signal.reason)
              })
            })
          }
        }
      ]
    })
    const controller = new AbortController()
    const running = fetch(`${url}/v1/calls`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
      body: JSON.stringify({ target: '@slow', capability: 'wait' }),
      signal: controller.signal
    })
    await began.promise
    controller.abort()
    await expect(running).rejects.toThrow('aborted')
    await aborted.promise
  })
})

describe('a request with an idempotency key', () => {
  const add = (name: string) => ({ name, driver: 'module', config: { file: MODULE } })

  it('is done once, and answered alike each time, after a restart too', async () => {
    const home = await tempFolder()
    const first = await startEdge({ home })
    const { node } = first
    const key = { 'idempotency-key': 'one' }
    const made = await first.owner('POST', '/v1/agents', add('clock'), key)
    const text = await made.text()
    expect(made.status).toBe(201)
    const repeated = await first.owner('POST', '/v1/agents', add('clock'), key)
    expect(repeated.status).toBe(201)
    expect(repeated.headers.get('idempotency-replayed')).toBe('true')
    expect(repeated.headers.get('location')).toBe('/v1/agents/clock')
    expect(await repeated.text()).toBe(text)
    await first.edge.close()
    await node.stop()
    const again = await startEdge({ home })
    const late = await again.owner('POST', '/v1/agents', add('clock'), key)
    expect({ status: late.status, text: await late.text() }).toEqual({ status: 201, text })
  })

  it('is an error of the client’s when it is another request', async () => {
    const { owner } = await startEdge()
    const key = { 'idempotency-key': 'one' }
    await owner('POST', '/v1/agents', add('clock'), key)
    const other = await owner('POST', '/v1/agents', add('watch'), key)
    expect(await problemOf(other)).toEqual({ status: 409, code: 'ALREADY_EXISTS' })
    const unusable = await owner('POST', '/v1/agents', add('watch'), { 'idempotency-key': 'a b' })
    expect(await problemOf(unusable)).toEqual({ status: 400, code: 'INVALID_ARGUMENT' })
  })

  it('is done once when it comes twice at once', async () => {
    const { owner, node } = await startEdge()
    let count = 0
    const began = Promise.withResolvers<void>()
    const gate = Promise.withResolvers<void>()
    await node.agents.add({
      name: 'counter',
      capabilities: [
        {
          name: 'next',
          handler: async () => {
            count += 1
            began.resolve()
            await gate.promise
            return count
          }
        }
      ]
    })
    const send = () =>
      owner('POST', '/v1/calls', { target: '@counter', capability: 'next' }, { 'idempotency-key': 'once' })
    const first = send()
    await began.promise
    expect(await problemOf(await send())).toEqual({ status: 429, code: 'BUSY' })
    gate.resolve()
    expect(await (await first).json()).toEqual({ result: 1 })
    expect(await (await send()).json()).toEqual({ result: 1 })
    expect(count).toBe(1)
  })

  it('that was not done may be sent again', async () => {
    const { owner, node } = await startEdge()
    const send = () =>
      owner(
        'POST',
        '/v1/calls',
        { target: `${node.id}/late`, capability: 'add', input: { a: 1, b: 1 } },
        { 'idempotency-key': 'x' }
      )
    expect((await send()).status).toBe(404)
    await node.agents.add({ ...CALCULATOR, name: 'late' })
    expect(await (await send()).json()).toEqual({ result: 2 })
  })

  it('belongs to its caller', async () => {
    const { owner, node } = await startEdge()
    await node.policy.put([{ id: 'all', effect: 'allow', who: '*', act: '*.call', res: '*' }])
    const results: unknown[] = []
    for (const name of ['one', 'two']) {
      const { key } = await node.keys.create({ name, pin: 'off' })
      const headers = { authorization: `Bearer ${key}`, 'idempotency-key': 'same' }
      const response = await owner('POST', '/v1/calls', { target: '@calculator', capability: 'who' }, headers)
      results.push(((await response.json()) as { result: { peer: string } }).result.peer)
    }
    expect(new Set(results).size).toBe(2)
  })
})

it('metrics have what the node, its edge and libp2p count', async () => {
  const { owner } = await startEdge({ metrics: true })
  await owner('GET', '/v1/status')
  const text = await (await owner('GET', '/metrics')).text()
  expect(text).toContain('pryx_mesh_http_requests_total{operation="readStatus",status="200"} 1')
  expect(text).toMatch(/^pryx_mesh_agents 1$/m)
  expect(text).toMatch(/^libp2p_/m)
  expect(text).toMatch(/^pryx_mesh_http_request_duration_seconds_bucket\{le="1",operation="readStatus"\} 1$/m)
})
