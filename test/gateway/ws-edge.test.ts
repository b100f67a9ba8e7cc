import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { MeshError, type Node } from '../../src/index.ts'
import { makeCertificate } from '../auth/certificates.ts'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { makeKey, signed } from './edge-clients.ts'
import { Client, connect, type EdgeKit, refusal, register, startEdge } from './ws-kit.ts'

/** A key whose bearer is a caller by the scope of its name. */
async function keyFor(node: Node, name: string, ...acts: readonly string[]): Promise<string> {
  const { key } = await node.keys.create({ name, scopes: [name], pin: 'off' })
  if (acts.length > 0)
    await node.policy.put([{ id: `test:${name}`, effect: 'allow', who: `scope:${name}`, act: acts, res: '*' }])
  return key
}

async function startWithKey(...acts: readonly string[]): Promise<EdgeKit & { readonly key: string }> {
  const kit = await startEdge()
  return { ...kit, key: await keyFor(kit.node, 'robot', ...acts) }
}

/** A node with an agent that is functions: `double`, `denied` by nobody but the owner, `ticks` that streams. */
async function addMaths(node: Node): Promise<void> {
  await node.agents.add({
    name: 'maths',
    capabilities: [
      { name: 'double', effects: 'none', handler: (input) => ({ twice: (input as { n: number }).n * 2 }) },
      {
        name: 'ticks',
        effects: 'none',
        async *handler(input, { signal }) {
          for (let n = 0; n < (input as { n: number }).n && !signal.aborted; n += 1) yield n
        }
      },
      {
        name: 'forever',
        effects: 'none',
        handler: (_input, { signal }) =>
          new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason)))
      }
    ]
  })
}

it('welcomes the owner by the header, with the subprotocol', async () => {
  const { node, url, ownerToken } = await startEdge()
  const client = new Client({ url, token: ownerToken })
  expect(await client.take('welcome')).toEqual({
    type: 'welcome',
    node: node.id,
    caller: { peer: node.id, trust: 'owner' },
    resumeMs: 60_000
  })
  expect(client.socket.protocol).toBe('pryx-mesh.v1')
})

it('knows a caller by its API key, in a header or in the first frame', async () => {
  const { url, key } = await startWithKey()
  const byHeader = new Client({ url, token: key })
  const { caller } = await byHeader.take('welcome')
  expect(caller).toMatchObject({ peer: expect.stringMatching(/^api-key:/), trust: 'unknown' })
  const byFrame = new Client({ url })
  byFrame.socket.once('open', () => byFrame.send({ type: 'auth', method: 'api-key', key }))
  expect((await byFrame.take('welcome'))['caller']).toEqual(caller)
})

it("takes the owner's token in the first frame", async () => {
  const { url, ownerToken } = await startEdge()
  const client = new Client({ url })
  client.socket.once('open', () => client.send({ type: 'auth', method: 'local', token: ownerToken }))
  expect(await client.take('welcome')).toMatchObject({ caller: { trust: 'owner' } })
})

it.each([
  { id: 'a key that there is not', token: 'mesh_k_AAAAAAAAAAA_x', status: 401 },
  { id: "another owner's token", token: `mesh_o_${'A'.repeat(43)}`, status: 401 }
])('refuses the upgrade with $id', async ({ token, status }) => {
  const { url } = await startEdge()
  expect(await refusal({ url, token })).toBe(status)
})

it('says what is wrong with a credential in a frame, and closes', async () => {
  const { url } = await startEdge()
  const client = new Client({ url })
  client.socket.once('open', () => client.send({ type: 'auth', method: 'api-key', key: 'nonsense' }))
  expect(await client.take('error')).toMatchObject({ error: { code: 'UNAUTHENTICATED' } })
  expect(await client.closed).toBe(3000)
})

it('closes a connection that does not say who it is', async () => {
  const { url } = await startEdge({ limits: { authTimeoutMs: 30 } })
  expect(await new Client({ url }).closed).toBe(3008)
})

it('closes a connection that begins with anything else', async () => {
  const { url } = await startEdge()
  const client = new Client({ url })
  client.socket.once('open', () => client.send({ type: 'invoke', id: '1', target: '@maths', capability: 'double' }))
  expect(await client.closed).toBe(1002)
})

