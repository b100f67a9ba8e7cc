import { createPrivateKey, type KeyObject, randomBytes } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { createWsEdge, openEdge, WS_PATH } from '../../src/gateway/index.ts'
import type { Node } from '../../src/index.ts'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { makeKey, signed } from './edge-clients.ts'
import { connect } from './ws-kit.ts'

vi.setConfig({ testTimeout: 30_000 })

const ITEMS = 40
/** All of them are kept: what a socket takes may be more than a client has read when it is cut off. */
const TEXT = 'ä'.repeat(4_000)
const VIAS = ['libp2p', 'sse', 'ws'] as const
type Via = (typeof VIAS)[number]

interface Stream {
  readonly id: string
  readonly after: number
}

/** One client's reading of a stream, over one connection. */
interface Reading {
  next(): Promise<IteratorResult<unknown>>
  /** As a client does that loses its connection. */
  cut(): Promise<void>
}

/** Who asks: a node of the mesh, which also signs HTTP requests. */
interface Client {
  readonly node: Node
  readonly did: string
  readonly key: KeyObject
}

interface Kit {
  readonly client: Client
  readonly edge: Node
  readonly url: string
  /** How often an agent was called. */
  readonly starts: () => number
  readonly open: (via: Via, stream: Stream, target?: string) => Promise<Reading>
}

const newId = (): string => randomBytes(16).toString('base64url')

function counter(): { readonly init: Parameters<Node['agents']['add']>[0]; readonly starts: () => number } {
  let starts = 0
  const handler = async function* () {
    starts += 1
    for (let n = 1; n <= ITEMS; n += 1) yield { n, text: TEXT }
  }
  const capabilities = [{ name: 'count', streaming: true, effects: 'none' as const, handler }]
  return { init: { name: 'counter', capabilities, allow: 'any' }, starts: () => starts }
}

async function startKit(): Promise<Kit> {
  const edge = await startNode({ name: 'edge' })
  const agent = counter()
  await edge.agents.add(agent.init)
  const opened = await openEdge({ node: edge, listen: '127.0.0.1:0', upgrades: { [WS_PATH]: createWsEdge() } })
  onTestFinished(() => opened.close())
  const home = await tempFolder()
  const node = await startNode({ name: 'client', home })
  await node.connect(addressOf(edge))
  const key = createPrivateKey(await readFile(join(home, 'identity.key'), 'utf8'))
  const client = { node, did: node.did, key }
  const open = async (via: Via, stream: Stream, target = `${edge.id}/counter`): Promise<Reading> => {
    if (via === 'libp2p') return byMesh(client, stream, target)
    return via === 'sse' ? bySse(client, opened.url, stream, target) : byWs(client, opened.url, stream, target)
  }
  return { client, edge, url: opened.url, starts: agent.starts, open }
}

function byMesh({ node }: Client, stream: Stream, target: string): Reading {
  const iterator = node.stream(target, 'count', {}, { stream })[Symbol.asyncIterator]()
  onTestFinished(async () => void (await iterator.return?.()))
  // It just reads no more: leaving would say that nobody wants the stream
  return { next: () => iterator.next(), cut: async () => {} }
}

async function bySse({ did, key }: Client, url: string, stream: Stream, target: string): Promise<Reading> {
  const body = { target, capability: 'count', stream }
  const asked = signed({ url: `${url}/v1/calls`, method: 'POST', body, key, keyId: did, algorithm: 'ed25519' })
  const response = await fetch(asked.url, asked.init)
  if (response.headers.get('content-type') !== 'text/event-stream') throw await response.json()
  const events = readEvents(response)
  return {
    async next() {
      const { value, done } = await events.next()
      if (done === true) throw new Error('the events broke off')
      if (value.event === 'error') throw value.data
      if (value.event === 'end') return { done: true, value: undefined }
      return { done: false, value: value.data }
    },
    cut: async () => void (await events.return(undefined))
  }
}

async function* readEvents({ body }: Response): AsyncGenerator<{ readonly event: string; readonly data: unknown }> {
  let rest = ''
  for await (const text of body?.pipeThrough(new TextDecoderStream()) ?? []) {
    const events = (rest + text).split('\n\n')
    rest = events.pop() ?? ''
    for (const each of events) {
      const [, event] = /^event: (.+)$/m.exec(each) ?? []
      const [, data = ''] = /^data: (.+)$/m.exec(each) ?? []
      if (event !== undefined) yield { event, data: JSON.parse(data) }
    }
  }
}

