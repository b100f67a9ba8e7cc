import { createHash } from 'node:crypto'
import { expect, it } from 'vitest'
import { failureOf, nextEvent } from '../nodes.ts'
import { type Client, type ClientInit, connect, type EdgeKit, register, type Seen, startEdge } from './ws-kit.ts'

/** Frames that have no number. */
const UNNUMBERED = new Set(['welcome', 'resumed', 'received'])

/**
 * An agent as its author would write one that comes back: it numbers and keeps what it sends, counts what it gets, and goes
 * on where it was. `count` yields n items of some hundred bytes.
 */
class Returning {
  readonly #init: ClientInit
  readonly #name: string
  client: Client | undefined
  resume = ''
  #received = 0
  #confirmed = 0
  #sent = 0
  #kept: string[] = []
  /** Streams and how many items may be sent of each. */
  readonly #credit = new Map<string, number>()
  readonly #wake = new Set<() => void>()
  readonly seen: Seen[] = []

  constructor(init: ClientInit, name: string) {
    this.#init = init
    this.#name = name
  }

  async begin(): Promise<void> {
    await this.#dial()
    this.say({
      type: 'register',
      agent: { name: this.#name, capabilities: [{ name: 'count', streaming: true, effects: 'none' }] }
    })
    await this.client?.take('registered')
  }

  /** Cut without a goodbye, and back at once. */
  async cut(): Promise<void> {
    this.client?.socket.terminate()
    await this.#dial()
  }

  say(frame: unknown): void {
    const text = JSON.stringify(frame)
    this.#sent += 1
    this.#kept.push(text)
    const socket = this.client?.socket
    if (socket?.readyState === socket?.OPEN) socket?.send(text)
  }

  async #dial(): Promise<void> {
    const client = await connect(this.#init)
    this.client = client
    client.socket.on('message', (data: Buffer) => this.#onFrame(client, JSON.parse(data.toString())))
    if (this.resume === '') return
    client.send({ type: 'resume', token: this.resume, received: this.#received })
    await client.take('resumed')
  }

  #onFrame(client: Client, frame: Seen): void {
    if (client !== this.client) return
    if (frame.type === 'resumed') {
      this.#confirm(Number(frame['received']))
      for (const text of this.#kept) client.send(text)
    }
    if (frame.type === 'received') this.#confirm(Number(frame['frames']))
    if (UNNUMBERED.has(frame.type)) return
    this.#received += 1
    if (this.#received % 16 === 0) client.send({ type: 'received', frames: this.#received })
    if (frame.type === 'registered') this.resume = String(frame['resume'])
    else if (frame.type === 'call') void this.#count(frame)
    else if (frame.type === 'credit') this.#give(frame.id ?? '', Number(frame['items']))
    else this.seen.push(frame)
  }

  #confirm(frames: number): void {
    this.#kept.splice(0, frames - this.#confirmed)
    this.#confirmed = Math.max(frames, this.#confirmed)
    if (this.#kept.length !== this.#sent - this.#confirmed)
      throw new Error(`${frames} frames were confirmed that are not kept`)
  }

  #give(id: string, items: number): void {
    this.#credit.set(id, (this.#credit.get(id) ?? 0) + items)
    for (const wake of this.#wake) wake()
    this.#wake.clear()
  }

  async #count({ id = '', input, credit }: Seen): Promise<void> {
    this.#credit.set(id, Number(credit))
    const { n } = input as { n: number }
    for (let seq = 0; seq < n; seq += 1) {
      while ((this.#credit.get(id) ?? 0) === 0) await new Promise<void>((resolve) => this.#wake.add(resolve))
      this.#credit.set(id, (this.#credit.get(id) ?? 0) - 1)
      this.say({ type: 'item', id, seq, item: itemOf(seq) })
    }
    this.say({ type: 'end', id })
  }
}

function itemOf(seq: number): string {
  return createHash('sha512').update(String(seq)).digest('hex')
}

async function startReturning(kit: EdgeKit): Promise<Returning> {
  const agent = new Returning({ url: kit.url, token: kit.ownerToken }, 'worker')
  await agent.begin()
  return agent
}

const SEED = Number(process.env['SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Mulberry32. */
function randomOf(seed: number): () => number {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

it(`streams from an agent whose connection is cut again and again are byte-equal (SEED=${SEED})`, async () => {
  const kit = await startEdge()
  const agent = await startReturning(kit)
  const random = randomOf(SEED)
  const total = 2_000
  const items: unknown[] = []
  let cuts = 0
  let cutting = Promise.resolve()
  for await (const item of kit.node.stream(`${kit.node.id}/worker`, 'count', { n: total }, { timeoutMs: 60_000 })) {
    items.push(item)
    if (cuts >= 20 || random() > 0.02) continue
    cuts += 1
    cutting = cutting.then(() => agent.cut())
  }
  await cutting
  expect(cuts).toBeGreaterThan(5)
  expect(items).toEqual(Array.from({ length: total }, (_, seq) => itemOf(seq)))
  expect(kit.node.agents.get('worker')?.state).toBe('up')
}, 30_000)

it(`streams to a client whose connection is cut again and again are byte-equal (SEED=${SEED})`, async () => {
  const kit = await startEdge()
  const total = 2_000
  let starts = 0
  await kit.node.agents.add({
    name: 'source',
    capabilities: [
      {
        name: 'count',
        effects: 'none',
        async *handler() {
          starts += 1
          for (let seq = 0; seq < total; seq += 1) yield itemOf(seq)
        }
      }
    ]
  })
  const agent = await startReturning(kit)
  const random = randomOf(SEED + 1)
  agent.say({
    type: 'invoke',
    id: 's',
    target: `${kit.node.id}/source`,
    capability: 'count',
    stream: true,
    credit: 100
  })
  let cuts = 0
  let credited = 100
  while (!agent.seen.some(({ type }) => type === 'end')) {
    await expect.poll(() => agent.seen.length, { interval: 1 }).toBeGreaterThanOrEqual(Math.min(credited, total))
    if (random() < 0.5) {
      cuts += 1
      await agent.cut()
    }
    agent.say({ type: 'credit', id: 's', items: 100 })
    credited += 100
    if (random() < 0.5) {
      cuts += 1
      await agent.cut()
    }
  }
  expect(cuts).toBeGreaterThan(5)
  expect(starts).toBe(1)
  expect(agent.seen.filter(({ type }) => type === 'item').map(({ item }) => item)).toEqual(
    Array.from({ length: total }, (_, seq) => itemOf(seq))
  )
}, 30_000)

it('keeps calls and messages for an agent that was cut off, and the agent up', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  const downs: unknown[] = []
  node.on('agent:down', (detail) => downs.push(detail))
  client.socket.terminate()
  await client.closed
  const called = node.call(`${node.id}/worker`, 'echo', { n: 1 })
  const { id: sent } = await node.send(`${node.id}/worker`, 'hello')
  const again = await connect({ url, token: ownerToken })
  again.send({ type: 'resume', token: resume, received: client.received })
  await again.take('resumed')
  again.send({ type: 'result', id: (await again.take('call')).id, result: 'late, but there' })
  again.send({ type: 'ack', id: (await again.take('message')).id })
  expect(await called).toBe('late, but there')
  await node.messages.waitFor(sent, { signal: AbortSignal.timeout(5_000) })
  expect(downs).toEqual([])
})

it('takes an agent down that does not come back in time; what it had is lost, and it may register again', async () => {
  const { node, url, ownerToken } = await startEdge({ limits: { resumeMs: 50 } })
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  const called = failureOf(node.call(`${node.id}/worker`, 'echo', {}))
  await client.take('call')
  const down = nextEvent(node, 'agent:down')
  client.socket.terminate()
  expect(await down).toMatchObject({ reason: 'it has not come back' })
  expect(await called).toMatchObject({ code: 'CONNECTION_LOST' })
  expect(await failureOf(node.call(`${node.id}/worker`, 'echo', {}))).toMatchObject({ code: 'AGENT_UNAVAILABLE' })
  const again = await connect({ url, token: ownerToken })
  again.send({ type: 'resume', token: resume, received: client.received })
  expect(await again.take('error')).toMatchObject({ error: { code: 'STREAM_LOST' } })
  again.send({ type: 'register', agent: { name: 'worker', capabilities: [] } })
  await again.take('registered')
  expect(node.agents.get('worker')?.state).toBe('up')
})

it('lets an agent go at once that says goodbye', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client } = await register({ url, token: ownerToken }, 'worker')
  const down = nextEvent(node, 'agent:down')
  client.socket.close()
  expect(await down).toMatchObject({ reason: 'it has left' })
})

it('gives a session to nobody else, whatever token they have', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { key } = await node.keys.create({ name: 'other', pin: 'off' })
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  const thief = await connect({ url, token: key })
  thief.send({ type: 'resume', token: resume, received: 0 })
  expect(await thief.take('error')).toMatchObject({ error: { code: 'STREAM_LOST' } })
  const called = node.call(`${node.id}/worker`, 'echo', {})
  client.send({ type: 'result', id: (await client.take('call')).id, result: 'still here' })
  expect(await called).toBe('still here')
})

it('moves the session to the newer connection when both are open', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  const newer = await connect({ url, token: ownerToken })
  newer.send({ type: 'resume', token: resume, received: client.received })
  await newer.take('resumed')
  expect(await client.closed).toBe(4000)
  const called = node.call(`${node.id}/worker`, 'echo', {})
  newer.send({ type: 'result', id: (await newer.take('call')).id, result: 'newer' })
  expect(await called).toBe('newer')
})

it.each([
  { id: 'more than was sent', received: 1_000 },
  { id: 'less than was confirmed', received: 0 }
])('refuses to go on from $id', async ({ received }) => {
  const { url, ownerToken } = await startEdge()
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  client.send({ type: 'received', frames: client.received })
  client.send({ type: 'find', id: 'done', limit: 1, timeoutMs: 1 })
  await client.take('end')
  client.socket.terminate()
  const again = await connect({ url, token: ownerToken })
  again.send({ type: 'resume', token: resume, received })
  expect(await again.take('error')).toMatchObject({ error: { code: 'STREAM_LOST' } })
})

it.each([
  {
    id: 'resumes after it has asked for something',
    frames: [
      { type: 'find', id: '1', limit: 1 },
      { type: 'resume', token: 'A'.repeat(43), received: 0 }
    ]
  },
  { id: 'confirms what was never sent', frames: [{ type: 'received', frames: 10 }] }
])('closes the connection of a client that $id', async ({ frames }) => {
  const { url, ownerToken } = await startEdge()
  const client = await connect({ url, token: ownerToken })
  for (const frame of frames) client.send(frame)
  expect(await client.closed).toBe(1002)
})

it('keeps no session for a client that is away once its agents are others', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  const { client: helper } = await register({ url, token: ownerToken }, 'helper')
  client.socket.terminate()
  await client.closed
  const { client: newer } = await register({ url, token: ownerToken }, 'worker')
  const again = await connect({ url, token: ownerToken })
  again.send({ type: 'resume', token: resume, received: client.received })
  expect(await again.take('error')).toMatchObject({ error: { code: 'STREAM_LOST' } })
  for (const [name, agent] of Object.entries({ worker: newer, helper })) {
    const called = node.call(`${node.id}/${name}`, 'echo', {})
    agent.send({ type: 'result', id: (await agent.take('call')).id, result: name })
    expect(await called).toBe(name)
  }
})

it('lets no more than so much wait for an agent that is away', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  client.socket.terminate()
  await client.closed
  const large = 'x'.repeat(900 * 1024)
  const calls = Array.from({ length: 4 }, () =>
    node.call(`${node.id}/worker`, 'echo', large).catch((err: unknown) => (err as { code: string }).code)
  )
  // Each is let pass while what waits already is not more than a mebibyte
  await expect(Promise.race(calls)).resolves.toBe('BUSY')
  const again = await connect({ url, token: ownerToken })
  again.send({ type: 'resume', token: resume, received: client.received })
  for (let n = 0; n < 2; n += 1) again.send({ type: 'result', id: (await again.take('call')).id, result: 'done' })
  expect(await Promise.all(calls)).toEqual(['done', 'done', 'BUSY', 'BUSY'])
})

it('goes on without a way back when a client confirms nothing', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client, resume } = await register({ url, token: ownerToken }, 'worker')
  const large = 'x'.repeat(512 * 1024)
  for (let n = 0; n < 8; n += 1) {
    const called = node.call(`${node.id}/worker`, 'echo', large)
    client.send({ type: 'result', id: (await client.take('call')).id, result: n })
    expect(await called).toBe(n)
  }
  const down = nextEvent(node, 'agent:down')
  client.socket.terminate()
  expect(await down).toMatchObject({ reason: 'its connection broke' })
  const again = await connect({ url, token: ownerToken })
  again.send({ type: 'resume', token: resume, received: client.received })
  expect(await again.take('error')).toMatchObject({ error: { code: 'STREAM_LOST' } })
})
