/**
 * Stock WebSocket transport, closed where it is open. What goes over the wire stays the same.
 *
 * - It dials with `ws` in place of the platform's client, which sends slower and can't be cut off.
 * - Aborting a stock connection calls `close(1006)`, which throws: the socket stays open and the other side never learns.
 * - Its listener waits for ever for the first byte and the upgrade request, takes any number of such sockets, and messages of
 *   100 MiB; the gater sees a connection only after that.
 *
 * Each transport, listener and connection is changed on its own instance; one of another shape stays as it is.
 */
import type { Server, Socket } from 'node:net'
import type { Listener, MultiaddrConnection, Transport, Upgrader, UpgraderOptions } from '@libp2p/interface'
import { type WebSocketsComponents, webSockets } from '@libp2p/websockets'
import type { Multiaddr } from '@multiformats/multiaddr'
import { multiaddrToUri } from '@multiformats/multiaddr-to-uri'
import { WebSocket, type WebSocketServer } from 'ws'
import {
  INBOUND_UPGRADE_TIMEOUT_MS,
  MAX_CONNECTIONS,
  MAX_PENDING_CONNECTIONS,
  MAX_PENDING_PER_IP,
  MAX_STREAM_WINDOW_BYTES,
  MAX_WEBSOCKET_MESSAGE_BYTES
} from './constants.ts'
import { isLoopback, networkOf } from './ip.ts'

interface WebSocketTransport extends Transport {
  _connect(address: Multiaddr, options: { signal?: AbortSignal }): Promise<WebSocket>
}

interface WebSocketListener extends Listener {
  server: Server
  wsServer: WebSocketServer
}

interface WebSocketConnection extends MultiaddrConnection {
  websocket: WebSocket
  sendReset(): void
}

/** WebSockets with our limits. */
export function boundedWebSockets(): (components: WebSocketsComponents) => Transport {
  const create = webSockets({ maxBufferedAmount: MAX_STREAM_WINDOW_BYTES })
  return (components) => {
    const transport = create(components)
    if (isWebSocketTransport(transport)) transport._connect = (address, { signal }) => connect(address, signal)
    const createListener = transport.createListener.bind(transport)
    const dial = transport.dial.bind(transport)
    transport.dial = (address, options) => dial(address, { ...options, upgrader: cuttable(options.upgrader) })
    transport.createListener = (options) => {
      const listener = createListener({ ...options, upgrader: cuttable(options.upgrader) })
      if (isWebSocketListener(listener)) boundListener(listener)
      return listener
    }
    return transport
  }
}

/** True when the transport has the internals relied on here. */
export function isWebSocketTransport(transport: Transport): transport is WebSocketTransport {
  return typeof (transport as Partial<WebSocketTransport>)._connect === 'function'
}

/** True when the listener has the internals relied on here. */
export function isWebSocketListener(listener: Listener): listener is WebSocketListener {
  const { server, wsServer } = listener as Partial<WebSocketListener>
  return typeof server?.on === 'function' && typeof wsServer?.options === 'object'
}

/** True when the connection has the internals relied on here. */
function isWebSocketConnection(connection: MultiaddrConnection): connection is WebSocketConnection {
  const { websocket, sendReset } = connection as Partial<WebSocketConnection>
  return typeof websocket?.terminate === 'function' && typeof sendReset === 'function'
}

/** An upgrader that first gives each connection an abort that cuts it off. */
function cuttable(upgrader: Upgrader): Upgrader {
  const prepare = <T extends MultiaddrConnection>(connection: T): T => {
    if (isWebSocketConnection(connection)) {
      const { websocket } = connection
      connection.sendReset = () => websocket.terminate()
      websocket.resume()
    }
    return connection
  }
  return Object.assign(Object.create(upgrader) as Upgrader, {
    upgradeInbound: (connection: MultiaddrConnection, options: UpgraderOptions) =>
      upgrader.upgradeInbound(prepare(connection), options),
    upgradeOutbound: (connection: MultiaddrConnection, options: UpgraderOptions) =>
      upgrader.upgradeOutbound(prepare(connection), options)
  })
}

async function connect(address: Multiaddr, signal: AbortSignal | undefined): Promise<WebSocket> {
  signal?.throwIfAborted()
  const websocket = new WebSocket(multiaddrToUri(address), {
    perMessageDeflate: false,
    maxPayload: MAX_WEBSOCKET_MESSAGE_BYTES
  })
  websocket.binaryType = 'arraybuffer'
  return new Promise((resolve, reject) => {
    const onAbort = (): void => websocket.terminate() // ends in an error event
    const settle = (): void => signal?.removeEventListener('abort', onAbort)
    signal?.addEventListener('abort', onAbort)
    websocket.once('open', () => {
      settle()
      // Under a swarm key the listener speaks first: what has come with the upgrade would be gone before anybody listens
      websocket.pause()
      resolve(websocket)
    })
    websocket.on('error', (err) => {
      settle()
      reject(signal?.aborted === true ? signal.reason : err)
    })
  })
}

/** Sockets that haven't become WebSockets yet: few per network, none for longer than a handshake may take. */
function boundListener({ server, wsServer }: WebSocketListener): void {
  const waiting = new Map<string, number>()
  const done = new WeakMap<Socket, () => void>()
  server.maxConnections = MAX_CONNECTIONS + MAX_PENDING_CONNECTIONS
  wsServer.options.maxPayload = MAX_WEBSOCKET_MESSAGE_BYTES
  server.on('connection', (socket: Socket) => {
    const host = socket.remoteAddress ?? ''
    const network = networkOf(host)
    const count = (waiting.get(network) ?? 0) + 1
    if (count > MAX_PENDING_PER_IP && !isLoopback(host)) {
      socket.destroy()
      return
    }
    waiting.set(network, count)
    const timer = setTimeout(() => socket.destroy(), INBOUND_UPGRADE_TIMEOUT_MS)
    const finish = (): void => {
      if (!done.delete(socket)) return
      clearTimeout(timer)
      const left = (waiting.get(network) ?? 1) - 1
      if (left === 0) waiting.delete(network)
      else waiting.set(network, left)
    }
    done.set(socket, finish)
    socket.once('close', finish)
  })
  // Emitted when the upgrade is accepted, before the connection is libp2p's.
  wsServer.on('headers', (_headers, request) => done.get(request.socket)?.())
}
