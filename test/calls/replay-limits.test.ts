import { describe, expect, it, onTestFinished } from 'vitest'
import type { Caller } from '../../src/auth/index.ts'
import * as limits from '../../src/calls/constants.ts'
import { createReplays, type Replays } from '../../src/calls/replays.ts'
import { MeshError } from '../../src/errors.ts'
import { EncodedItem, type RequestContext } from '../../src/rpc/index.ts'
import { failureOf, startNode } from '../nodes.ts'

const idOf = (n: number): string => String(n).padStart(22, 'A')

/** A request whose connection can break. */
function request(peer: string): { context: RequestContext; cut: () => void; cancel: () => void } {
  const controller = new AbortController()
  const caller: Caller = { peer, trust: 'known', binding: 'noise', credentials: [] }
  const context = { caller, session: { caller }, charge: () => {}, cost: 0, signal: controller.signal }
  return {
    context,
    cut: () => controller.abort(new MeshError('CONNECTION_LOST', 'cut by the test')),
    cancel: () => controller.abort(new MeshError('CANCELLED', 'cancelled'))
  }
}

interface Work {
  made: number
  reason?: unknown
}

function open(init: Parameters<typeof createReplays>[0] = {}): Replays {
  const replays = createReplays(init)
  onTestFinished(() => replays.stop())
  return replays
}

/** A stream of texts of one size, begun by a peer; after `count` of them it ends, or waits for ever. */
function begin(
  replays: Replays,
  peer: string,
  n: number,
  { size = 10, count = Number.POSITIVE_INFINITY, ends = true } = {}
) {
  const { context, ...ways } = request(peer)
  const work: Work = { made: 0 }
  const make = (running: RequestContext): AsyncIterable<unknown> => {
    running.signal.addEventListener('abort', () => {
      work.reason = running.signal.reason
    })
    return (async function* () {
      while (work.made < count) {
        work.made += 1
        yield String(work.made).padEnd(size, '.')
      }
      if (!ends) await new Promise(() => {})
    })()
  }
  const wanted = { id: idOf(n), after: 0 }
  const replay = replays.begin(wanted, { resource: 'tool:a/b', context }, (begun) => make(begun.context))
  const items = replay.attach(0, context)
  /** Leaves it as a broken connection does. */
  const leave = async (): Promise<void> => {
    ways.cut()
    await items.return?.()
  }
  const find = (after: number) => replays.find(peer, { id: wanted.id, after })
  return { replay, items, work, leave, find, cancel: ways.cancel }
}

const read = async (items: AsyncIterator<EncodedItem>, count: number): Promise<string[]> => {
  const texts: string[] = []
  for (let n = 0; n < count; n += 1) texts.push(JSON.parse((await items.next()).value.json))
  return texts
}

const codeOf = (find: () => unknown): string | undefined => {
  try {
    find()
    return undefined
  } catch (err) {
    return (err as MeshError).code
  }
}

describe('a stream that nobody reads', () => {
  it('is given up when its caller comes too late, and its agent hears why', async () => {
    const { items, work, leave, find } = begin(open({ detachedMs: 20 }), 'ada', 1)
    await read(items, 3)
    await leave()
    expect(find(3), 'soon enough').toBeDefined()
    await expect.poll(() => codeOf(() => find(3))).toBe('STREAM_LOST')
    expect(work.reason).toMatchObject({ code: 'STREAM_LOST' })
  })

  it('that has ended is forgotten as late', async () => {
    const { items, find } = begin(open({ detachedMs: 20 }), 'ada', 1, { count: 2 })
    await read(items, 2)
    expect(await items.next()).toMatchObject({ done: true })
    expect(find(1)).toBeDefined()
    await expect.poll(() => codeOf(() => find(1))).toBe('STREAM_LOST')
  })

  it('that is read again in time goes on for as long as it is read', async () => {
    const { items, leave, find } = begin(open({ detachedMs: 200 }), 'ada', 1)
    await read(items, 3)
    await leave()
    const again = find(2)?.attach(2, request('ada').context)
    const other = begin(open({ detachedMs: 200 }), 'bob', 1)
    await other.leave()
    await expect.poll(() => codeOf(() => other.find(0))).toBe(undefined)
    // Its time would have been over by now: the other's, which began later, is
    await expect.poll(() => other.work.reason).toMatchObject({ code: 'STREAM_LOST' })
    expect(again && (await read(again, 2))).toEqual(['3.........', '4.........'])
  })

  it('lets its agent get ahead by its limit and no further', async () => {
    const { work, leave, items } = begin(open(), 'ada', 1, { size: 10_000 })
    await read(items, 1)
    await leave()
    const most = limits.MAX_AHEAD_BYTES / 10_000
    await expect.poll(() => work.made).toBeGreaterThan(most - 2)
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate)
    expect(work.made).toBeLessThan(most + 3)
  })

  it('that was cancelled is not kept', async () => {
    const { items, work, find, cancel } = begin(open(), 'ada', 1)
    await read(items, 3)
    cancel()
    await items.return?.()
    expect(work.reason).toMatchObject({ code: 'CANCELLED' })
    expect(codeOf(() => find(3))).toBe('STREAM_LOST')
  })
})

