/** One half of the bench `blob`: `node blob-peer.ts serve|get pryx-mesh|libp2p|libp2p-tuned FOLDER [CONTACT]`, driven over IPC. */
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { closeSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import type { Stream } from '@libp2p/interface'
import { noise } from '@libp2p/noise'
import { tcp } from '@libp2p/tcp'
import { yamux } from '@libp2p/yamux'
import { multiaddr } from '@multiformats/multiaddr'
import type { Libp2p, Libp2pOptions } from 'libp2p'
import { createLibp2p } from 'libp2p'
import type * as product from '../../src/index.ts'
import type * as tunedNoises from '../../src/network/noise.ts'
import type * as tunedYamuxes from '../../src/network/yamux.ts'
import { built } from './built.ts'

const BLOB_BYTES = 256 * 1024 * 1024
const RAW = '/bench/bytes/1.0.0'
/** As large as noise and yamux take at once. */
const PIECE_BYTES = 65_507

interface Half {
  readonly contact?: unknown
  /** Gets it all. */
  readonly get?: () => Promise<void>
}

process.on('disconnect', () => process.exit())

if (process.send !== undefined) {
  const [role = '', system = '', folder = '', contact = '{}'] = process.argv.slice(2)
  const half = await start(role, system, folder, JSON.parse(contact) as Record<string, string>)
  process.on('message', () => {
    const began = performance.now()
    half.get?.().then(
      () => process.send?.({ ms: performance.now() - began }),
      (err: unknown) => {
        console.error(err)
        process.exit(1)
      }
    )
  })
  process.send({ contact: half.contact ?? {} })
}

async function start(role: string, system: string, folder: string, contact: Record<string, string>): Promise<Half> {
  if (system === 'pryx-mesh') return role === 'serve' ? serveBlob(folder) : getBlob(folder, contact)
  const layers = await layersOf(system)
  return role === 'serve' ? serveRaw(layers) : getRaw(layers, contact)
}

async function startNode(folder: string) {
  const { createNode } = await built<typeof product>('index.js')
  const node = await createNode({ home: join(folder, 'home'), lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })
  await node.start()
  return node
}

async function serveBlob(folder: string): Promise<Half> {
  const node = await startNode(folder)
  await node.policy.put([{ id: 'bench', effect: 'allow', who: '*', act: 'blob.read', res: 'blob:*' }])
  const file = join(folder, 'content')
  const handle = openSync(file, 'w')
  for (let n = 0; n < 256; n++) writeSync(handle, randomBytes(BLOB_BYTES / 256))
  closeSync(handle)
  const { sha256 } = await node.blobs.put(file)
  return { contact: { peer: node.id, address: node.addresses[0], sha256 } }
}

async function getBlob(
  folder: string,
  { peer = '', address = '', sha256 = '' }: Record<string, string>
): Promise<Half> {
  const node = await startNode(folder)
  await node.connect(address)
  return {
    async get() {
      if (node.blobs.has(sha256)) await node.blobs.drop(sha256)
      await node.blobs.fetch(peer, sha256)
    }
  }
}

type Layers = Pick<Libp2pOptions, 'connectionEncrypters' | 'streamMuxers'>

async function layersOf(system: string): Promise<Layers> {
  if (system === 'libp2p') return { connectionEncrypters: [noise()], streamMuxers: [yamux()] }
  const { tunedNoise } = await built<typeof tunedNoises>('network/noise.js')
  const { tunedYamux } = await built<typeof tunedYamuxes>('network/yamux.js')
  return { connectionEncrypters: [tunedNoise()], streamMuxers: [tunedYamux()] }
}

function createRaw(layers: Layers, listen: string[]): Promise<Libp2p> {
  return createLibp2p({ addresses: { listen }, transports: [tcp()], ...layers, connectionMonitor: { enabled: false } })
}

async function serveRaw(layers: Layers): Promise<Half> {
  const node = await createRaw(layers, ['/ip4/127.0.0.1/tcp/0'])
  const piece = randomBytes(PIECE_BYTES)
  const sendAll = async (stream: Stream): Promise<void> => {
    for (let left = BLOB_BYTES; left > 0; left -= PIECE_BYTES) {
      if (!stream.send(piece.subarray(0, left)) && stream.writableNeedsDrain) await once(stream, 'drain')
    }
    await stream.close()
  }
  await node.handle(RAW, (stream) => {
    sendAll(stream).catch((err: unknown) => stream.abort(err as Error))
  })
  return { contact: { address: String(node.getMultiaddrs()[0]) } }
}

async function getRaw(layers: Layers, { address = '' }: Record<string, string>): Promise<Half> {
  const node = await createRaw(layers, [])
  const connection = await node.dial(multiaddr(address))
  return {
    async get() {
      const stream = await connection.newStream(RAW)
      const { promise, resolve } = Promise.withResolvers<void>()
      let received = 0
      stream.addEventListener('message', ({ data }) => {
        received += data.byteLength
        if (received >= BLOB_BYTES) resolve()
      })
      await promise
      await stream.close()
    }
  }
}
