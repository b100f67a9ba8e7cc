import type { Stream } from '@libp2p/interface'
import fc from 'fast-check'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import {
  HEARTBEAT_MS,
  INITIAL_CREDIT_BYTES,
  MAX_CHANNELS_PER_PEER,
  MAX_IDLE_BEATS,
  MAX_VIOLATIONS,
  type RequestContext
} from '../../src/rpc/index.ts'
import { encodeFrame, FrameDecoder } from '../../src/wire/index.ts'
import { ECHO, gate, startPair, turns, until } from './nodes.ts'

/** A peer that writes what it likes: frames out, and the frames that come back. */
function wildPeer(stream: Stream) {
  const decoder = new FrameDecoder({ maxFrameBytes: ECHO.maxFrameBytes })
  const received: unknown[] = []
  const closed = new Promise<Error | undefined>((resolve) =>
    stream.addEventListener('close', ({ error }) => resolve(error))
  )
  stream.addEventListener('message', ({ data }) => {
    decoder.push(data)
    for (let payload = decoder.next(); payload !== undefined; payload = decoder.next())
      received.push(JSON.parse(payload.toString()))
  })
  const send = (...texts: string[]): void => {
    for (const text of texts) stream.send(encodeFrame(text))
  }
  return { stream, send, received, closed }
}

async function startWild() {
  const { asker, answerer, connection } = await startPair()
  const contexts: RequestContext[] = []
  await answerer.rpc.handle({
    protocol: ECHO,
    handle(body, context) {
      if (body !== 'hold') return body
      contexts.push(context)
      return new Promise(() => {})
    }
  })
  const open = async () => wildPeer(await connection.newStream(ECHO.id))
  return { asker, answerer, connection, contexts, open, peer: await open() }
}

const request = (id: number, body: unknown = null) => JSON.stringify({ t: 'request', id, body })
const failed = (id: number, code: string) => ({ t: 'error', id, error: expect.objectContaining({ code }) })

describe('a peer that breaks the protocol again and again', () => {
  it('loses its connection with the last breach that is borne', async () => {
    const { answerer, connection, open, peer } = await startWild()
    peer.send('no JSON')
    await peer.closed
    for (let count = 1; count < MAX_VIOLATIONS; count += 1) {
      expect(connection.status).toBe('open')
      const next = await open()
      next.send('no JSON')
      await next.closed
    }
    await until(() => connection.status !== 'open')
    expect(answerer.violations).toHaveLength(MAX_VIOLATIONS)
  })
})

