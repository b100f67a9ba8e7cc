import { describe, expect, it } from 'vitest'
import type { AgentInit, Node } from '../../src/index.ts'
import { failureOf, nextEvent, startNode, startPair } from '../nodes.ts'

const pair = { type: 'object', required: ['a', 'b'], properties: { a: { type: 'number' }, b: { type: 'number' } } }

const calculator: AgentInit = {
  name: 'calculator',
  version: '1.4.0',
  allow: 'any',
  capabilities: [
    {
      name: 'math.add',
      input: pair,
      output: { type: 'number' },
      handler: (input) => {
        const { a, b } = input as { a: number; b: number }
        return a + b
      }
    },
    {
      name: 'count',
      output: { type: 'integer' },
      async *handler(input) {
        const { to } = input as { to: number }
        for (let n = 1; n <= to; n += 1) yield n
      }
    },
    { name: 'lie', output: { type: 'number' }, handler: () => 'seven' },
    {
      name: 'lie.later',
      output: { type: 'integer' },
      *handler() {
        yield 1
        yield 'two'
      }
    },
    {
      name: 'fail',
      handler: () => {
        throw new Error('secret text')
      }
    },
    { name: 'whoami', handler: (_input, { caller }) => ({ peer: caller.peer, trust: caller.trust }) },
    { name: 'both', handler: () => 'tool' },
    { name: 'both', kind: 'skill', handler: () => 'skill' }
  ]
}

/** A caller and a target, on one node or on two. */
const PLACES: ReadonlyArray<[string, () => Promise<{ near: Node; far: Node }>]> = [
  ['to a peer over TCP', async () => named(await startPair())],
  ['to a peer over WebSocket', async () => named(await startPair({ listen: ['/ip4/127.0.0.1/tcp/0/ws'] }))],
  [
    'to an agent of the same node',
    async () => {
      const node = await startNode()
      return { near: node, far: node }
    }
  ]
]

const named = ([near, far]: [Node, Node]): { near: Node; far: Node } => ({ near, far })

describe.each(PLACES)('a call %s', (_where, place) => {
  it('gives the result, its items, or the code of what went wrong', async () => {
    const { near, far } = await place()
    const { id } = await far.agents.add(calculator)
    expect(await near.call(id, 'math.add', { a: 1, b: 2 })).toBe(3)
    expect(await near.call(`mesh://${id}`, 'math.add', { a: 1, b: 2 }, { version: '^1.2', kind: 'tool' })).toBe(3)
    expect(await near.call('@calculator', 'count', { to: 3 })).toEqual([1, 2, 3])
    expect(await Array.fromAsync(near.stream('@calculator', 'count', { to: 3 }))).toEqual([1, 2, 3])
    expect(await Array.fromAsync(near.stream('@calculator', 'math.add', { a: 2, b: 2 }))).toEqual([4])
    expect(await near.call(id, 'both', {}, { kind: 'skill' })).toBe('skill')
    const trust = near === far ? 'owner' : 'unknown'
    expect(await near.call(id, 'whoami')).toEqual({ peer: near.id, trust })

    const failures = async (...args: Parameters<Node['call']>): Promise<unknown> => failureOf(near.call(...args))
    expect(await failures(id, 'math.add', { a: 1 })).toMatchObject({
      code: 'INVALID_INPUT',
      data: { failures: [{ path: '', message: "must have required property 'b'" }] }
    })
    expect(await failures(id, 'lie')).toMatchObject({ code: 'INVALID_OUTPUT' })
    expect(await failures(id, 'lie.later')).toMatchObject({ code: 'INVALID_OUTPUT' })
    expect(await failures(id, 'fail')).toMatchObject({ code: 'AGENT_ERROR', message: "the agent's handler failed" })
    expect(await failures(id, 'nothing')).toMatchObject({ code: 'NOT_FOUND' })
    expect(await failures(`${far.id}/nobody`, 'math.add')).toMatchObject({
      code: near === far ? 'NOT_FOUND' : 'FORBIDDEN'
    })
    expect(await failures(id, 'both')).toMatchObject({ code: 'AMBIGUOUS' })
    expect(await failures(id, 'count', {}, { version: '^2' })).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    expect(await failures(id, 'count', {}, { version: 'newest' })).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await failures('calculator', 'count')).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await failures('@nobody', 'count')).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('ends at its deadline, and when its caller gives up; the handler learns of both', async () => {
    const { near, far } = await place()
    const reasons: unknown[] = []
    const started = new EventTarget()
    await far.agents.add({
      name: 'sloth',
      allow: 'any',
      capabilities: [
        {
          name: 'sleep',
          handler: (_input, { signal }) =>
            new Promise((_resolve, reject) => {
              signal.addEventListener('abort', () => {
                reasons.push((signal.reason as { code?: string }).code)
                reject(signal.reason)
              })
              started.dispatchEvent(new Event('start'))
            })
        }
      ]
    })
    expect(await failureOf(near.call('@sloth', 'sleep', {}, { timeoutMs: 200 }))).toMatchObject({ code: 'TIMEOUT' })
    const controller = new AbortController()
    started.addEventListener('start', () => controller.abort(), { once: true })
    const call = near.call('@sloth', 'sleep', {}, { signal: controller.signal })
    expect(await failureOf(call)).toMatchObject({ code: 'CANCELLED' })
    await expect.poll(() => reasons.length).toBe(2)
    expect(reasons[1]).toBe('CANCELLED')
  })
})