async function byWs({ did, key }: Client, url: string, stream: Stream, target: string): Promise<Reading> {
  const { init } = signed({ url: url + WS_PATH, key, keyId: did, algorithm: 'ed25519' })
  const headers = init.headers as Record<string, string>
  const client = await connect({ url: url.replace('http', 'ws') + WS_PATH, headers })
  client.send({ type: 'invoke', id: 's', target, capability: 'count', stream, credit: 1 })
  let { after } = stream
  const over = client.take('end').then(() => undefined)
  const failed = client.take('error').then(({ error }) => Promise.reject(error))
  for (const each of [over, failed]) each.catch(() => {})
  return {
    async next() {
      const item = client.take('item')
      item.catch(() => {})
      const frame = await Promise.race([item, over, failed])
      if (frame === undefined) return { done: true, value: undefined }
      expect(frame['seq']).toBe(after)
      after += 1
      client.send({ type: 'credit', id: 's', items: 1 })
      return { done: false, value: frame['item'] }
    },
    async cut() {
      client.socket.terminate()
      await client.closed
    }
  }
}

async function read(reading: Reading, count: number): Promise<unknown[]> {
  const items: unknown[] = []
  while (items.length < count) {
    const { done, value } = await reading.next()
    if (done === true) break
    items.push(value)
  }
  return items
}

const WHOLE = Array.from({ length: ITEMS }, (_, n) => ({ n: n + 1, text: TEXT }))

it.each(VIAS.flatMap((from) => VIAS.map((to) => ({ from, to }))))(
  'a stream that began by $from goes on by $to, byte for byte',
  async ({ from, to }) => {
    const { open, starts } = await startKit()
    const id = newId()
    const first = await open(from, { id, after: 0 })
    const items = await read(first, 3)
    await first.cut()
    const second = await open(to, { id, after: items.length })
    items.push(...(await read(second, ITEMS)))
    expect(items).toEqual(WHOLE)
    expect(starts()).toBe(1)
  }
)

it.each([
  { from: 'sse', to: 'sse' },
  { from: 'sse', to: 'ws' },
  { from: 'ws', to: 'sse' },
  { from: 'ws', to: 'ws' }
] as const)(
  "a stream of another node's agent that began by $from goes on by $to, byte for byte",
  async ({ from, to }) => {
    const { client, edge, open } = await startKit()
    const far = await startNode({ name: 'far' })
    const agent = counter()
    await far.agents.add(agent.init)
    const found = nextEvent(edge, 'capability:found')
    await edge.connect(addressOf(far))
    await found
    await edge.policy.put([{ id: 'on', effect: 'allow', who: client.node.id, act: 'call.forward', res: '*' }])
    const target = `${far.id}/counter`
    const id = newId()
    const first = await open(from, { id, after: 0 }, target)
    const items = await read(first, 3)
    await first.cut()
    items.push(...(await read(await open(to, { id, after: items.length }, target), ITEMS)))
    expect(items).toEqual(WHOLE)
    expect(agent.starts()).toBe(1)
    await edge.policy.remove(['on'])
    expect(await failureOf(open('sse', { id, after: ITEMS }, target))).toMatchObject({ code: 'FORBIDDEN' })
  }
)

// Events are in the client's socket long before it reads them
it.each(['libp2p', 'ws'] as const)('who reads a stream that goes on elsewhere is told so: %s', async (via) => {
  const { open } = await startKit()
  const id = newId()
  const first = await open(via, { id, after: 0 })
  const items = await read(first, 2)
  const second = await open('sse', { id, after: 2 })
  items.push(...(await read(second, ITEMS)))
  expect(items).toEqual(WHOLE)
  // What was on its way still comes; then it is an error, and never an end
  expect(await failureOf(read(first, ITEMS))).toMatchObject({ code: 'CONNECTION_LOST' })
})

it.each(VIAS)('a stream that is not known, or whose items are gone, is lost by %s too', async (via) => {
  const { open } = await startKit()
  const lost = { code: 'STREAM_LOST' }
  const ask = async (stream: Stream) => read(await open(via, stream), 1)
  expect(await failureOf(ask({ id: newId(), after: 3 }))).toMatchObject(lost)
  const id = newId()
  const first = await open('sse', { id, after: 0 })
  await read(first, ITEMS - 1)
  await first.cut()
  await read(await open('sse', { id, after: ITEMS - 1 }), ITEMS)
  // It was taken up after these: they are not asked for again
  expect(await failureOf(ask({ id, after: 2 }))).toMatchObject(lost)
})

it('nobody else takes up a stream, whatever id it has', async () => {
  const { client, edge, open, url } = await startKit()
  const id = newId()
  const target = `${edge.id}/counter`
  const first = await open('libp2p', { id, after: 0 })
  await read(first, 2)
  const { privateKey, did } = makeKey()
  const other = { ...client, key: privateKey, did }
  const asked = bySse(other, url, { id, after: 2 }, target)
  expect(await failureOf(asked)).toMatchObject({ code: 'STREAM_LOST' })
})
