import { describe, expect, it, vi } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import type { Endpoint, RequestContext } from '../../src/rpc/index.ts'
import { callerOf } from '../callers.ts'
import { ECHO, gate, startNode, startPair, until } from './nodes.ts'

const echo: Endpoint = { protocol: ECHO, handle: (body) => body }

describe('a request', () => {
  it('is answered with what the handler returns, at once or later', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: (body, { caller }) =>
        (body as { later: boolean }).later ? Promise.resolve({ body, caller }) : { body, caller }
    })
    for (const later of [false, true]) {
      expect(await asker.rpc.request(answerer.id, ECHO, { later })).toEqual({
        body: { later },
        caller: callerOf(asker.id)
      })
    }
  })

  it.each([[null], [0], [''], [[]], [{ text: 'ü€😀', nested: { a: [1, 2.5, null] } }]])(
    'carries %j both ways',
    async (body) => {
      const { asker, answerer } = await startPair()
      await answerer.rpc.handle(echo)
      expect(await asker.rpc.request(answerer.id, ECHO, body)).toEqual(body)
    }
  )

  it('may have no body, and an answer none', async () => {
    const { asker, answerer } = await startPair()
    const bodies: unknown[] = []
    await answerer.rpc.handle({ protocol: ECHO, handle: (body) => void bodies.push(body) })
    expect(await asker.rpc.request(answerer.id, ECHO, undefined)).toBeUndefined()
    expect(bodies).toEqual([undefined])
  })

  it('shares one stream with all others, however they begin', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle(echo)
    const bodies = Array.from({ length: 64 }, (_, index) => ({ index }))
    const answers = await Promise.all(bodies.map((body) => asker.rpc.request(answerer.id, ECHO, body)))
    expect(answers).toEqual(bodies)
    expect(await asker.rpc.request(answerer.id, ECHO, 'later')).toBe('later')
    expect(asker.opened).toHaveLength(1)
  })

  it('does not wait for another that takes long', async () => {
    const { asker, answerer } = await startPair()
    const slow = gate<string>()
    await answerer.rpc.handle({ protocol: ECHO, handle: (body) => (body === 'slow' ? slow.promise : body) })
    const first = asker.rpc.request(answerer.id, ECHO, 'slow')
    expect(await asker.rpc.request(answerer.id, ECHO, 'fast')).toBe('fast')
    slow.resolve('done')
    expect(await first).toBe('done')
  })

  it('of several frames worth of data arrives whole', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle(echo)
    const bodies = Array.from({ length: 30 }, (_, index) => 'xyzü'.repeat(40_000) + index)
    expect(await Promise.all(bodies.map((body) => asker.rpc.request(answerer.id, ECHO, body)))).toEqual(bodies)
  })

  it('sees one caller object on a connection, whatever the protocol', async () => {
    const { asker, answerer } = await startPair()
    const callers = new Set<unknown>()
    const other = { ...ECHO, id: '/test/other/1.0.0' }
    for (const protocol of [ECHO, other])
      await answerer.rpc.handle({ protocol, handle: (_, { caller }) => void callers.add(caller) })
    await asker.rpc.request(answerer.id, ECHO, 1)
    await asker.rpc.request(answerer.id, ECHO, 2)
    await asker.rpc.request(answerer.id, other, 3)
    expect(callers.size).toBe(1)
  })
})