describe('a frame that breaks the rules', () => {
  it.each([
    { id: 'has a bad body', text: '{"t":"request","id":1,"body":{]}' },
    { id: 'nests too deep', text: request(1, JSON.parse('['.repeat(64) + ']'.repeat(64))) },
    { id: 'has a forbidden key', text: '{"t":"request","id":1,"body":{"__proto__":{}}}' },
    { id: 'has a deadline of no time', text: '{"t":"request","id":1,"timeoutMs":0}' },
    { id: 'has a deadline of years', text: '{"t":"request","id":1,"timeoutMs":864000000}' },
    { id: 'has no credit', text: '{"t":"request","id":1,"credit":0}' },
    { id: 'is of no known kind', text: '{"t":"hello","id":1}' }
  ])('and $id is answered with INVALID_MESSAGE, and the channel goes on', async ({ text }) => {
    const { peer, answerer } = await startWild()
    peer.send(text, request(2, 'on'))
    await until(() => peer.received.length === 2)
    expect(peer.received).toEqual([failed(1, 'INVALID_MESSAGE'), { t: 'end', id: 2, body: 'on' }])
    expect(answerer.violations).toEqual([])
  })

  it.each([
    { id: 'is no JSON', bytes: encodeFrame('hello') },
    { id: 'is no UTF-8', bytes: Buffer.from([3, 0x22, 0xff, 0x22]) },
    { id: 'is no object', bytes: encodeFrame('[]') },
    { id: 'is empty', bytes: Buffer.from([0]) },
    { id: 'has no id', bytes: encodeFrame('{"t":"request","body":1}') },
    { id: 'has a negative id', bytes: encodeFrame('{"t":"request","id":-1}') },
    { id: 'uses an id again', bytes: Buffer.concat([encodeFrame(request(1)), encodeFrame(request(1))]) },
    { id: 'is only for answers', bytes: encodeFrame('{"t":"end","id":1}') },
    { id: 'is an item', bytes: encodeFrame('{"t":"item","id":1,"body":1}') }
  ])('and $id ends the channel and counts against the peer', async ({ bytes }) => {
    const { peer, answerer, asker } = await startWild()
    peer.stream.send(bytes)
    expect(await peer.closed).toMatchObject({ name: 'StreamResetError' })
    await until(() => answerer.violations.length === 1)
    expect(answerer.violations[0]?.peer).toBe(asker.id)
    expect(await asker.rpc.request(answerer.id, ECHO, 'still served')).toBe('still served')
  })

  it.each([
    { id: 'over the limit', bytes: [0x81, 0x80, 0x10] },
    { id: 'of 256 MiB', bytes: [0xff, 0xff, 0xff, 0x7f] },
    { id: 'with an endless length', bytes: [0xff, 0xff, 0xff, 0xff, 0xff] }
  ])('and is $id ends the channel, and the requests on it, before more is read', async ({ bytes }) => {
    const { peer, contexts } = await startWild()
    peer.send(request(1, 'hold'))
    await until(() => contexts.length === 1)
    peer.stream.send(Uint8Array.from(bytes))
    expect(await peer.closed).toMatchObject({ name: 'StreamResetError' })
    expect(contexts[0]?.signal.aborted).toBe(true)
  })

  it('for a request that runs stops that one', async () => {
    const { peer, contexts } = await startWild()
    peer.send(request(1, 'hold'), '{"t":"credit","id":1,"bytes":-5}')
    await until(() => peer.received.length === 1)
    expect(peer.received).toEqual([failed(1, 'INVALID_MESSAGE')])
    expect(contexts[0]?.signal.aborted).toBe(true)
  })

  it('is ignored when it is about a request that is over, or never was', async () => {
    const { peer, answerer } = await startWild()
    peer.send(
      request(5),
      '{"t":"cancel","id":5}',
      '{"t":"credit","id":3,"bytes":1}',
      '{"t":"cancel","id":99}',
      '{"t":"pong","id":1}'
    )
    peer.send('{"t":"ping","id":7}')
    await until(() => peer.received.length === 2)
    expect(peer.received).toEqual([
      { t: 'end', id: 5, body: null },
      { t: 'pong', id: 7 }
    ])
    expect(answerer.violations).toEqual([])
  })

  it('never does more than end its channel, whatever the bytes are', async () => {
    const { asker, answerer } = await startWild()
    const piece = fc.oneof(
      fc.uint8Array({ maxLength: 200 }),
      fc.json({ maxDepth: 3 }).map((text) => encodeFrame(text)),
      fc
        .record({
          t: fc.constantFrom('request', 'cancel', 'credit', 'ping', 'end'),
          id: fc.integer({ min: -1, max: 9 }),
          bytes: fc.nat(),
          body: fc.jsonValue()
        })
        .map((value) => encodeFrame(JSON.stringify(value)))
    )
    await fc.assert(
      fc.asyncProperty(fc.array(piece, { maxLength: 12 }), async (pieces) => {
        // A connection of its own, for a breach counts against its connection
        const connection = await asker.libp2p.dial(answerer.libp2p.getMultiaddrs(), { force: true })
        const peer = wildPeer(await connection.newStream(ECHO.id))
        for (const bytes of pieces) if (peer.stream.writeStatus === 'writable') peer.stream.send(bytes)
        if (peer.stream.status === 'open') await peer.stream.close().catch(() => {})
        await peer.closed
        expect(connection.status).toBe('open')
        expect(await asker.rpc.request(answerer.id, ECHO, 'on')).toBe('on')
        await connection.close()
      }),
      { numRuns: 60 }
    )
    expect(answerer.defects).toEqual([])
  })
})

