import { identify } from '@libp2p/identify'
import type { Connection, Libp2p, Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { peerIdFromString } from '@libp2p/peer-id'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { createLibp2p } from 'libp2p'
import { onTestFinished } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import type { Network } from '../../src/network/index.ts'
import { createRpc, type Protocol, type Rpc, type RpcComponents } from '../../src/rpc/index.ts'
import { strangersAuth } from '../callers.ts'

export const ECHO: Protocol = { id: '/test/echo/1.0.0', maxFrameBytes: 256 * 1024, timeoutMs: 30_000, maxInFlight: 64 }

export interface TestNode {
  readonly libp2p: Libp2p
  readonly id: string
  readonly rpc: Rpc
  /** Streams opened, in order. */
  readonly opened: Stream[]
  readonly violations: { peer: string; reason: string }[]
  readonly defects: unknown[]
}

/** libp2p over TCP with the settings that frames need, and nothing of the network room. */
export async function startNode(components: Partial<RpcComponents> = {}): Promise<TestNode> {
  const libp2p: Libp2p = await createLibp2p({
    addresses: { listen: ['/ip4/127.0.0.1/tcp/0'] },
    transports: [tcp()],
    connectionEncrypters: [noise()],
    streamMuxers: [yamux({ streamOptions: { maxStreamWindowSize: 1 << 20 } })],
    connectionMonitor: { enabled: false },
    connectionManager: { inboundConnectionThreshold: 1_000 },
    services: { identify: identify() }
  })
  const opened: Stream[] = []
  const violations: TestNode['violations'] = []
  const defects: unknown[] = []
  const rpc = createRpc({
    network: networkOf(libp2p, opened),
    authenticate: strangersAuth().sessionOf,
    onViolation: (peer, reason) => violations.push({ peer, reason }),
    onDefect: (error) => defects.push(error),
    ...components
  })
  onTestFinished(async () => {
    await rpc.stop()
    // an orderly close takes libp2p half a second
    for (const connection of libp2p.getConnections()) connection.abort(new Error('the test is over'))
    await libp2p.stop()
  })
  return { libp2p, id: libp2p.peerId.toString(), rpc, opened, violations, defects }
}

export async function startPair(): Promise<{ asker: TestNode; answerer: TestNode; connection: Connection }> {
  const [asker, answerer] = await Promise.all([startNode(), startNode()])
  const connection = await asker.libp2p.dial(answerer.libp2p.getMultiaddrs())
  return { asker, answerer, connection }
}

function networkOf(libp2p: Libp2p, opened: Stream[]): Pick<Network, 'openStream' | 'handle'> {
  return {
    async openStream(peer, protocols, { signal }) {
      try {
        const connection = await libp2p.dial(peerIdFromString(peer), { signal })
        const stream = await connection.newStream([...protocols], { signal })
        opened.push(stream)
        return { stream, connection }
      } catch (err) {
        throw new MeshError('UNREACHABLE', 'cannot be dialled', { cause: err })
      }
    },
    async handle(protocol, handler) {
      await libp2p.handle(protocol, (stream, connection) => handler(stream, connection), { maxInboundStreams: 32 })
    }
  }
}

/** A promise and its settling, for a handler that a test lets go on. */
export function gate<T = void>() {
  return Promise.withResolvers<T>()
}

/** Resolves when `condition` holds; looked at after each turn of the loop, so that no time is waited away. */
export async function until(condition: () => boolean): Promise<void> {
  const giveUpAt = performance.now() + 4_500
  while (!condition()) {
    if (performance.now() > giveUpAt) throw new Error(`never became true: ${condition.toString()}`)
    await new Promise((resolve) => setImmediate(resolve))
  }
}

/** Lets everything that is ready happen, so many times. */
export async function turns(count: number): Promise<void> {
  for (let turn = 0; turn < count; turn += 1) await new Promise((resolve) => setImmediate(resolve))
}