describe('a call that policy denies', () => {
  it('names what is missing and the command that would allow it, and tells the owner', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add({ ...calculator, allow: [] })
    const denied = nextEvent(far, 'call:denied')
    const failure = await failureOf(near.call(id, 'math.add', { a: 1, b: 2 }))
    expect(failure).toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining(`pryx-mesh agents update calculator --allow ${near.id}`)
    })
    expect(await denied).toMatchObject({ peer: near.id, resource: 'tool:calculator/math.add' })
    expect(await far.call(id, 'math.add', { a: 1, b: 2 }), 'the owner may').toBe(3)
  })

  it('is allowed once the owner allows that peer, and denied again when the rule goes', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add({ ...calculator, allow: [] })
    await far.agents.update('calculator', { allow: [near.id] })
    expect(await near.call(id, 'math.add', { a: 1, b: 2 })).toBe(3)
    await far.agents.update('calculator', { allow: [] })
    expect(await failureOf(near.call(id, 'math.add', { a: 1, b: 2 }))).toMatchObject({ code: 'FORBIDDEN' })
  })

  it('does not tell whether the agent or the capability exists', async () => {
    const [near, far] = await startPair()
    const skill = { name: 'secret', kind: 'skill', handler: () => 0 } as const
    await far.agents.add({ name: 'calculator', capabilities: [skill] })
    const texts = await Promise.all(
      ['calculator', 'nobody'].map(async (name) => {
        const failure = await failureOf(near.call(`${far.id}/${name}`, 'secret'))
        return (failure as Error).message.replaceAll(name, 'X')
      })
    )
    expect(texts[0]).toBe(texts[1])
  })

  it('stays denied for an agent that takes the name of one that was allowed', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add(calculator)
    expect(await near.call(id, 'math.add', { a: 1, b: 2 })).toBe(3)
    await far.agents.remove('calculator')
    await far.agents.add({ name: 'calculator', capabilities: [{ name: 'math.add', handler: () => 0 }] })
    // Else the caller's own node may refuse what has changed before the owner's is asked
    await near.pins.forget(id)
    expect(await failureOf(near.call(id, 'math.add', { a: 1, b: 2 }))).toMatchObject({ code: 'FORBIDDEN' })
  })
})

describe('a short name', () => {
  it('is an error with the candidates when two peers have it, and exact with the peer', async () => {
    const [near, far] = await startPair()
    const third = await startNode({ name: 'third' })
    await near.connect(third.addresses[0] ?? '')
    for (const node of [far, third]) {
      const handler = (): string => node.name
      await node.agents.add({ name: 'twin', allow: 'any', capabilities: [{ name: 'who', handler }] })
    }
    const failure = await failureOf(near.call('@twin', 'who'))
    expect(failure).toMatchObject({ code: 'AMBIGUOUS' })
    for (const node of [far, third]) {
      expect((failure as { hint: string }).hint).toContain(`${node.id}/twin`)
      expect(await near.call(`@twin@${node.id}`, 'who')).toBe(node.name)
      await expect.poll(() => near.peers().map(({ name }) => name)).toContain(node.name)
      expect(await near.call(`@twin@${node.name}`, 'who')).toBe(node.name)
    }
  })
})