it.each([
  { id: 'a page of a stranger', headers: { origin: 'https://evil.example' }, status: 403 },
  { id: 'a name that is not ours', headers: { host: 'evil.example' }, status: 421 }
])('refuses $id', async ({ headers, status }) => {
  const { url, ownerToken } = await startEdge()
  expect(await refusal({ url, token: ownerToken, headers })).toBe(status)
})

it('lets pages in whose origin the owner has named', async () => {
  const { url, ownerToken } = await startEdge({ origins: ['https://desk.example'] })
  const client = new Client({ url, token: ownerToken, headers: { origin: 'https://desk.example' } })
  expect(await client.take('welcome')).toMatchObject({ caller: { trust: 'owner' } })
})

it('refuses clients that speak other subprotocols only', async () => {
  const { url, ownerToken } = await startEdge()
  expect(await refusal({ url, token: ownerToken, protocol: 'chat' })).toBe(400)
})

it('ends with the credentials: a revoked key closes the connection, and its agent is gone', async () => {
  const { node, url } = await startEdge({ limits: { sweepMs: 20 } })
  const key = await keyFor(node, 'robot', 'agent.register')
  const { client } = await register({ url, token: key }, 'worker')
  const down = nextEvent(node, 'agent:down')
  const [info] = node.keys.list()
  await node.keys.revoke(info?.id ?? '')
  expect(await client.closed).toBe(3000)
  await down
  expect(node.agents.get('worker')?.state).toBe('down')
})

it('knows a peer by its signature of the request, and ends with it when it is blocked', async () => {
  const { node, url } = await startEdge({ limits: { sweepMs: 20 } })
  const { privateKey, did, peer } = makeKey()
  await node.policy.put([{ id: 'one', effect: 'allow', who: peer, act: 'agent.register', res: 'agent:worker' }])
  const { init } = signed({ url: url.replace('ws', 'http'), key: privateKey, keyId: did })
  const headers = init.headers as Record<string, string>
  const { client } = await register({ url, headers }, 'worker')
  expect(await refusal({ url, headers }), 'the same signature again').toBe(401)
  const down = nextEvent(node, 'agent:down')
  await node.trust.set(peer, { level: 'blocked' })
  expect(await client.closed).toBe(3000)
  expect(await down).toMatchObject({ agent: `${node.id}/worker` })
})

it("knows a client over TLS by its certificate, or by a frame when the certificate is nobody's", async () => {
  const folder = await tempFolder()
  const own = await makeCertificate({ subject: 'CN=127.0.0.1' })
  const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  await Promise.all([writeFile(certFile, own.cert), writeFile(keyFile, own.key)])
  const pinned = await makeCertificate()
  const auth = { mtls: { pins: [{ spki: pinned.spki, name: 'ci' }] } }
  const { url, ownerToken } = await startEdge({ node: { auth }, tls: { certFile, keyFile } })
  expect(url).toMatch(/^wss:/)
  const byCertificate = new Client({ url, tls: { rejectUnauthorized: false, cert: pinned.cert, key: pinned.key } })
  expect(await byCertificate.take('welcome')).toMatchObject({ caller: { peer: 'mtls:ci' } })
  const { cert, key } = await makeCertificate()
  for (const tls of [{ cert, key }, {}]) {
    const byFrame = new Client({ url, tls: { ...tls, rejectUnauthorized: false } })
    byFrame.socket.once('open', () => byFrame.send({ type: 'auth', method: 'local', token: ownerToken }))
    expect(await byFrame.take('welcome')).toMatchObject({ caller: { trust: 'owner' } })
  }
})

it('lets nobody register whom policy does not let', async () => {
  const { node, url, key } = await startWithKey()
  const client = await connect({ url, token: key })
  client.send({ type: 'register', agent: { name: 'worker', capabilities: [] } })
  expect(await client.take('refused')).toMatchObject({ agent: 'worker', error: { code: 'FORBIDDEN' } })
  expect(node.agents.list()).toEqual([])
})