describe('a failure', () => {
  it("of the handler reaches the asker with its code and data; the hint, which is a stranger's, does not", async () => {
    const { asker, answerer } = await startPair()
    const error = new MeshError('AGENT_ERROR', 'no such file', {
      hint: 'Look again.',
      data: { errno: 2 },
      cause: new Error('secret')
    })
    await answerer.rpc.handle({ protocol: ECHO, handle: (later) => (later ? Promise.reject(error) : raise(error)) })
    for (const later of [false, true]) {
      const failed = asker.rpc.request(answerer.id, ECHO, later)
      await expect(failed).rejects.toMatchObject({
        code: 'AGENT_ERROR',
        message: 'no such file',
        hint: undefined,
        data: { errno: 2 }
      })
    }
    expect(answerer.defects).toEqual([])
  })

  it('that nobody planned reaches the asker as INTERNAL, without its text, and the node with all of it', async () => {
    const { asker, answerer } = await startPair()
    const defect = new TypeError('secret')
    await answerer.rpc.handle({ protocol: ECHO, handle: () => raise(defect) })
    await expect(asker.rpc.request(answerer.id, ECHO, {})).rejects.toMatchObject({
      code: 'INTERNAL',
      message: 'internal error'
    })
    expect(answerer.defects).toEqual([defect])
  })

  it.each([
    { id: 'a BigInt', result: () => ({ a: 1n }), code: 'INVALID_OUTPUT' },
    { id: 'a cycle', result: cycle, code: 'INVALID_OUTPUT' },
    { id: 'more than a frame', result: () => 'x'.repeat(ECHO.maxFrameBytes), code: 'TOO_LARGE' },
    {
      id: 'fewer characters, but more bytes than a frame',
      result: () => 'ü'.repeat(ECHO.maxFrameBytes / 2),
      code: 'TOO_LARGE'
    },
    { id: 'too deep an array', result: () => JSON.parse('['.repeat(64) + ']'.repeat(64)), code: 'INVALID_MESSAGE' },
    { id: 'a forbidden key', result: () => JSON.parse('{"__proto__":1}'), code: 'INVALID_MESSAGE' },
    {
      id: 'an error with more data than a frame',
      result: () => raise(new MeshError('AGENT_ERROR', 'x', { data: 'x'.repeat(300_000) })),
      code: 'AGENT_ERROR'
    },
    {
      id: 'an error with data that JSON has not',
      result: () => raise(new MeshError('AGENT_ERROR', 'x', { data: 1n })),
      code: 'AGENT_ERROR'
    }
  ])('for a result with $id is $code, and the channel goes on', async ({ result, code }) => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({ protocol: ECHO, handle: (body) => (body === 'bad' ? result() : body) })
    await expect(asker.rpc.request(answerer.id, ECHO, 'bad')).rejects.toMatchObject({ code })
    expect(await asker.rpc.request(answerer.id, ECHO, 'good')).toBe('good')
    expect(asker.opened).toHaveLength(1)
  })

  it.each([
    { id: 'more than a frame', body: 'x'.repeat(ECHO.maxFrameBytes), code: 'TOO_LARGE' },
    { id: 'a BigInt', body: 1n, code: 'INVALID_ARGUMENT' },
    { id: 'a cycle', body: cycle(), code: 'INVALID_ARGUMENT' },
    { id: 'too deep an array', body: JSON.parse('['.repeat(64) + ']'.repeat(64)), code: 'INVALID_MESSAGE' },
    { id: 'a forbidden key', body: { a: JSON.parse('{"constructor":1}') }, code: 'INVALID_MESSAGE' }
  ])('for a body with $id is $code, on a new channel and on an open one, which goes on', async ({ body, code }) => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle(echo)
    await expect(asker.rpc.request(answerer.id, ECHO, body)).rejects.toMatchObject({ code })
    expect(await asker.rpc.request(answerer.id, ECHO, 'good')).toBe('good')
    await expect(asker.rpc.request(answerer.id, ECHO, body)).rejects.toMatchObject({ code })
    expect(await asker.rpc.request(answerer.id, ECHO, 'good')).toBe('good')
    expect(asker.opened).toHaveLength(1)
  })

  it('to reach the peer is UNREACHABLE for all who wait, and the next request tries again', async () => {
    const [asker, answerer] = await Promise.all([startNode(), startNode()])
    await answerer.rpc.handle(echo)
    const failed = [1, 2].map((body) => asker.rpc.request(answerer.id, ECHO, body))
    for (const one of failed) await expect(one).rejects.toMatchObject({ code: 'UNREACHABLE', retryable: true })
    await asker.libp2p.dial(answerer.libp2p.getMultiaddrs())
    expect(await asker.rpc.request(answerer.id, ECHO, 3)).toBe(3)
  })
})

