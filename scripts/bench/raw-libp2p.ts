/** An echo on bare libp2p, with whichever encryption and muxer it is given. */
import { identify } from '@libp2p/identify'
import type { Stream } from '@libp2p/interface'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { multiaddr } from '@multiformats/multiaddr'
import type { Libp2p, Libp2pOptions } from 'libp2p'
import { createLibp2p } from 'libp2p'
import { batcher, encodeFrame, frameReader } from './frames.ts'
import type { Message } from './payload.ts'
import { nthItem } from './payload.ts'
import type { System } from './system.ts'

const ECHO = '/bench/echo/1.0.0'
const ITEMS = '/bench/items/1.0.0'

type Layers = Pick<Libp2pOptions, 'connectionEncrypters' | 'streamMuxers'>

export function libp2pSystem(layers: Layers): System {
  return {
    async serve() {
      const node = await createRaw(layers, ['/ip4/127.0.0.1/tcp/0'])
      await node.handle(ECHO, (stream) => {
        const send = batcher((batch) => stream.send(batch))
        onFrames(stream, (json) => send(encodeFrame(JSON.stringify(JSON.parse(json)))))
      })
      await node.handle(ITEMS, (stream) => {
        const send = batcher((batch) => stream.send(batch))
        onFrames(stream, (json) => {
          sendItems(stream, send, JSON.parse(json).count).catch((err: unknown) => stream.abort(err as Error))
        })
      })
      return { contact: { address: String(node.getMultiaddrs()[0]) }, close: async () => node.stop() }
    },

    async connect({ address }) {
      const node = await createRaw(layers, [])
      const connection = await node.dial(multiaddr(String(address)))
      return {
        call: echoOver(await connection.newStream(ECHO)),
        stream: itemsOver(await connection.newStream(ITEMS)),
        close: async () => node.stop()
      }
    }
  }
}

function createRaw(layers: Layers, listen: string[]): Promise<Libp2p> {
  return createLibp2p({
    addresses: { listen },
    transports: [tcp()],
    ...layers,
    connectionMonitor: { enabled: false },
    services: { identify: identify(), ping: ping() }
  })
}

function onFrames(stream: Stream, onFrame: (json: string) => void): void {
  const read = frameReader((frame) => onFrame(frame.toString()))
  stream.addEventListener('message', (event) => read(event.data))
}

function echoOver(stream: Stream): (message: Message) => Promise<unknown> {
  const waiting = new Map<number, (echo: unknown) => void>()
  const send = batcher((batch) => stream.send(batch))
  onFrames(stream, (json) => {
    const echo = JSON.parse(json) as Message
    waiting.get(echo.id)?.(echo)
    waiting.delete(echo.id)
  })
  return (message) =>
    new Promise((resolve) => {
      waiting.set(message.id, resolve)
      send(encodeFrame(JSON.stringify(message)))
    })
}

async function sendItems(stream: Stream, send: (frame: Buffer) => void, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    send(encodeFrame(JSON.stringify(nthItem(i))))
    if (stream.writableNeedsDrain) await drained(stream)
  }
}

function drained(stream: Stream): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (err?: Error): void => {
      stream.removeEventListener('drain', onDrain)
      stream.removeEventListener('close', onClose)
      if (err === undefined) resolve()
      else reject(err)
    }
    const onDrain = (): void => settle()
    const onClose = (): void => settle(new Error('the stream closed'))
    stream.addEventListener('drain', onDrain)
    stream.addEventListener('close', onClose)
  })
}

function itemsOver(stream: Stream): (count: number, onItem: (item: unknown) => void) => Promise<void> {
  let receive: (item: unknown) => void = () => {}
  onFrames(stream, (json) => receive(JSON.parse(json)))
  return (count, onItem) =>
    new Promise((resolve, reject) => {
      let left = count
      receive = (item) => {
        try {
          onItem(item)
        } catch (err) {
          reject(err as Error)
        }
        if (--left === 0) resolve()
      }
      stream.send(encodeFrame(JSON.stringify({ count })))
    })
}