it.each([
  { id: 'a capability without a name', capabilities: [{ kind: 'tool' }], code: 'INVALID_ARGUMENT' },
  { id: 'a version that is none', version: 'one', capabilities: [], code: 'INVALID_ARGUMENT' }
])('refuses an agent with $id, and goes on', async ({ id: _id, code, ...agent }) => {
  const { node, url, ownerToken } = await startEdge()
  const client = await connect({ url, token: ownerToken })
  client.send({ type: 'register', agent: { name: 'worker', ...agent } })
  expect(await client.take('refused')).toMatchObject({ error: { code } })
  client.send({ type: 'register', agent: { name: 'worker', capabilities: [] } })
  await client.take('registered')
  expect(node.agents.get('worker')?.state).toBe('up')
})

it('calls an agent that has dialled in, from another node', async () => {
  const { node, url, ownerToken } = await startEdge()
  const far = await startNode({ name: 'far' })
  await far.connect(addressOf(node))
  await node.policy.put([{ id: 'test', effect: 'allow', who: '*', act: '*.call', res: '*' }])
  const { client, id } = await register({ url, token: ownerToken }, 'worker')
  const called = far.call(id, 'echo', { hello: 1 })
  const call = await client.take('call')
  expect(call).toMatchObject({
    agent: 'worker',
    capability: { kind: 'tool', name: 'echo', version: '1.0.0' },
    input: { hello: 1 },
    caller: { peer: far.id }
  })
  client.send({ type: 'result', id: call['id'], result: { hello: 2 } })
  expect(await called).toEqual({ hello: 2 })
})

it('streams what the agent yields, and tells it when nobody reads on', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const stream = node.stream(`${node.id}/worker`, 'count', {})[Symbol.asyncIterator]()
  const first = stream.next()
  const { id } = await client.take('call')
  client.send({ type: 'item', id, seq: 0, item: 'a' })
  expect(await first).toEqual({ done: false, value: 'a' })
  await stream.return?.()
  expect(await client.take('cancel')).toMatchObject({ id })
})

it('tells apart the agents of one connection', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'one')
  client.send({ type: 'register', agent: { name: 'two', capabilities: [{ name: 'echo', effects: 'none' }] } })
  await client.take('registered')
  const answers = Promise.all([node.call(`${node.id}/one`, 'echo', {}), node.call(`${node.id}/two`, 'echo', {})])
  for (const name of ['two', 'one']) {
    const { id, agent } = await client.take('call', (call) => call['agent'] === name)
    client.send({ type: 'result', id, result: agent })
  }
  expect(await answers).toEqual(['one', 'two'])
  client.send({ type: 'capabilities', agent: 'two', capabilities: [{ name: 'other' }] })
  const offered = () => node.agents.get('two')?.record?.record.capabilities.map(({ name }) => name)
  await expect.poll(offered).toEqual(['other'])
  client.send({ type: 'unregister', agent: 'two' })
  await client.take('unregistered', ({ agent }) => agent === 'two')
  expect([node.agents.get('two')?.state, node.agents.get('one')?.state]).toEqual(['down', 'up'])
})

it('takes no more agents on a connection than it may have', async () => {
  const { url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'agent-0')
  for (let n = 1; n <= 16; n += 1) client.send({ type: 'register', agent: { name: `agent-${n}` } })
  expect(await client.take('refused')).toMatchObject({ agent: 'agent-16', error: { code: 'BUSY' } })
})

it('gives a name to the one who has had it first', async () => {
  const { node, url, key } = await startWithKey('agent.register')
  const other = await keyFor(node, 'other', 'agent.register')
  const { client } = await register({ url, token: key }, 'worker')
  const thief = await connect({ url, token: other })
  thief.send({ type: 'register', agent: { name: 'worker' } })
  expect(await thief.take('refused')).toMatchObject({ error: { code: 'ALREADY_EXISTS' } })
  client.socket.close()
  await nextEvent(node, 'agent:down')
  thief.send({ type: 'register', agent: { name: 'worker' } })
  expect(await thief.take('refused')).toMatchObject({ error: { code: 'ALREADY_EXISTS' } })
})

it("puts an agent's newer connection in the place of the older one", async () => {
  const { node, url, key } = await startWithKey('agent.register')
  const { client: older } = await register({ url, token: key }, 'worker')
  const { client: newer } = await register({ url, token: key }, 'worker')
  await older.take('unregistered', ({ agent }) => agent === 'worker')
  const called = node.call(`${node.id}/worker`, 'echo', {})
  const { id } = await newer.take('call')
  newer.send({ type: 'result', id, result: 'newer' })
  expect(await called).toBe('newer')
})