describe('a peer that misbehaves', () => {
  it('by closing its side ends the channel, and what runs on it', async () => {
    const { peer, contexts } = await startWild()
    peer.send(request(1, 'hold'))
    await until(() => contexts.length === 1)
    await peer.stream.close()
    expect(await peer.closed).toBeUndefined()
    expect(contexts[0]?.signal.aborted).toBe(true)
  })

  it.each([
    { id: 'given at once', later: false, most: 20 },
    // they wait unserialised, and no more than may run
    { id: 'given later', later: true, most: 200 }
  ])(
    'by not reading its answers, $id, costs a bounded queue, and gets them all when it reads',
    async ({ later, most }) => {
      const { connection, answerer } = await startWild()
      const big = 'x'.repeat(200_000)
      const protocol = { ...ECHO, id: '/test/big/1.0.0', maxInFlight: 200 }
      let handled = 0
      await answerer.rpc.handle({ protocol, handle: () => (++handled, later ? Promise.resolve(big) : big) })
      const stream = await connection.newStream(protocol.id)
      stream.pause()
      for (let id = 1; id <= 200; id += 1) stream.send(encodeFrame(request(id)))
      await until(() => handled > 0)
      await turns(500)
      expect(handled).toBeLessThanOrEqual(most)
      const inbound = answerer.libp2p.getConnections().flatMap(({ streams }) => streams)
      for (const { writeBufferLength } of inbound) expect(writeBufferLength).toBeLessThan(512 * 1024)
      const decoder = new FrameDecoder({ maxFrameBytes: ECHO.maxFrameBytes })
      let answers = 0
      stream.addEventListener('message', ({ data }) => {
        decoder.push(data)
        while (decoder.next() !== undefined) answers += 1
      })
      stream.resume()
      await until(() => answers === 200)
      expect(handled).toBe(200)
    }
  )

  it('by opening many channels loses the oldest', async () => {
    const { peer, open } = await startWild()
    const others = await Promise.all(Array.from({ length: MAX_CHANNELS_PER_PEER }, open))
    expect(await peer.closed).toMatchObject({ name: 'StreamResetError' })
    for (const other of others) other.send(request(1, 'on'))
    await until(() => others.every(({ received }) => received.length === 1))
  })

  it('by spreading its requests over channels stays within one limit', async () => {
    const { peer, open } = await startWild()
    const other = await open()
    for (let id = 1; id <= ECHO.maxInFlight / 2; id += 1) for (const one of [peer, other]) one.send(request(id, 'hold'))
    for (const one of [peer, other]) one.send(request(1_000, 'hold'))
    await until(() => peer.received.length === 1 && other.received.length === 1)
    expect([peer.received, other.received]).toEqual([[failed(1_000, 'BUSY')], [failed(1_000, 'BUSY')]])
  })
})