describe('a stream that is read', () => {
  it('lets its agent get ahead by no more than a burst of a reader who stops', async () => {
    const { work, items } = begin(open(), 'ada', 1, { size: 1_000 })
    await read(items, 1)
    for (let turn = 0; turn < 100; turn += 1) await new Promise(setImmediate)
    expect(work.made).toBeGreaterThan(10)
    expect(work.made).toBeLessThan(limits.READ_AHEAD_BYTES / 1_000 + 2)
  })

  it('gives what is made already without a promise, and what is not by one', async () => {
    const { items } = begin(open(), 'ada', 1, { size: 1_000 })
    expect(items.takeReady(), 'nothing has been asked for').toBeUndefined()
    await items.next()
    expect(items.takeReady()?.value.json).toBe(JSON.stringify('2'.padEnd(1_000, '.')))
    while (items.takeReady() !== undefined);
    expect(await items.next()).toMatchObject({ done: false })
  })

  it('keeps what may be on its way, and says STREAM_LOST of what was read before that', async () => {
    const size = 1_000
    const { items, find } = begin(open(), 'ada', 1, { size })
    const count = 2_000
    await read(items, count)
    const kept = Math.floor(limits.KEPT_BYTES / (size + limits.ITEM_FRAME_BYTES + 2))
    const most = kept + Math.ceil(limits.TRIM_BYTES / size) + 2
    expect(find(count - kept)).toBeDefined()
    expect(codeOf(() => find(count - most))).toBe('STREAM_LOST')
    const again = find(count - kept)?.attach(count - kept, request('ada').context)
    expect(again && (await read(again, kept + 5))).toEqual(
      Array.from({ length: kept + 5 }, (_, n) => String(count - kept + 1 + n).padEnd(size, '.'))
    )
  })
})