it("takes no name of the owner's own agents", async () => {
  const { node, url, ownerToken } = await startEdge()
  await addMaths(node)
  const client = await connect({ url, token: ownerToken })
  client.send({ type: 'register', agent: { name: 'maths' } })
  expect(await client.take('refused')).toMatchObject({ error: { code: 'ALREADY_EXISTS' } })
})

it('tells an agent that its owner has removed it', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  await node.agents.remove('worker')
  expect(await client.take('unregistered')).toMatchObject({ agent: 'worker' })
})

it('calls others in the name of the client, as policy lets it', async () => {
  const { node, url, key } = await startWithKey()
  await addMaths(node)
  const client = await connect({ url, token: key })
  const invoke = { type: 'invoke', target: `${node.id}/maths`, capability: 'double', input: { n: 21 } }
  client.send({ ...invoke, id: 'before' })
  expect(await client.take('error')).toMatchObject({ id: 'before', error: { code: 'FORBIDDEN', retryable: false } })
  await node.policy.put([{ id: 'calls', effect: 'allow', who: 'scope:robot', act: 'tool.call', res: 'tool:maths/*' }])
  client.send({ ...invoke, id: 'after' })
  expect(await client.take('result')).toEqual({ type: 'result', id: 'after', result: { twice: 42 } })
})

it("does not lend the node's key to callers: agents of other nodes are another permission", async () => {
  const { node, url, key } = await startWithKey('tool.call')
  const far = await startNode({ name: 'far' })
  await addMaths(far)
  await far.policy.put([{ id: 'calls', effect: 'allow', who: '*', act: '*.call', res: '*' }])
  await far.connect(addressOf(node))
  const client = await connect({ url, token: key })
  const invoke = { type: 'invoke', target: `${far.id}/maths`, capability: 'double', input: { n: 1 } }
  client.send({ ...invoke, id: 'before' })
  expect(await client.take('error')).toMatchObject({ error: { code: 'FORBIDDEN' } })
  await node.policy.put([{ id: 'on', effect: 'allow', who: 'scope:robot', act: 'call.forward', res: '*' }])
  client.send({ ...invoke, id: 'after' })
  expect(await client.take('result')).toMatchObject({ id: 'after', result: { twice: 2 } })
})

it.each([
  { id: 'as they come', stream: true, ends: [0, 1, 2] },
  { id: 'as one array', stream: false, ends: [] }
])('gives items of a stream $id', async ({ stream, ends }) => {
  const { node, url, ownerToken } = await startEdge()
  await addMaths(node)
  const client = await connect({ url, token: ownerToken })
  client.send({ type: 'invoke', id: 's', target: `${node.id}/maths`, capability: 'ticks', input: { n: 3 }, stream })
  const last = await client.take(stream ? 'end' : 'result')
  expect(last['result']).toEqual(stream ? undefined : [0, 1, 2])
  expect(client.frames.filter(({ type }) => type === 'item').map(({ item }) => item)).toEqual(ends)
})

it('sends no more items than the client has given credit for', async () => {
  const { node, url, ownerToken } = await startEdge()
  await addMaths(node)
  const client = await connect({ url, token: ownerToken })
  const invoke = { type: 'invoke', target: `${node.id}/maths`, capability: 'ticks', stream: true }
  client.send({ ...invoke, id: 's', input: { n: 10 }, credit: 2 })
  await client.take('item', ({ seq }) => seq === 1)
  // An answer to something else shows that the connection is not what holds it up
  client.send({ ...invoke, id: 'other', input: { n: 1 } })
  await client.take('end', ({ id }) => id === 'other')
  expect(client.frames.filter(({ type, id }) => type === 'item' && id === 's').map(({ seq }) => seq)).toEqual([0])
  client.send({ type: 'credit', id: 's', items: 100 })
  await client.take('end', ({ id }) => id === 's')
})

