import type { Stream } from '@libp2p/interface'
import { describe, expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { FrameStream, type FrameStreamInit, MAX_BATCH_BYTES, MAX_WRITE_QUEUE_BYTES } from '../../src/wire/index.ts'
import { startPair, turns, until } from '../rpc/nodes.ts'

const PROTOCOL = '/test/frames/1.0.0'
const LIMIT = 1024 * 1024

/** Two ends of one yamux stream over TCP. */
async function streamPair(): Promise<[Stream, Stream]> {
  const { answerer, connection } = await startPair()
  const inbound = Promise.withResolvers<Stream>()
  await answerer.libp2p.handle(PROTOCOL, (stream) => inbound.resolve(stream))
  return [await connection.newStream(PROTOCOL), await inbound.promise]
}

function listen(stream: Stream, init: Partial<FrameStreamInit> = {}) {
  const received: string[] = []
  const closes: (MeshError | undefined)[] = []
  const frames = new FrameStream(stream, {
    maxFrameBytes: LIMIT,
    onFrame: (payload) => received.push(payload.toString()),
    onClose: (error) => closes.push(error),
    ...init
  })
  return { frames, received, closes }
}

const texts = (count: number, bytes: number) =>
  Array.from({ length: count }, (_, index) => `${index}:`.padEnd(bytes, 'x'))

describe('a frame stream', () => {
  it('carries frames both ways in order', async () => {
    const [a, b] = await streamPair()
    const [left, right] = [listen(a), listen(b)]
    for (const text of texts(1_000, 500)) left.frames.send(text)
    right.frames.send('hello')
    await until(() => right.received.length === 1_000 && left.received.length === 1)
    expect(right.received).toEqual(texts(1_000, 500))
    expect(left.received).toEqual(['hello'])
  })

  it('writes the frames of a turn at once, and never more than a batch', async () => {
    const [a] = await streamPair()
    const writes: number[] = []
    const send = a.send.bind(a)
    a.send = (data) => {
      writes.push(data.byteLength)
      return send(data)
    }
    const { frames } = listen(a)
    for (const text of texts(10, 100)) frames.send(text)
    expect(writes).toEqual([])
    await turns(2)
    expect(writes).toEqual([10 * 101])
    writes.length = 0
    for (const text of texts(300, 1_000)) frames.send(text)
    await turns(2)
    expect(writes.reduce((sum, bytes) => sum + bytes)).toBe(300 * 1_002)
    expect(Math.max(...writes)).toBeLessThanOrEqual(MAX_BATCH_BYTES)
    expect(writes.length).toBeLessThanOrEqual(6)
  })

  it('refuses a frame over the limit and goes on', async () => {
    const [a, b] = await streamPair()
    const [left, right] = [listen(a, { maxFrameBytes: 100 }), listen(b, { maxFrameBytes: 100 })]
    for (const text of ['x'.repeat(101), 'ü'.repeat(51)]) {
      expect(() => left.frames.send(text)).toThrow(expect.objectContaining({ code: 'TOO_LARGE' }))
    }
    left.frames.send('ü'.repeat(50))
    await until(() => right.received.length === 1)
    expect(right.received).toEqual(['ü'.repeat(50)])
  })

  it('gives what was sent before it was listened to', async () => {
    const [a, b] = await streamPair()
    const left = listen(a)
    left.frames.send('early')
    left.frames.close()
    await until(() => b.remoteWriteStatus === 'closed')
    const right = listen(b)
    expect(right.received).toEqual([])
    await until(() => right.closes.length === 1)
    expect(right.received).toEqual(['early'])
    expect(right.closes).toEqual([undefined])
  })

  it.each([
    { id: 'closed its side', end: (stream: Stream) => stream.close(), code: undefined },
    { id: 'reset it', end: async (stream: Stream) => stream.abort(new Error('no')), code: 'CONNECTION_LOST' }
  ])('tells once when the peer $id before anybody listened', async ({ end, code }) => {
    const [a, b] = await streamPair()
    await end(a)
    await until(() => b.remoteWriteStatus === 'closed')
    const { closes, frames } = listen(b)
    expect(closes).toEqual([])
    await until(() => closes.length > 0)
    await turns(20)
    expect(closes.map((error) => error?.code)).toEqual([code])
    frames.send('too late')
    frames.close()
    frames.abort(new MeshError('CANCELLED', 'too late'))
    expect(closes).toHaveLength(1)
  })

  it.each([
    { id: 'close', end: (frames: FrameStream) => frames.close(), here: undefined, there: undefined },
    {
      id: 'abort',
      end: (frames: FrameStream) => frames.abort(new MeshError('BUSY', 'enough')),
      here: 'BUSY',
      there: 'CONNECTION_LOST'
    }
  ])('tells both sides once after $id', async ({ end, here, there }) => {
    const [a, b] = await streamPair()
    const [left, right] = [listen(a), listen(b)]
    end(left.frames)
    end(left.frames)
    await until(() => right.closes.length > 0 && a.status !== 'open' && b.status !== 'open')
    await turns(20)
    expect(left.closes.map((error) => error?.code)).toEqual([here])
    expect(right.closes.map((error) => error?.code)).toEqual([there])
  })

  it('sends everything before it closes', async () => {
    const [a, b] = await streamPair()
    const [left, right] = [listen(a), listen(b)]
    for (const text of texts(100, 20_000)) left.frames.send(text)
    left.frames.close()
    await until(() => right.closes.length === 1)
    expect(right.received).toEqual(texts(100, 20_000))
  })

  it('loses nothing to a reader that pauses', async () => {
    const [a, b] = await streamPair()
    let handled = 0
    const right = listen(b, {
      onFrame(payload) {
        expect(payload.toString().startsWith(`${handled}:`)).toBe(true)
        handled += 1
        right.frames.pause()
        setImmediate(() => right.frames.resume())
      }
    })
    const left = listen(a, { onRoom: () => fill() })
    let sent = 0
    const fill = (): void => {
      for (; sent < 2_000 && !left.frames.isFull; sent += 1) left.frames.send(`${sent}:`.padEnd(10_000, 'x'))
    }
    fill()
    expect(sent).toBeLessThan(2_000)
    await until(() => handled === 2_000)
    expect(left.closes).toEqual([])
    expect(right.closes).toEqual([])
  })

  it('gives no frame while it is paused, though they came in one piece', async () => {
    const [a, b] = await streamPair()
    const seen: string[] = []
    const right = listen(b, {
      onFrame(payload) {
        seen.push(payload.toString())
        if (seen.length === 2) right.frames.pause()
      }
    })
    const left = listen(a)
    for (const text of ['1', '2', '3', '4']) left.frames.send(text)
    left.frames.close()
    await until(() => seen.length === 2)
    await turns(50)
    expect(seen).toEqual(['1', '2'])
    expect(right.closes).toEqual([])
    right.frames.resume()
    await until(() => right.closes.length === 1)
    expect(seen).toEqual(['1', '2', '3', '4'])
  })

  it('is aborted when more is queued than a peer that never reads may cost', async () => {
    const [a, b] = await streamPair()
    b.pause()
    const { frames, closes } = listen(a)
    const text = 'x'.repeat(LIMIT)
    let most = 0
    for (let sent = 0; sent < 20 && closes.length === 0; sent += 1) {
      frames.send(text)
      most = Math.max(most, frames.queuedBytes)
      await turns(5)
    }
    expect(closes.map((error) => error?.code)).toEqual(['CONNECTION_LOST'])
    expect(most).toBeLessThanOrEqual(MAX_WRITE_QUEUE_BYTES)
    expect(a.status).toBe('aborted')
  })

  it('is aborted when the one it gives frames to fails', async () => {
    const [a, b] = await streamPair()
    const right = listen(b, {
      onFrame() {
        throw new Error('defect')
      }
    })
    listen(a).frames.send('{}')
    await until(() => right.closes.length === 1)
    expect(right.closes[0]?.code).toBe('INTERNAL')
  })
})