describe('a name that the owner gave a peer', () => {
  it('is that peer, whoever calls itself so, also while it is away', async () => {
    const [near, far] = await startPair()
    const impostor = await startNode({ name: 'ada' })
    await near.connect(impostor.addresses[0] ?? '')
    await expect.poll(() => near.peers().map(({ name }) => name)).toContain('ada')
    await near.trust.set(far.id, { alias: 'ada' })
    await far.stop()
    await expect.poll(() => near.peers().map(({ peer }) => peer)).not.toContain(far.id)
    const { id } = await near.send('@owner@ada', 'left for you')
    expect(near.messages.show(id)).toMatchObject({ to: `${far.id}/owner`, state: 'queued' })
  })
})

describe('a short name that means another key than before', () => {
  const twin = (says: string): AgentInit => ({
    name: 'twin',
    allow: 'any',
    capabilities: [{ name: 'who', handler: () => says }]
  })

  it('is an error until the owner forgets the one before', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add(twin('first'))
    expect(await near.call('@twin', 'who')).toBe('first')
    await far.agents.remove('twin')
    const third = await startNode({ name: 'third' })
    await third.agents.add(twin('second'))
    await near.connect(third.addresses[0] ?? '')
    // Until the withdrawal has come there are two
    await expect
      .poll(() => failureOf(near.call('@twin', 'who')), { timeout: 10_000 })
      .toMatchObject({ code: 'DEFINITION_CHANGED', data: { name: '@twin', was: id, is: `${third.id}/twin` } })
    expect(await near.call(`${third.id}/twin`, 'who')).toBe('second')
    await near.pins.forget(id)
    expect(await near.call('@twin', 'who')).toBe('second')
  })

  it('is none with the name that the owner gave to the peer, whatever others call themselves', async () => {
    const [near, far] = await startPair()
    await far.agents.add(twin('friend'))
    const liar = await startNode({ name: 'bob' })
    await liar.agents.add(twin('liar'))
    await near.connect(liar.addresses[0] ?? '')
    await expect.poll(() => near.peers().map(({ name }) => name)).toContain('bob')
    await near.trust.set(far.id, { alias: 'bob' })
    expect(await near.call('@twin@bob', 'who')).toBe('friend')
  })
})

describe('an agent that changes', () => {
  it('is called by its new schema at once when the change is approved', async () => {
    const [near, far] = await startPair()
    const version = (required: string[]): AgentInit['capabilities'] => [
      { name: 'greet', input: { type: 'object', required }, handler: () => required.join() }
    ]
    const { id, record } = await far.agents.add({
      name: 'greeter',
      allow: 'any',
      capabilities: version(['name']) ?? []
    })
    expect(await near.call(id, 'greet', { name: 'Ada' })).toBe('name')
    const changed = nextEvent(near, 'capability:changed', ({ agent }) => agent === id)
    const updated = await far.agents.update('greeter', { capabilities: version(['title']) ?? [] })
    expect(updated.record?.record.seq).toBeGreaterThan(record?.record.seq ?? 0)
    await changed
    expect(await failureOf(near.call(id, 'greet', { title: 'Dr' }))).toMatchObject({ code: 'DEFINITION_CHANGED' })
    await near.pins.approve(id, 'greet')
    expect(await near.call(id, 'greet', { title: 'Dr' })).toBe('title')
    expect(await failureOf(near.call(id, 'greet', { name: 'Ada' }))).toMatchObject({ code: 'INVALID_INPUT' })
  })
})

describe('a pinned capability', () => {
  it('is not called once its owner hides what it is now', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add({
      name: 'shy',
      allow: 'any',
      capabilities: [{ name: 'say', handler: () => 1 }]
    })
    expect(await near.call(id, 'say')).toBe(1)
    const gone = nextEvent(near, 'capability:gone', ({ agent }) => agent === id)
    await far.agents.update('shy', { audience: 'paired', capabilities: [{ name: 'say', handler: () => 2 }] })
    await gone
    expect(await failureOf(near.call(id, 'say'))).toMatchObject({ code: 'DEFINITION_CHANGED' })
    await near.pins.forget(id, 'say')
    expect(await near.call(id, 'say')).toBe(2)
  })

  it('is pinned anew at the next call when it was forgotten', async () => {
    const [near, far] = await startPair()
    const { id } = await far.agents.add({
      name: 'shy',
      allow: 'any',
      capabilities: [{ name: 'say', handler: () => 1 }]
    })
    await near.call(id, 'say')
    await near.pins.forget(id)
    expect(near.pins.list(id)).toEqual([])
    await near.call(id, 'say')
    expect(near.pins.list(id)).toMatchObject([{ name: 'say' }])
  })
})