it('cancels what the client gives up, and everything when it leaves', async () => {
  const { node, url, ownerToken } = await startEdge()
  const ended: unknown[] = []
  const begun: unknown[] = []
  const wait = (input: unknown, { signal }: { signal: AbortSignal }): Promise<never> => {
    begun.push(input)
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        ended.push(input)
        reject(signal.reason)
      })
    })
  }
  await node.agents.add({ name: 'slow', capabilities: [{ name: 'wait', handler: wait }] })
  const client = await connect({ url, token: ownerToken })
  for (const id of ['one', 'two'])
    client.send({ type: 'invoke', id, target: `${node.id}/slow`, capability: 'wait', input: id })
  await expect.poll(() => begun).toEqual(['one', 'two'])
  client.send({ type: 'cancel', id: 'one' })
  expect(await client.take('error')).toMatchObject({ id: 'one', error: { code: 'CANCELLED' } })
  await expect.poll(() => ended).toEqual(['one'])
  client.socket.close()
  await expect.poll(() => ended).toEqual(['one', 'two'])
})

it.each([
  { id: 'more than a frame may have', result: () => 'x'.repeat(1_100_000), code: 'TOO_LARGE' },
  {
    id: 'an error that says more than that',
    result() {
      throw new MeshError('AGENT_ERROR', 'too much', { data: 'x'.repeat(1_100_000) })
    },
    code: 'AGENT_ERROR'
  }
])('answers with an error for $id', async ({ result, code }) => {
  const { node, url, ownerToken } = await startEdge()
  await node.agents.add({ name: 'chatty', capabilities: [{ name: 'talk', handler: result }] })
  const client = await connect({ url, token: ownerToken })
  client.send({ type: 'invoke', id: '1', target: `${node.id}/chatty`, capability: 'talk' })
  expect(await client.take('error')).toMatchObject({ id: '1', error: { code } })
})

it('calls no agent with more than a frame may have', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const large = failureOf(node.call(`${node.id}/worker`, 'echo', 'x'.repeat(1_100_000)))
  expect(await large).toMatchObject({ code: 'TOO_LARGE' })
  const called = node.call(`${node.id}/worker`, 'echo', {})
  client.send({ type: 'result', id: (await client.take('call')).id, result: 1 })
  expect(await called).toBe(1)
})

it('finds agents for who may read the node, and for nobody else', async () => {
  const { node, url, key } = await startWithKey()
  await addMaths(node)
  const client = await connect({ url, token: key })
  client.send({ type: 'find', id: '1', name: 'dou*' })
  expect(await client.take('error')).toMatchObject({ error: { code: 'FORBIDDEN' } })
  await node.policy.put([{ id: 'read', effect: 'allow', who: 'scope:robot', act: 'node.read', res: 'node:find' }])
  client.send({ type: 'find', id: '2', name: 'dou*', timeoutMs: 2_000 })
  const { item } = await client.take('item')
  expect(item).toMatchObject({ agent: `${node.id}/maths`, capability: { name: 'double' } })
  expect(await client.take('end')).toMatchObject({ id: '2', summary: { count: 1 } })
})

it('hands a durable message over, and counts it as handled once it is acknowledged', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const { id } = await node.send(`${node.id}/worker`, { tidy: 'up' })
  const frame = await client.take('message')
  expect(frame).toMatchObject({ agent: 'worker', message: { id, body: { tidy: 'up' } }, caller: { peer: node.id } })
  expect(node.messages.show(id)?.state).not.toBe('processed')
  client.send({ type: 'ack', id: frame['id'] })
  await node.messages.waitFor(id, { signal: AbortSignal.timeout(5_000) })
})

it('hands a message over again that was not acknowledged before the agent was gone', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const { id } = await node.send(`${node.id}/worker`, { tidy: 'up' })
  await client.take('message')
  client.socket.close()
  await nextEvent(node, 'agent:down')
  const { client: again } = await register({ url, token: ownerToken }, 'worker')
  const frame = await again.take('message')
  expect(frame).toMatchObject({ message: { id } })
  again.send({ type: 'ack', id: frame['id'] })
  await node.messages.waitFor(id, { signal: AbortSignal.timeout(5_000) })
})