describe('an answering peer that misbehaves', () => {
  async function startLiar(answer: (peer: ReturnType<typeof wildPeer>) => void) {
    const { asker, answerer } = await startPair()
    await answerer.libp2p.handle(ECHO.id, (stream) => answer(wildPeer(stream)))
    return { asker, answerer }
  }

  const onRequest = (answer: (peer: ReturnType<typeof wildPeer>) => void) =>
    startLiar((peer) => void until(() => peer.received.length > 0).then(() => answer(peer)))

  it.each([
    { id: 'a body that is no JSON', text: '{"t":"end","id":1,"body":}', code: 'INVALID_MESSAGE' },
    { id: 'a forbidden key', text: '{"t":"end","id":1,"body":{"prototype":1}}', code: 'INVALID_MESSAGE' },
    { id: 'an error without a code', text: '{"t":"error","id":1,"error":{}}', code: 'INVALID_MESSAGE' },
    { id: 'a frame without id', text: '{"t":"end"}', code: 'INVALID_MESSAGE' },
    { id: 'a request', text: '{"t":"request","id":1}', code: 'INVALID_MESSAGE' },
    { id: 'no JSON', text: 'hello', code: 'INVALID_MESSAGE' },
    { id: 'more than a frame', text: 'x'.repeat(ECHO.maxFrameBytes + 1), code: 'TOO_LARGE' },
    {
      id: 'a code of a later version',
      text: '{"t":"error","id":1,"error":{"code":"NEW","message":"m","retryable":true}}',
      code: 'INTERNAL'
    }
  ])('by answering $id fails the request with $code', async ({ text, code }) => {
    const { asker, answerer } = await onRequest((peer) => peer.send(text))
    await expect(asker.rpc.request(answerer.id, ECHO, 1)).rejects.toMatchObject({ code })
  })

  it('by answering twice, or what nobody asked, is ignored', async () => {
    const { asker, answerer } = await onRequest((peer) => {
      peer.send('{"t":"end","id":99}', '{"t":"item","id":98,"body":1}', '{"t":"ping","id":4}')
      peer.send('{"t":"end","id":1,"body":"first"}', '{"t":"end","id":1,"body":"second"}')
    })
    expect(await asker.rpc.request(answerer.id, ECHO, 1)).toBe('first')
  })

  it('by resetting or closing the stream at once fails the request with CONNECTION_LOST', async () => {
    for (const end of [(stream: Stream) => stream.abort(new Error('no')), (stream: Stream) => void stream.close()]) {
      const { asker, answerer } = await startLiar(({ stream }) => end(stream))
      await expect(asker.rpc.request(answerer.id, ECHO, 1)).rejects.toMatchObject({
        code: 'CONNECTION_LOST',
        retryable: true
      })
    }
  })

  it('by sending more than its credit costs the asker no more than that', async () => {
    const items = 40
    const text = 'x'.repeat(100_000)
    const { asker, answerer } = await onRequest((peer) => {
      for (let sent = 0; sent < items; sent += 1) peer.send(JSON.stringify({ t: 'item', id: 1, body: text }))
    })
    expect(items * text.length).toBeGreaterThan(3 * INITIAL_CREDIT_BYTES)
    const reader = asker.rpc.stream(answerer.id, ECHO, 1)[Symbol.asyncIterator]()
    await reader.next()
    await until(() => asker.opened[0]?.status !== 'open')
    let read = 1
    const reading = (async () => {
      for (let next = await reader.next(); next.done !== true; next = await reader.next()) read += 1
    })()
    await expect(reading).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
    expect(read).toBeLessThanOrEqual(INITIAL_CREDIT_BYTES / text.length + 2)
  })

  it('by falling silent is pinged, then given up with its connection', async () => {
    const pings = gate()
    const { asker, answerer } = await startLiar((peer) => {
      void until(() => peer.received.some((frame) => (frame as { t: string }).t === 'ping')).then(() => pings.resolve())
    })
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const request = asker.rpc.request(answerer.id, ECHO, 1)
    request.catch(() => {})
    await until(() => asker.opened.length === 1)
    await until(() => vi.getTimerCount() > 0)
    vi.advanceTimersByTime(HEARTBEAT_MS)
    await pings.promise
    vi.advanceTimersByTime(3 * HEARTBEAT_MS)
    await expect(request).rejects.toMatchObject({ code: 'CONNECTION_LOST', retryable: true })
    await until(() => asker.libp2p.getConnections().length === 0)
  })

  it('is left alone when nothing is asked: the idle channel closes, and the next request opens another', async () => {
    const { asker, answerer } = await startPair()
    await answerer.rpc.handle({ protocol: ECHO, handle: (body) => body })
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    expect(await asker.rpc.request(answerer.id, ECHO, 1)).toBe(1)
    vi.advanceTimersByTime(HEARTBEAT_MS * MAX_IDLE_BEATS)
    expect(await asker.rpc.request(answerer.id, ECHO, 2)).toBe(2)
    vi.advanceTimersByTime(HEARTBEAT_MS * MAX_IDLE_BEATS)
    await turns(20)
    expect(asker.opened.map(({ status }) => status)).toEqual(['open'])
    vi.advanceTimersByTime(HEARTBEAT_MS)
    await until(() => asker.opened[0]?.status === 'closed')
    expect(await asker.rpc.request(answerer.id, ECHO, 3)).toBe(3)
    expect(asker.opened).toHaveLength(2)
  })

  it('but answers pings keeps its channel as long as a request takes', async () => {
    const { asker, answerer } = await startPair()
    const answer = gate<string>()
    await answerer.rpc.handle({ protocol: ECHO, handle: () => answer.promise })
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    onTestFinished(() => void vi.useRealTimers())
    const request = asker.rpc.request(answerer.id, ECHO, 1)
    await until(() => asker.opened.length === 1)
    let pongs = 0
    asker.opened[0]?.addEventListener('message', () => {
      pongs += 1
    })
    await until(() => vi.getTimerCount() > 0)
    for (let beat = 1; beat <= 10; beat += 1) {
      const before = pongs
      vi.advanceTimersByTime(HEARTBEAT_MS)
      if (beat % 2 === 0) await until(() => pongs > before)
    }
    answer.resolve('late')
    expect(await request).toBe('late')
  })
})
