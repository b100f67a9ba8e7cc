import { describe, expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { INITIAL_CREDIT_BYTES, MAX_COLLECTED_BYTES, type RequestContext } from '../../src/rpc/index.ts'
import { ECHO, gate, startPair, until } from './nodes.ts'

async function collect(items: AsyncIterable<unknown>): Promise<unknown[]> {
  const all: unknown[] = []
  for await (const item of items) all.push(item)
  return all
}

async function* count(to: number, text = '') {
  for (let index = 0; index < to; index += 1) yield { index, text }
}

const numbers = (to: number, text = '') => Array.from({ length: to }, (_, index) => ({ index, text }))

describe('a streamed answer', () => {
  it.each([0, 1, 10, 5_000])('of %i items comes in order, or as an array', async (to) => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({ protocol: ECHO, handle: () => count(to) })
    expect(await collect(asker.rpc.stream(answerer.id, ECHO, {}))).toEqual(numbers(to))
    expect(await asker.rpc.request(answerer.id, ECHO, {})).toEqual(numbers(to))
  })

  it('may be promised first', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({ protocol: ECHO, handle: async () => count(3) })
    expect(await collect(asker.rpc.stream(answerer.id, ECHO, {}))).toEqual(numbers(3))
  })

  it('is one item when the result is plain, and none when there is no result', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({ protocol: ECHO, handle: (body) => body })
    expect(await collect(asker.rpc.stream(answerer.id, ECHO, { a: 1 }))).toEqual([{ a: 1 }])
    expect(await collect(asker.rpc.stream(answerer.id, ECHO, null))).toEqual([null])
    expect(await collect(asker.rpc.stream(answerer.id, ECHO, undefined))).toEqual([])
  })

  it('of more than the credit is paid for while it is read', async () => {
    const { asker, answerer } = await startPair()
    const text = 'x'.repeat(10_000)
    await answerer.rpc.handle({ protocol: ECHO, handle: () => count(300, text) })
    expect(await collect(asker.rpc.stream(answerer.id, ECHO, {}))).toEqual(numbers(300, text))
    expect(await asker.rpc.request(answerer.id, ECHO, {})).toEqual(numbers(300, text))
  })

  it('that fails gives its items first, then the error', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: async function* () {
        yield* count(2)
        throw new MeshError('AGENT_ERROR', 'broken')
      }
    })
    const items: unknown[] = []
    const reading = (async () => {
      for await (const item of asker.rpc.stream(answerer.id, ECHO, {})) items.push(item)
    })()
    await expect(reading).rejects.toMatchObject({ code: 'AGENT_ERROR' })
    expect(items).toEqual(numbers(2))
    await expect(asker.rpc.request(answerer.id, ECHO, {})).rejects.toMatchObject({ code: 'AGENT_ERROR' })
  })

  it.each([
    { id: 'has no JSON form', item: () => ({ a: 1n }), code: 'INVALID_OUTPUT' },
    { id: 'is larger than a frame', item: () => 'x'.repeat(ECHO.maxFrameBytes), code: 'TOO_LARGE' }
  ])('ends with $code when an item $id, and its iterator is closed', async ({ item, code }) => {
    const { asker, answerer } = await startPair()
    const closed = gate()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: async function* () {
        try {
          yield item()
          yield 'never'
        } finally {
          closed.resolve()
        }
      }
    })
    await expect(collect(asker.rpc.stream(answerer.id, ECHO, {}))).rejects.toMatchObject({ code })
    await closed.promise
  })

  it('asks nothing before it is read', async () => {
    const { asker, answerer } = await startPair()
    const items = asker.rpc.stream(answerer.id, ECHO, {})
    expect(asker.opened).toHaveLength(0)
    await answerer.rpc.handle({ protocol: ECHO, handle: () => count(1) })
    expect(await collect(items)).toEqual(numbers(1))
  })

  it('collected beyond the limit is TOO_LARGE and says what to do', async () => {
    const { asker, answerer } = await startPair()
    const text = 'x'.repeat(200_000)
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: () => count(Math.ceil(MAX_COLLECTED_BYTES / text.length) + 1, text)
    })
    await expect(asker.rpc.request(answerer.id, ECHO, {})).rejects.toMatchObject({
      code: 'TOO_LARGE',
      hint: 'Read them as a stream.'
    })
  })
})

