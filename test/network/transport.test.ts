import { createHash } from 'node:crypto'
import { createRequire } from 'node:module'
import type { Connection, Libp2p, MessageStream, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { webSockets } from '@libp2p/websockets'
import { yamux } from '@libp2p/yamux'
import { createLibp2p, type Libp2pOptions } from 'libp2p'
import { describe, expect, it, onTestFinished } from 'vitest'
import { isGossipRouter, meshGossipsub } from '../../src/network/gossip.ts'
import { isKadNode, meshKad } from '../../src/network/kad.ts'
import { isEncryptedStream, tunedNoise } from '../../src/network/noise.ts'
import { boundedWebSockets, isWebSocketListener, isWebSocketTransport } from '../../src/network/websockets.ts'
import { isYamuxMuxer, tunedYamux } from '../../src/network/yamux.ts'
import { ECHO, LOOPBACK_TCP, LOOPBACK_WS, until } from './nodes.ts'

const MIB = 1024 * 1024
const CHUNK = new Uint8Array(64 * 1024).map((_, i) => (i * 31) % 251)

const TUNED: Libp2pOptions = {
  transports: [tcp(), boundedWebSockets()],
  connectionEncrypters: [tunedNoise()],
  streamMuxers: [tunedYamux()]
}
// Stock, with the window that its own pause() needs
const STOCK: Libp2pOptions = {
  transports: [tcp(), webSockets()],
  connectionEncrypters: [noise()],
  streamMuxers: [yamux({ streamOptions: { maxStreamWindowSize: MIB } })]
}

const PAIRS = [LOOPBACK_TCP, LOOPBACK_WS].flatMap((listen) => [
  { id: `tuned → stock, ${listen}`, listen, dialler: TUNED, server: STOCK },
  { id: `stock → tuned, ${listen}`, listen, dialler: STOCK, server: TUNED },
  { id: `tuned → tuned, ${listen}`, listen, dialler: TUNED, server: TUNED }
])

describe('what is relied on inside the libraries', () => {
  // A new version: read what changed in the files that are tuned here, then raise the number.
  it.each([
    ['@libp2p/yamux', '8.0.3'],
    ['@libp2p/noise', '17.0.3'],
    ['@libp2p/websockets', '10.1.21'],
    ['@libp2p/utils', '7.4.1'],
    ['@libp2p/gossipsub', '17.1.1'],
    ['@libp2p/kad-dht', '16.4.5']
  ])('%s is the version that was read', (name, version) => {
    const entry = createRequire(import.meta.url).resolve(name)
    const root = entry.slice(0, entry.indexOf(name) + name.length)
    expect(createRequire(import.meta.url)(`${root}/package.json`)).toMatchObject({ version })
  })

  it('has the shape that the tuning expects', async () => {
    const seen: Record<string, boolean> = {}
    const watched: Libp2pOptions = {
      transports: [
        (components) => {
          const transport = webSockets()(components)
          seen.transport = isWebSocketTransport(transport)
          const createListener = transport.createListener.bind(transport)
          transport.createListener = (options) => {
            const listener = createListener(options)
            seen.listener = isWebSocketListener(listener)
            return listener
          }
          return transport
        }
      ],
      connectionEncrypters: [
        (components) => {
          const encrypter = noise()(components)
          const secureInbound = encrypter.secureInbound.bind(encrypter)
          encrypter.secureInbound = async (connection, options) => {
            const secured = await secureInbound(connection, options)
            seen.encrypted = isEncryptedStream(secured.connection)
            return secured
          }
          return encrypter
        }
      ],
      streamMuxers: [
        () => {
          const factory = yamux()()
          const createStreamMuxer = factory.createStreamMuxer.bind(factory)
          factory.createStreamMuxer = (connection: MessageStream) => {
            const muxer = createStreamMuxer(connection)
            seen.muxer = isYamuxMuxer(muxer)
            return muxer
          }
          return factory
        }
      ]
    }
    const server = await startStock(watched, LOOPBACK_WS)
    const dialler = await startStock(STOCK)
    await dialler.dial(server.getMultiaddrs())
    await until(() => seen.muxer !== undefined)
    expect(seen).toEqual({ transport: true, listener: true, encrypted: true, muxer: true })
  })

  it('finds what it needs in gossipsub and in the DHT', async () => {
    const { identify } = await import('@libp2p/identify')
    const { ping } = await import('@libp2p/ping')
    const node = await createLibp2p({
      ...STOCK,
      start: false,
      services: { identify: identify(), ping: ping(), dht: meshKad('/test/kad'), pubsub: meshGossipsub() }
    })
    expect([isGossipRouter(node.services.pubsub), isKadNode(node.services.dht)]).toEqual([true, true])
  })
})

describe.each(PAIRS)('$id', ({ listen, dialler, server }) => {
  it.each(['dialler', 'server'])(
    'carries 30 MB from the %s to a slow reader whole, in bounded memory',
    async (sender) => {
      const pair = await connect(dialler, server, listen)
      const writer = sender === 'dialler' ? pair.outbound : pair.inbound
      const reader = sender === 'dialler' ? pair.inbound : pair.outbound
      const read = readSlowly(reader)
      const sent = await write(writer, 30 * MIB)
      await writer.close()
      const received = await read
      expect(received.digest).toBe(sent.digest)
      expect(received.peakBytes).toBeLessThanOrEqual(2 * MIB)
      expect(sent.peakBytes).toBeLessThanOrEqual(2 * MIB)
    },
    30_000
  )

  // A stock WebSocket can't be cut
  const cutters = ['dialler', 'server'].filter(
    (who) => listen === LOOPBACK_TCP || (who === 'dialler' ? dialler : server) === TUNED
  )
  it.each(cutters)('tells the other side when the %s cuts the connection', async (who) => {
    const pair = await connect(dialler, server, listen)
    const [cut, other] = who === 'dialler' ? [pair.dialled, pair.accepted] : [pair.accepted, pair.dialled]
    pair.outbound.send(CHUNK)
    cut.abort(new Error('pulled'))
    await until(() => other.status !== 'open' && pair.outbound.status !== 'open' && pair.inbound.status !== 'open')
    expect([cut.status, other.status]).not.toContain('open')
  })

  it('delivers what was sent right before a graceful close', async () => {
    const pair = await connect(dialler, server, listen)
    const read = readSlowly(pair.inbound)
    pair.outbound.send(CHUNK.subarray(0, 1_000))
    await pair.outbound.close()
    await pair.dialled.close()
    expect((await read).bytes).toBe(1_000)
  })
})

it('keeps a fast stream whose reader pauses in the middle of resume', async () => {
  const { outbound, inbound } = await connect(TUNED, TUNED, LOOPBACK_TCP)
  let bytes = 0
  inbound.addEventListener('message', ({ data }) => {
    bytes += data.byteLength
    inbound.pause()
    setImmediate(() => inbound.status === 'open' && inbound.resume())
  })
  await write(outbound, 16 * MIB)
  await until(() => bytes === 16 * MIB)
  expect(inbound.status).toBe('open')
}, 20_000)

it('closes a connection that announces a frame larger than any window', async () => {
  const { outbound, accepted, dialled } = await connect(STOCK, TUNED, LOOPBACK_TCP)
  const { muxer } = dialled as unknown as { muxer: { send(data: Uint8Array): boolean } }
  const head = Buffer.alloc(12)
  head.writeUInt32BE(Number(outbound.id), 4)
  head.writeUInt32BE(0xffffffff, 8)
  muxer.send(head)
  for (let i = 0; i < 40 && dialled.status === 'open'; i++) {
    muxer.send(CHUNK)
    await new Promise(setImmediate)
  }
  await until(() => accepted.status !== 'open')
  expect(accepted.status).toBe('aborted')
})

it('batches what one turn sends into few writes', async () => {
  const { outbound, inbound, dialled } = await connect(TUNED, TUNED, LOOPBACK_TCP)
  const { maConn } = dialled as unknown as { maConn: { socket: { write(data: Uint8Array): boolean } } }
  const write = maConn.socket.write.bind(maConn.socket)
  let writes = 0
  maConn.socket.write = (data) => {
    writes++
    return write(data)
  }
  let bytes = 0
  inbound.addEventListener('message', ({ data }) => (bytes += data.byteLength))
  for (let i = 0; i < 100; i++) outbound.send(CHUNK.subarray(0, 100))
  await until(() => bytes === 10_000)
  expect(writes).toBeLessThanOrEqual(2)
})

async function startStock(options: Libp2pOptions, ...listen: string[]): Promise<Libp2p> {
  const node = await createLibp2p({
    ...options,
    addresses: { listen },
    connectionMonitor: { enabled: false },
    connectionManager: { inboundConnectionThreshold: 1_000 }
  })
  onTestFinished(() => node.stop())
  return node
}

interface Pair {
  readonly outbound: Stream
  readonly inbound: Stream
  readonly dialled: Connection
  readonly accepted: Connection
}

async function connect(dialler: Libp2pOptions, server: Libp2pOptions, listen: string): Promise<Pair> {
  const [a, b] = [await startStock(dialler), await startStock(server, listen)]
  const accepted = Promise.withResolvers<{ inbound: Stream; accepted: Connection }>()
  await b.handle(ECHO, (inbound, connection) => accepted.resolve({ inbound, accepted: connection }))
  const dialled = await a.dial(b.getMultiaddrs())
  const outbound = await dialled.newStream(ECHO)
  return { outbound, dialled, ...(await accepted.promise) }
}

async function write(stream: Stream, bytes: number): Promise<{ digest: string; peakBytes: number }> {
  const hash = createHash('sha256')
  let peakBytes = 0
  for (let left = bytes; left > 0; left -= CHUNK.byteLength) {
    hash.update(CHUNK)
    if (!stream.send(CHUNK)) await drained(stream)
    peakBytes = Math.max(peakBytes, stream.writeBufferLength)
  }
  return { digest: hash.digest('hex'), peakBytes }
}

function drained(stream: Stream): Promise<void> {
  return new Promise((resolve, reject) => {
    if (!stream.writableNeedsDrain) return resolve()
    stream.addEventListener('drain', () => resolve(), { once: true })
    stream.addEventListener('close', ({ error }) => reject(error ?? new Error('closed')), { once: true })
  })
}

/** Handles at most 1 MiB at a time, with a pause after each. */
function readSlowly(stream: Stream): Promise<{ digest: string; bytes: number; peakBytes: number }> {
  const hash = createHash('sha256')
  let [bytes, unhandled, peakBytes] = [0, 0, 0]
  return new Promise((resolve, reject) => {
    let isEnded = false
    const end = (): void => {
      if (isEnded) return
      isEnded = true
      resolve({ digest: hash.digest('hex'), bytes, peakBytes })
    }
    stream.addEventListener('message', ({ data }) => {
      hash.update(data.subarray())
      bytes += data.byteLength
      unhandled += data.byteLength
      if (unhandled < MIB) return
      unhandled = 0
      queueMicrotask(() => {
        if (stream.readStatus !== 'readable') return
        stream.pause()
        setTimeout(() => {
          peakBytes = Math.max(peakBytes, stream.readBufferLength)
          if (stream.readStatus === 'paused') stream.resume()
        }, 2)
      })
    })
    stream.addEventListener('end', end)
    stream.addEventListener('close', ({ error }) => (error === undefined ? end() : reject(error)))
  })
}