describe('a deadline', () => {
  it('fails the request with TIMEOUT, stops its handler and leaves the others alone', async () => {
    const { asker, answerer } = await startPair()
    const contexts: RequestContext[] = []
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: (body, context) => {
        if (body !== 'slow') return body
        contexts.push(context)
        return new Promise((_, reject) => context.signal.addEventListener('abort', () => reject(context.signal.reason)))
      }
    })
    const long = asker.rpc.request(answerer.id, ECHO, 'slow', { timeoutMs: 60_000 })
    long.catch(() => {})
    const started = performance.now()
    await expect(asker.rpc.request(answerer.id, ECHO, 'slow', { timeoutMs: 40 })).rejects.toMatchObject({
      code: 'TIMEOUT'
    })
    expect(performance.now() - started).toBeGreaterThanOrEqual(39)
    expect(performance.now() - started).toBeLessThan(2_000)
    await until(() => contexts[1]?.signal.aborted === true)
    expect(['TIMEOUT', 'CANCELLED']).toContain(contexts[1]?.signal.reason.code)
    expect(contexts[0]?.signal.aborted).toBe(false)
    expect(await asker.rpc.request(answerer.id, ECHO, 'fast')).toBe('fast')
  })

  it('holds at the answering side for an asker that keeps no time', async () => {
    let time = 0
    const asker = await startNode({ now: () => time })
    const answerer = await startNode()
    await asker.libp2p.dial(answerer.libp2p.getMultiaddrs())
    await answerer.rpc.handle({ protocol: ECHO, handle: () => new Promise(() => {}) })
    await expect(asker.rpc.request(answerer.id, ECHO, 1, { timeoutMs: 30 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    time += 1
  })

  it.each([0, -1, Number.NaN, 86_400_001, Number.POSITIVE_INFINITY])(
    'of %d ms is INVALID_ARGUMENT',
    async (timeoutMs) => {
      const { asker, answerer } = await startPair()
      await expect(asker.rpc.request(answerer.id, ECHO, 1, { timeoutMs })).rejects.toMatchObject({
        code: 'INVALID_ARGUMENT'
      })
    }
  )
})

describe('cancelling', () => {
  it('fails the request at once and aborts the signal of its handler', async () => {
    const { asker, answerer } = await startPair()
    const begun = gate<RequestContext>()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: (_, context) => {
        begun.resolve(context)
        return new Promise(() => {})
      }
    })
    const controller = new AbortController()
    const request = asker.rpc.request(answerer.id, ECHO, 1, { signal: controller.signal })
    const { signal } = await begun.promise
    controller.abort()
    await expect(request).rejects.toMatchObject({ code: 'CANCELLED' })
    await until(() => signal.aborted)
    expect(signal.reason).toMatchObject({ code: 'CANCELLED' })
  })

  it('before the request was sent keeps it from being sent', async () => {
    const { asker, answerer } = await startPair()
    const bodies: unknown[] = []
    await answerer.rpc.handle({ protocol: ECHO, handle: (body) => bodies.push(body) })
    await expect(asker.rpc.request(answerer.id, ECHO, 'never', { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'CANCELLED'
    })
    const controller = new AbortController()
    const opening = asker.rpc.request(answerer.id, ECHO, 'nor this', { signal: controller.signal })
    controller.abort()
    await expect(opening).rejects.toMatchObject({ code: 'CANCELLED' })
    await asker.rpc.request(answerer.id, ECHO, 'this')
    expect(bodies).toEqual(['this'])
  })

  it('by a timeout signal reads as TIMEOUT', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({ protocol: ECHO, handle: () => new Promise(() => {}) })
    const request = asker.rpc.request(answerer.id, ECHO, 1, { signal: AbortSignal.timeout(30) })
    await expect(request).rejects.toMatchObject({ code: 'TIMEOUT' })
  })

  it('leaves no listener on the signal once the request is over', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle(echo)
    const { signal } = new AbortController()
    const added = vi.spyOn(signal, 'addEventListener')
    const removed = vi.spyOn(signal, 'removeEventListener')
    for (const body of [1, 2, 3]) await asker.rpc.request(answerer.id, ECHO, body, { signal })
    expect(added).toHaveBeenCalledTimes(3)
    expect(removed.mock.calls.map(([, listener]) => listener)).toEqual(added.mock.calls.map(([, listener]) => listener))
  })
})