describe('leaving a streamed answer', () => {
  it('early cancels the request and closes the iterator', async () => {
    const { asker, answerer } = await startPair()
    const closed = gate<AbortSignal>()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: async function* (_, { signal }) {
        try {
          yield* count(1_000_000)
        } finally {
          closed.resolve(signal)
        }
      }
    })
    for await (const item of asker.rpc.stream(answerer.id, ECHO, {})) {
      if ((item as { index: number }).index === 2) break
    }
    const signal = await closed.promise
    expect(signal.aborted).toBe(true)
    expect(signal.reason).toMatchObject({ code: 'CANCELLED' })
  })

  it.each([
    { id: 'by its signal', options: () => ({ signal: AbortSignal.timeout(50) }), code: 'TIMEOUT' },
    { id: 'by its deadline', options: () => ({ timeoutMs: 50 }), code: 'TIMEOUT' }
  ])('$id ends the reader and the handler', async ({ options, code }) => {
    const { asker, answerer } = await startPair()
    const context = gate<RequestContext>()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: async function* (_, handling) {
        context.resolve(handling)
        yield 1
        await new Promise(() => {})
      }
    })
    const items: unknown[] = []
    const reading = (async () => {
      for await (const item of asker.rpc.stream(answerer.id, ECHO, {}, options())) items.push(item)
    })()
    await expect(reading).rejects.toMatchObject({ code })
    expect(items).toEqual([1])
    const { signal } = await context.promise
    await until(() => signal.aborted)
  })

  it('by a broken connection ends it on both sides', async () => {
    const { asker, answerer, connection } = await startPair()
    const context = gate<RequestContext>()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: async function* (_, handling) {
        context.resolve(handling)
        yield 1
        await new Promise(() => {})
      }
    })
    const reading = collect(asker.rpc.stream(answerer.id, ECHO, {}))
    const { signal } = await context.promise
    connection.abort(new Error('cut'))
    await expect(reading).rejects.toMatchObject({ code: 'CONNECTION_LOST', retryable: true })
    await until(() => signal.aborted)
  })
})

describe('a reader that stops', () => {
  it('stops its sender after one credit and an item, and goes on where it was', async () => {
    const { asker, answerer } = await startPair()
    const text = 'x'.repeat(1_000)
    let yielded = 0
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: async function* () {
        for await (const item of count(2_000, text)) {
          yielded += 1
          yield item
        }
      }
    })
    const reader = asker.rpc.stream(answerer.id, ECHO, {})[Symbol.asyncIterator]()
    expect(await reader.next()).toEqual({ done: false, value: { index: 0, text } })
    // what is sent on another request afterwards has overtaken nothing
    await asker.rpc.stream(answerer.id, ECHO, {})[Symbol.asyncIterator]().next()
    await until(() => yielded > 400)
    const frameBytes = JSON.stringify({ t: 'item', id: 1, body: { index: 100, text } }).length
    const mostPerReader = INITIAL_CREDIT_BYTES / frameBytes + 2
    expect(yielded).toBeLessThanOrEqual(2 * mostPerReader)
    const rest: unknown[] = []
    for (let next = await reader.next(); next.done !== true; next = await reader.next()) rest.push(next.value)
    expect(rest).toEqual(numbers(2_000, text).slice(1))
  })

  it('among fifty takes bounded memory on both sides, and other requests go on', async () => {
    const { asker, answerer } = await startPair()
    const text = 'x'.repeat(4_000)
    let yielded = 0
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: (body) =>
        body !== 'stream'
          ? body
          : (async function* () {
              for (;;) {
                yielded += 1
                yield text
              }
            })()
    })
    const readers = Array.from({ length: 50 }, () =>
      asker.rpc.stream(answerer.id, ECHO, 'stream')[Symbol.asyncIterator]()
    )
    await Promise.all(readers.map((reader) => reader.next()))
    const most = 50 * (INITIAL_CREDIT_BYTES / text.length + 2)
    let before = -1
    while (before !== yielded) {
      before = yielded
      for (let turn = 0; turn < 20; turn += 1) expect(await asker.rpc.request(answerer.id, ECHO, turn)).toBe(turn)
    }
    expect(yielded).toBeLessThanOrEqual(most)
    for (const reader of readers) await reader.return?.()
    expect(await asker.rpc.request(answerer.id, ECHO, 'on')).toBe('on')
  })
})
