import { expect, it, vi } from 'vitest'
import type { FunctionCapability, Handler } from '../../src/agents.ts'
import { functionDriver } from '../../src/drivers/function.ts'
import { MeshError } from '../../src/errors.ts'
import { connect, invokeContext } from './support.ts'

async function agent(handler: Handler, rest: Partial<FunctionCapability> = {}) {
  return connect(functionDriver, { version: '2.0.0', capabilities: [{ name: 'work', handler, ...rest }] })
}

async function collect(stream: unknown): Promise<unknown[]> {
  const items: unknown[] = []
  for await (const item of stream as AsyncIterable<unknown>) items.push(item)
  return items
}

it('describes its functions with the defaults filled in', async () => {
  const { describe } = await connect(functionDriver, {
    description: 'Sums',
    version: '1.4.0',
    capabilities: [
      { name: 'add', input: { type: 'array' }, handler: () => 1 },
      { kind: 'skill', name: 'count', version: '0.1.0', effects: 'none', tags: ['math'], *handler() {} },
      { name: 'tick', async *handler() {} }
    ]
  })
  expect(await describe()).toEqual({
    description: 'Sums',
    version: '1.4.0',
    capabilities: [
      { kind: 'tool', name: 'add', version: '1.4.0', input: { type: 'array' }, streaming: false },
      { kind: 'skill', name: 'count', version: '0.1.0', effects: 'none', tags: ['math'], streaming: true },
      { kind: 'tool', name: 'tick', version: '1.4.0', streaming: true }
    ]
  })
})

it('is version 1.0.0 unless it says otherwise', async () => {
  const { describe } = await connect(functionDriver, { capabilities: [{ name: 'work', handler: () => 1 }] })
  expect((await describe()).version).toBe('1.0.0')
})

it('hands a handler its input and its context, and a plain result back without a promise', async () => {
  const handler = vi.fn<Handler>((input) => ({ got: input }))
  const { connection } = await agent(handler)
  const context = invokeContext()
  expect(connection.invoke({ kind: 'tool', name: 'work' }, { a: 1 }, context)).toEqual({ got: { a: 1 } })
  expect(handler.mock.calls).toEqual([[{ a: 1 }, context]])
})

it.each<[string, unknown]>([
  ['an array', [1, 2]],
  ['a string', 'ab'],
  ['nothing', undefined],
  ['null', null],
  ['a promise of an array', Promise.resolve([1])]
])('takes %s for a value, not for items', async (_, value) => {
  const { call } = await agent(() => value)
  expect(await call('work')).toEqual(await value)
})

it.each<[string, Handler]>([
  [
    'an async generator',
    async function* () {
      yield* [1, 2]
    }
  ],
  [
    'a generator',
    function* () {
      yield* [1, 2]
    }
  ]
])('streams the items of %s', async (_, handler) => {
  const { connection } = await agent(handler)
  expect(await collect(connection.invoke({ kind: 'tool', name: 'work' }, {}, invokeContext()))).toEqual([1, 2])
})

it.each<[string, Handler]>([
  [
    'an async iterable',
    () => ({
      [Symbol.asyncIterator]: async function* () {
        yield* [1, 2]
      }
    })
  ],
  [
    'a promise of one',
    async () =>
      (async function* () {
        yield* [1, 2]
      })()
  ],
  [
    'a generator',
    () =>
      (function* () {
        yield* [1, 2]
      })()
  ]
])('streams %s that a plain function returns, when it says that it streams', async (_, handler) => {
  const { connection } = await agent(handler, { streaming: true })
  expect(await collect(connection.invoke({ kind: 'tool', name: 'work' }, {}, invokeContext()))).toEqual([1, 2])
})

it('refuses items from a capability that does not say that it streams', async () => {
  const { call } = await agent(() => (async function* () {})())
  await expect(call('work')).rejects.toMatchObject({ code: 'AGENT_ERROR', hint: expect.stringContaining('streaming') })
})

it('ends the generator when the reader leaves', async () => {
  const ended = vi.fn<() => void>()
  const { connection } = await agent(async function* () {
    try {
      for (let n = 0; ; n += 1) yield n
    } finally {
      ended()
    }
  })
  for await (const item of connection.invoke(
    { kind: 'tool', name: 'work' },
    {},
    invokeContext()
  ) as AsyncIterable<unknown>) {
    if (item === 3) break
  }
  expect(ended).toHaveBeenCalledOnce()
})

const secret = new Error('the password is hunter2')
it.each<[string, Handler]>([
  [
    'throws',
    () => {
      throw secret
    }
  ],
  [
    'rejects',
    async () => {
      throw secret
    }
  ],
  [
    'throws between items',
    async function* () {
      yield 1
      throw secret
    }
  ],
  [
    'throws between items of a plain generator',
    function* () {
      yield 1
      throw secret
    }
  ]
])('says only that a handler failed when it %s, and keeps why as the cause', async (_, handler) => {
  const { connection } = await agent(handler)
  const failing = async () => {
    const result = await connection.invoke({ kind: 'tool', name: 'work' }, {}, invokeContext())
    return collect(result)
  }
  const err = await failing().catch((thrown: unknown) => thrown)
  expect(err).toMatchObject({ code: 'AGENT_ERROR', message: "the agent's handler failed", cause: secret })
  expect(JSON.stringify(err)).not.toContain('hunter2')
})

it.each<[string, Handler]>([
  [
    'thrown',
    () => {
      throw new MeshError('BUSY', 'later')
    }
  ],
  [
    'rejected',
    async () => {
      throw new MeshError('BUSY', 'later')
    }
  ]
])('passes a MeshError on that is %s', async (_, handler) => {
  const { call } = await agent(handler)
  await expect(call('work')).rejects.toMatchObject({ code: 'BUSY', message: 'later' })
})

it('tells a capability that it does not offer', async () => {
  const { call } = await agent(() => 1)
  await expect(call('play')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

const handler = () => 1
it.each<[string, unknown, string]>([
  ['nothing', undefined, 'expected object'],
  ['no capabilities', { version: '1.0.0' }, 'capabilities'],
  ['no handler', { capabilities: [{ name: 'a' }] }, 'capabilities[0].handler: must be a function'],
  ['a bad name', { capabilities: [{ name: 'a b', handler }] }, 'capabilities[0].name'],
  ['a version that is not semver', { version: '1', capabilities: [] }, 'version'],
  ['a kind that is none', { capabilities: [{ kind: 'trick', name: 'a', handler }] }, 'capabilities[0].kind'],
  [
    'the same capability twice',
    {
      capabilities: [
        { name: 'a', handler },
        { name: 'a', handler }
      ]
    },
    'the tool a twice'
  ],
  [
    'too many capabilities',
    { capabilities: Array.from({ length: 257 }, (_, n) => ({ name: `c${n}`, handler })) },
    'capabilities'
  ]
])('refuses %s, and says what is wrong', (_, config, text) => {
  expect(() => functionDriver.parse(config)).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', message: expect.stringContaining(text) })
  )
})