describe('a limit', () => {
  it('on requests running is BUSY beyond it, on both sides, and is free again when they end', async () => {
    const { asker, answerer } = await startPair()
    const hold = gate<string>()
    await answerer.rpc.handle({
      protocol: { ...ECHO, maxInFlight: 2 },
      handle: (body) => (body === 'hold' ? hold.promise : body)
    })
    const held = [1, 2].map(() => asker.rpc.request(answerer.id, ECHO, 'hold'))
    await expect(asker.rpc.request(answerer.id, ECHO, 'more')).rejects.toMatchObject({ code: 'BUSY', retryable: true })
    await expect(asker.rpc.request(answerer.id, { ...ECHO, maxInFlight: 2 }, 'more')).rejects.toMatchObject({
      code: 'BUSY'
    })
    hold.resolve('done')
    expect(await Promise.all(held)).toEqual(['done', 'done'])
    expect(await asker.rpc.request(answerer.id, ECHO, 'more')).toBe('more')
  })

  it('on requests running counts those that were cancelled until their handlers end', async () => {
    const { asker, answerer } = await startPair()
    const stubborn = gate()
    await answerer.rpc.handle({
      protocol: { ...ECHO, maxInFlight: 1 },
      handle: (body) => (body === 'hold' ? stubborn.promise : body)
    })
    await expect(asker.rpc.request(answerer.id, ECHO, 'hold', { timeoutMs: 20 })).rejects.toMatchObject({
      code: 'TIMEOUT'
    })
    await expect(asker.rpc.request(answerer.id, ECHO, 'more')).rejects.toMatchObject({ code: 'BUSY' })
    stubborn.resolve()
    expect(await asker.rpc.request(answerer.id, ECHO, 'more')).toBe('more')
  })
})

describe('a channel that breaks', () => {
  it('fails what is pending at once with CONNECTION_LOST, aborts the handlers, and the next request opens a new one', async () => {
    const { asker, answerer, connection } = await startPair()
    const signals: AbortSignal[] = []
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: (body, context) => {
        if (body !== 'hold') return body
        signals.push(context.signal)
        return new Promise(() => {})
      }
    })
    const held = [1, 2, 3].map(() => asker.rpc.request(answerer.id, ECHO, 'hold'))
    await until(() => signals.length === 3)
    connection.abort(new Error('cut'))
    for (const one of held) await expect(one).rejects.toMatchObject({ code: 'CONNECTION_LOST', retryable: true })
    await until(() => signals.every(({ aborted }) => aborted))
    await asker.libp2p.dial(answerer.libp2p.getMultiaddrs())
    expect(await asker.rpc.request(answerer.id, ECHO, 'again')).toBe('again')
    expect(asker.opened).toHaveLength(2)
  })

  it('because the answering node stops fails what is pending', async () => {
    const { asker, answerer } = await startPair()
    const begun = gate()
    await answerer.rpc.handle({ protocol: ECHO, handle: () => (begun.resolve(), new Promise(() => {})) })
    const held = asker.rpc.request(answerer.id, ECHO, 'hold')
    await begun.promise
    await answerer.rpc.stop()
    await expect(held).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
    await expect(asker.rpc.request(answerer.id, ECHO, 'more')).rejects.toMatchObject({ code: 'CONNECTION_LOST' })
  })

  it('because the asking node stops fails what is pending with CANCELLED, also later requests', async () => {
    const { asker, answerer } = await startPair()
    const begun = gate<RequestContext>()
    await answerer.rpc.handle({
      protocol: ECHO,
      handle: (_, context) => (begun.resolve(context), new Promise(() => {}))
    })
    const held = asker.rpc.request(answerer.id, ECHO, 'hold')
    const { signal } = await begun.promise
    await asker.rpc.stop()
    await expect(held).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(asker.rpc.request(answerer.id, ECHO, 'more')).rejects.toMatchObject({ code: 'CANCELLED' })
    await until(() => signal.aborted)
  })
})

function raise(error: unknown): never {
  throw error
}

function cycle(): unknown {
  const value: unknown[] = []
  value.push(value)
  return value
}