describe('of one caller', () => {
  it('a bounded number of streams is kept: ended ones go first, then the oldest', async () => {
    const replays = open()
    const running = begin(replays, 'ada', 0, { count: 2, ends: false })
    await read(running.items, 1)
    await running.leave()
    const ended = begin(replays, 'ada', 1, { count: 1 })
    await read(ended.items, 1)
    await ended.items.next()
    const others: ReturnType<typeof begin>[] = []
    const leaveAnother = async (): Promise<void> => {
      const stream = begin(replays, 'ada', 2 + others.length, { count: 2, ends: false })
      others.push(stream)
      await read(stream.items, 1)
      await stream.leave()
    }
    while (others.length < limits.MAX_DETACHED_PER_PEER - 2) await leaveAnother()
    expect([running, ended].map(({ find }) => codeOf(() => find(1)))).toEqual([undefined, undefined])
    await leaveAnother()
    expect([running, ended].map(({ find }) => codeOf(() => find(1)))).toEqual([undefined, 'STREAM_LOST'])
    expect(running.work.reason).toBeUndefined()
    await leaveAnother()
    expect(codeOf(() => running.find(1))).toBe('STREAM_LOST')
    expect(running.work.reason).toMatchObject({ code: 'STREAM_LOST' })
    expect(others.map(({ find }) => codeOf(() => find(1)))).toEqual(others.map(() => undefined))
    const foreign = begin(replays, 'bob', 1)
    await foreign.leave()
    expect(
      codeOf(() => others[0]?.find(1)),
      'another caller has room of its own'
    ).toBeUndefined()
  })

  it('a bounded number of bytes is kept, at the cost of what nobody reads', async () => {
    const replays = open()
    const size = 500_000
    const perStream = 4
    const fit = Math.floor(limits.MAX_REPLAY_BYTES_PER_PEER / (perStream * size)) - 1
    const streams: ReturnType<typeof begin>[] = []
    const leaveAnother = async (peer: string): Promise<ReturnType<typeof begin>> => {
      const stream = begin(replays, peer, streams.length, { size, count: perStream })
      await read(stream.items, 1)
      await stream.leave()
      await expect.poll(() => stream.work.made).toBeGreaterThanOrEqual(3)
      return stream
    }
    while (streams.length < fit) streams.push(await leaveAnother('ada'))
    expect(streams.map(({ find }) => codeOf(() => find(1)))).toEqual(streams.map(() => undefined))
    while (streams.length < fit * 2) streams.push(await leaveAnother('ada'))
    const bytes = streams.reduce((sum, { find, replay }) => {
      const isKept = codeOf(() => find(1)) === undefined
      return sum + (isKept ? replay.memoryBytes : 0)
    }, 0)
    expect(bytes).toBeLessThanOrEqual(limits.MAX_REPLAY_BYTES_PER_PEER)
    expect(codeOf(() => streams[0]?.find(1))).toBe('STREAM_LOST')
    expect(codeOf(() => streams.at(-1)?.find(1))).toBeUndefined()
  })

  it('what is read goes on when there is no room, but what was read of it is not kept', async () => {
    const replays = open()
    const size = 400_000
    const streams = Array.from({ length: 45 }, (_, n) => begin(replays, 'ada', n, { size, count: 4 }))
    const texts = await Promise.all(streams.map(({ items }) => read(items, 4)))
    expect(texts.map((each) => each.length)).toEqual(streams.map(() => 4))
    expect(streams.map(({ find }) => codeOf(() => find(1)))).toContain('STREAM_LOST')
    const kept = streams.reduce((sum, { replay }) => sum + replay.memoryBytes, 0)
    // What has not been read can't be forgotten: here that is one of each, where the limit for one stream would keep two
    expect(kept).toBeLessThanOrEqual(streams.length * (size + 200))
  })
})

it('of all callers together a bounded number of bytes is kept', async () => {
  const replays = open()
  const size = 1_000_000
  const streams: ReturnType<typeof begin>[] = []
  for (let n = 0; n < 80; n += 1) {
    const stream = begin(replays, `peer ${n}`, 1, { size, count: 1 })
    await read(stream.items, 1)
    await stream.items.next()
    streams.push(stream)
  }
  const kept = streams.filter(({ find }) => codeOf(() => find(1)) === undefined)
  expect(kept.reduce((sum, { replay }) => sum + replay.memoryBytes, 0)).toBeLessThanOrEqual(limits.MAX_REPLAY_BYTES)
  expect(kept.length).toBeGreaterThan(limits.MAX_REPLAY_BYTES / size - 3)
  expect(kept[0], 'the oldest went').toBe(streams[streams.length - kept.length])
})

it('many that are taken together come in order, each once', async () => {
  const { items } = begin(open(), 'ada', 1, { size: 20, count: 10_000 })
  const texts: string[] = []
  for (let next = await items.next(); next.done !== true; next = items.takeReady() ?? (await items.next())) {
    expect(next.value).toBeInstanceOf(EncodedItem)
    texts.push(JSON.parse(next.value.json))
  }
  expect(texts).toEqual(Array.from({ length: 10_000 }, (_, n) => String(n + 1).padEnd(20, '.')))
})

it.each([-1, 0.5, limits.MAX_DETACHED_MS + 1, Number.NaN])(
  'a wait of %s ms is INVALID_ARGUMENT',
  async (detachedMs) => {
    expect(await failureOf(startNode({ streams: { detachedMs } }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  }
)