it("takes a result for the reply to a request's message", async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const { id } = await node.send(`${node.id}/worker`, { sum: [1, 2] }, { expectsReply: true })
  const frame = await client.take('message')
  client.send({ type: 'result', id: frame['id'], result: 3 })
  const { reply } = await node.messages.waitFor(id, { until: 'reply', signal: AbortSignal.timeout(5_000) })
  expect(reply).toMatchObject({ outcome: 'result', body: 3 })
})

it('sends messages of the agents that it has, and of no others', async () => {
  const { node, url, key } = await startWithKey('agent.register', 'message.send')
  await addMaths(node)
  const client = await connect({ url, token: key })
  const send = { type: 'send', to: `${node.id}/owner`, body: 'done' }
  client.send({ ...send, id: 'too early' })
  expect(await client.take('error')).toMatchObject({ id: 'too early', error: { code: 'FORBIDDEN' } })
  client.send({ type: 'register', agent: { name: 'worker' } })
  await client.take('registered')
  client.send({ ...send, id: 'for another', from: 'maths' })
  expect(await client.take('error')).toMatchObject({ id: 'for another', error: { code: 'FORBIDDEN' } })
  client.send({ ...send, id: 'its own' })
  const { result } = await client.take('result')
  await expect.poll(() => node.messages.inbox().map(({ id }) => id)).toEqual([(result as { id: string }).id])
  expect(node.messages.inbox()[0]).toMatchObject({ from: `${node.id}/worker`, body: 'done' })
})

it("does not lend the node's name to callers: messages to other nodes are another permission", async () => {
  const { node, url, key } = await startWithKey('agent.register', 'message.send')
  const far = await startNode({ name: 'far' })
  await far.policy.put([{ id: 'mail', effect: 'allow', who: '*', act: 'message.send', res: '*' }])
  await far.connect(addressOf(node))
  const { client } = await register({ url, token: key }, 'worker')
  const send = { type: 'send', to: `${far.id}/owner`, body: 'hello' }
  client.send({ ...send, id: 'before' })
  expect(await client.take('error')).toMatchObject({ id: 'before', error: { code: 'FORBIDDEN' } })
  await node.policy.put([{ id: 'on', effect: 'allow', who: 'scope:robot', act: 'node.send', res: `agent:${far.id}/*` }])
  client.send({ ...send, id: 'after' })
  expect(await client.take('result')).toMatchObject({ id: 'after' })
  await expect.poll(() => far.messages.inbox()).toMatchObject([{ from: `${node.id}/worker`, body: 'hello' }])
})

it('reads what a client sends in one go with its credentials', async () => {
  const { url, ownerToken } = await startEdge()
  const client = new Client({ url })
  client.socket.once('open', () => {
    client.send({ type: 'auth', method: 'local', token: ownerToken })
    client.send({ type: 'register', agent: { name: 'worker' } })
  })
  expect(await client.take('registered')).toMatchObject({ agent: 'worker' })
})

it('keeps the name and the messages of an agent that is away over a restart of the node', async () => {
  const home = await tempFolder()
  const first = await startEdge({ node: { home } })
  const key = await keyFor(first.node, 'robot', 'agent.register')
  const other = await keyFor(first.node, 'other', 'agent.register')
  await register({ url: first.url, token: key }, 'worker')
  const down = nextEvent(first.node, 'agent:down')
  await first.close()
  await down
  await first.node.stop()

  const { node, url } = await startEdge({ node: { home } })
  expect(node.agents.get('worker')).toMatchObject({ state: 'down', reason: 'it has not connected' })
  const { id } = await node.send(`${node.id}/worker`, 'waiting')
  const thief = await connect({ url, token: other })
  thief.send({ type: 'register', agent: { name: 'worker' } })
  expect(await thief.take('refused')).toMatchObject({ error: { code: 'ALREADY_EXISTS' } })
  const { client } = await register({ url, token: key }, 'worker')
  expect(await client.take('message')).toMatchObject({ message: { id, body: 'waiting' } })
})

it('asks policy before it sends messages to agents of its own', async () => {
  const { node, url, key } = await startWithKey('agent.register')
  const { client } = await register({ url, token: key }, 'worker')
  client.send({ type: 'send', id: '1', to: `${node.id}/owner`, body: 'spam' })
  expect(await client.take('error')).toMatchObject({ error: { code: 'FORBIDDEN' } })
})
