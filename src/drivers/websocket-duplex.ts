import { once } from 'node:events'
import { WebSocket } from 'ws'
import type { Duplex } from './agent-session.ts'
import { CLOSE_GRACE_MS } from './constants.ts'
import { PING_INTERVAL_MS } from './session-constants.ts'

/** An open WebSocket, dialled or accepted, as what an {@link AgentSession} speaks over; kept alive by pings. */
export function duplexOf(socket: WebSocket, pingIntervalMs = PING_INTERVAL_MS): Duplex {
  let why: string | undefined
  // A paused socket reads no pong: it is let be.
  let isAlive = true
  socket.on('pong', () => {
    isAlive = true
  })
  const heartbeat = setInterval(() => {
    if (socket.isPaused) return
    if (!isAlive) {
      why = 'it does not answer'
      socket.terminate()
      return
    }
    isAlive = false
    socket.ping()
  }, pingIntervalMs).unref()
  socket.once('close', () => clearInterval(heartbeat))

  return {
    get bufferedBytes() {
      return socket.bufferedAmount
    },
    send(text) {
      if (socket.readyState === WebSocket.OPEN) socket.send(text, () => {}) // A failure ends in `close`.
    },
    onMessage(listener) {
      socket.on('message', (data, isBinary) => {
        // Texts come as one buffer, as `binaryType` is left at its default; a frame of bytes reads as no JSON.
        listener(!isBinary && Buffer.isBuffer(data) ? data.toString() : '')
      })
    },
    onClose(listener) {
      socket.on('error', (err: Error) => {
        why ??= socketError(err)
      })
      socket.once('close', (code) => listener(why ?? `it closed the connection (${code})`))
    },
    pause: () => socket.pause(),
    resume() {
      isAlive = true
      socket.resume()
    },
    async ping(signal) {
      const answered = once(socket, 'pong', { signal })
      socket.ping(() => {})
      await answered
    },
    async close(code, reason) {
      if (socket.readyState === WebSocket.CLOSED) return
      const closed = once(socket, 'close')
      // An unread socket never sees the other side's goodbye.
      socket.resume()
      socket.close(code, reason)
      const timer = setTimeout(() => socket.terminate(), CLOSE_GRACE_MS)
      await closed.finally(() => clearTimeout(timer))
    }
  }
}

function socketError(err: Error): string {
  if ('code' in err && err.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH') return 'it sent a frame that is too large'
  return 'the connection broke'
}
