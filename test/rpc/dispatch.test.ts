import { describe, expect, it } from 'vitest'
import { ownerCaller } from '../../src/auth/index.ts'
import { MeshError } from '../../src/errors.ts'
import { dispatch, type Endpoint } from '../../src/rpc/index.ts'
import { ECHO, gate } from './nodes.ts'

const caller = ownerCaller('12D3KooW')
const owner = { caller }
const endpoint = (handle: Endpoint['handle']): Endpoint => ({ protocol: ECHO, handle })

describe('dispatch', () => {
  it('gives the body and the caller to the endpoint, and its result back', async () => {
    const result = await dispatch(
      endpoint((body, { caller }) => ({ body, caller })),
      owner,
      { a: 1 }
    )
    expect(result).toEqual({ body: { a: 1 }, caller })
    expect(
      await dispatch(
        endpoint(async (body) => body),
        owner,
        2
      )
    ).toBe(2)
  })

  it.each([
    {
      id: 'a MeshError as it is',
      thrown: new MeshError('FORBIDDEN', 'no'),
      expected: { code: 'FORBIDDEN', message: 'no' }
    },
    {
      id: 'anything else as INTERNAL',
      thrown: new Error('secret'),
      expected: { code: 'INTERNAL', message: 'internal error' }
    }
  ])('throws $id', async ({ thrown, expected }) => {
    const raise = (): never => {
      throw thrown
    }
    await expect(dispatch(endpoint(raise), owner, {})).rejects.toMatchObject(expected)
    await expect(
      dispatch(
        endpoint(async () => raise()),
        owner,
        {}
      )
    ).rejects.toMatchObject(expected)
  })

  it('ends at the deadline, or when it is cancelled, and tells the handler', async () => {
    const signals: AbortSignal[] = []
    const stubborn = endpoint((_, { signal }) => {
      signals.push(signal)
      return new Promise(() => {})
    })
    await expect(dispatch(stubborn, owner, {}, { timeoutMs: 20 })).rejects.toMatchObject({ code: 'TIMEOUT' })
    const controller = new AbortController()
    const cancelled = dispatch(stubborn, owner, {}, { signal: controller.signal })
    controller.abort()
    await expect(cancelled).rejects.toMatchObject({ code: 'CANCELLED' })
    await expect(dispatch(stubborn, owner, {}, { signal: AbortSignal.abort() })).rejects.toMatchObject({
      code: 'CANCELLED'
    })
    expect(signals.map(({ aborted }) => aborted)).toEqual([true, true])
  })

  it('refuses a deadline that is none', async () => {
    await expect(
      dispatch(
        endpoint(() => 1),
        owner,
        {},
        { timeoutMs: 0 }
      )
    ).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  describe('of a streamed answer', () => {
    const read = async (options: { timeoutMs?: number; signal?: AbortSignal }, items: () => AsyncIterable<unknown>) => {
      const all: unknown[] = []
      const result = await dispatch(endpoint(items), owner, {}, options)
      const reading = (async () => {
        for await (const item of result as AsyncIterable<unknown>) all.push(item)
      })()
      return { all, reading }
    }

    it('yields the items', async () => {
      const { all, reading } = await read({}, async function* () {
        yield* [1, 2, 3]
      })
      await reading
      expect(all).toEqual([1, 2, 3])
    })

    it('ends with TIMEOUT when the items take too long', async () => {
      const { all, reading } = await read({ timeoutMs: 30 }, async function* () {
        yield 1
        await new Promise(() => {})
      })
      await expect(reading).rejects.toMatchObject({ code: 'TIMEOUT' })
      expect(all).toEqual([1])
    })

    it('hides what went wrong inside', async () => {
      const { reading } = await read({}, async function* () {
        yield 1
        throw new Error('secret')
      })
      await expect(reading).rejects.toMatchObject({ code: 'INTERNAL', message: 'internal error' })
    })

    it('closes the iterator when nobody reads on', async () => {
      const closed = gate<AbortSignal>()
      const items = await dispatch(
        endpoint(async function* (_, { signal }) {
          try {
            for (;;) yield 1
          } finally {
            closed.resolve(signal)
          }
        }),
        owner,
        {}
      )
      for await (const item of items as AsyncIterable<unknown>) {
        expect(item).toBe(1)
        break
      }
      expect((await closed.promise).aborted).toBe(true)
    })
  })
})
