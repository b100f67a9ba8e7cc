/**
 * The WebSocket edge, `/v1/ws`: agents and programs that dial in.
 *
 * A client says who it is, then registers agents, which become agents of this node, and asks for what it wants of the mesh, as
 * the caller that it is. When it is cut off, everything goes on where it was once it is back.
 *
 * Spec: protocols/ws/1.0.0/README.md
 */
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { WebSocketServer } from 'ws'
import { certificateOf, type Session } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import { refuseUpgrade, type Upgrade, type UpgradeHandler } from '../edge/edge.ts'
import { HTTP_STATUS } from '../errors.ts'
import { Connection, type Surroundings } from './connection.ts'
import {
  MAX_WS_FRAME_BYTES,
  MAX_WS_KEPT_TOTAL_BYTES,
  WS_CLOSE,
  WS_LIMITS,
  WS_PROTOCOL,
  type WsLimits
} from './constants.ts'
import type { Frame } from './frames.ts'
import { Link } from './link.ts'
import { WsSession } from './session.ts'

export const WS_PATH = '/v1/ws'

export interface WsEdgeInit {
  readonly limits?: Partial<WsLimits>
  /** Told what went wrong behind an INTERNAL, which says nothing itself. */
  readonly onDefect?: (cause: unknown) => void
  /** Monotonic milliseconds; default `performance.now`. */
  readonly now?: () => number
}

/** Makes what takes the upgrades of one edge. */
export function createWsEdge(init: WsEdgeInit = {}): UpgradeHandler {
  const edge = new WsEdge(init)
  return (upgrade) => {
    edge.accept(upgrade).catch((err: unknown) => {
      init.onDefect?.(err)
      upgrade.socket.destroy()
    })
  }
}

/** A session with agents, which may be resumed. */
interface Resumable {
  readonly session: WsSession
  readonly peer: string
  readonly token: string
  connection: Connection | undefined
  timer?: NodeJS.Timeout
}

class WsEdge {
  readonly #limits: WsLimits
  readonly #onDefect: (cause: unknown) => void
  readonly #now: () => number
  readonly #server = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    maxPayload: MAX_WS_FRAME_BYTES,
    perMessageDeflate: false,
    handleProtocols: (protocols) => (protocols.has(WS_PROTOCOL) ? WS_PROTOCOL : false)
  })
  readonly #connections = new Set<Connection>()
  readonly #sessions = new Set<WsSession>()
  /** By the digest of the token: looking it up tells nothing about it by time. */
  readonly #resumable = new Map<string, Resumable>()
  readonly #tokens = new WeakMap<WsSession, Resumable>()
  readonly #budget = { left: MAX_WS_KEPT_TOTAL_BYTES }
  /** Upgrades whose credentials are being looked at. */
  #arriving = 0
  #sweeping: NodeJS.Timeout | undefined

  constructor({ limits = {}, onDefect = () => {}, now = () => performance.now() }: WsEdgeInit) {
    this.#limits = { ...WS_LIMITS, ...limits }
    this.#onDefect = onDefect
    this.#now = now
  }

  async accept(upgrade: Upgrade): Promise<void> {
    const { request, socket, head, closing } = upgrade
    const protocols = request.headers['sec-websocket-protocol']?.split(',').map((name) => name.trim()) ?? []
    if (protocols.length > 0 && !protocols.includes(WS_PROTOCOL)) return refuseUpgrade(socket, 400)
    if (closing.aborted || !this.#hasRoom(bringsCredentials(request)))
      return refuseUpgrade(socket, 503, { 'retry-after': '5' })
    this.#arriving += 1
    try {
      const known = await sessionOf(upgrade)
      if (closing.aborted) return refuseUpgrade(socket, 503)
      this.#begin(closing)
      this.#server.handleUpgrade(request, socket, head, (opened) => {
        this.#connections.add(new Connection(opened, upgrade, this.#surroundings(upgrade.node), known))
      })
    } catch (err) {
      const { code, cause } = MeshError.from(err)
      if (code === 'INTERNAL') this.#onDefect(cause)
      refuseUpgrade(socket, HTTP_STATUS[code], code === 'UNAUTHENTICATED' ? { 'www-authenticate': 'DPoP, Bearer' } : {})
    } finally {
      this.#arriving -= 1
    }
  }

  /** Those who wait without a word don't keep out those who say who they are. */
  #hasRoom(isKnown: boolean): boolean {
    const { maxConnections, maxWaiting } = this.#limits
    if (this.#connections.size + this.#arriving >= maxConnections || this.#arriving >= maxWaiting) return false
    return isKnown || [...this.#connections].filter(({ isWaiting }) => isWaiting).length < maxWaiting
  }

  /** From the first connection on. */
  #begin(closing: AbortSignal): void {
    if (this.#sweeping !== undefined) return
    this.#sweeping = setInterval(() => {
      for (const connection of this.#connections) connection.sweep()
    }, this.#limits.sweepMs).unref()
    closing.addEventListener('abort', () => this.#close(), { once: true })
  }

  #close(): void {
    clearInterval(this.#sweeping)
    for (const { timer } of this.#resumable.values()) clearTimeout(timer)
    for (const session of this.#sessions) session.end('the node is stopping')
    for (const connection of this.#connections) connection.close(WS_CLOSE.GOING_AWAY, 'the node is stopping')
  }

  #surroundings(node: Node): Surroundings {
    return {
      limits: this.#limits,
      now: this.#now,
      onDefect: this.#onDefect,
      open: (session, connection) => this.#open(node, session, connection),
      resume: (frame, fresh, connection) => this.#resume(frame, fresh, connection),
      lost: (session) => this.#lost(session),
      closed: (connection) => this.#connections.delete(connection)
    }
  }

  #open(node: Node, session: Session, connection: Connection): WsSession {
    /** Changes when the session is resumed. */
    const current = (): Connection => this.#tokens.get(opened)?.connection ?? connection
    const link = new Link({
      budget: this.#budget,
      maxWriteQueueBytes: this.#limits.maxWriteQueueBytes,
      onSlow: () => current().close(WS_CLOSE.TRY_AGAIN, 'it reads too slowly'),
      onOverflow: () => opened.end('too much waits for it')
    })
    const opened: WsSession = new WsSession({
      node,
      link,
      session,
      resumeToken: () => this.#tokenOf(opened, connection),
      onBroken: (reason) => current().break(reason),
      onEnd: () => this.#forget(opened),
      onDefect: this.#onDefect
    })
    link.connect(connection.socket)
    this.#sessions.add(opened)
    return opened
  }

  #tokenOf(session: WsSession, connection: Connection): string {
    const known = this.#tokens.get(session)
    if (known !== undefined) return known.token
    const token = randomBytes(32).toString('base64url')
    const made: Resumable = { session, token, connection, peer: session.session.caller.peer }
    this.#tokens.set(session, made)
    this.#resumable.set(digestOf(token), made)
    return token
  }

  #resume({ token, received }: Frame<'resume'>, fresh: WsSession, connection: Connection): WsSession {
    const known = this.#resumable.get(digestOf(token))
    // Of somebody else's token it is not said that there is such a session.
    if (known === undefined || known.peer !== fresh.session.caller.peer)
      throw new MeshError('STREAM_LOST', 'there is no such session any more', { hint: 'register again' })
    const { session } = known
    const before = known.connection
    clearTimeout(known.timer)
    session.link.disconnect()
    before?.replaced()
    known.connection = connection
    try {
      session.link.resume(connection.socket, received)
    } catch (err) {
      session.end('what its client has missed is not kept')
      throw err
    }
    session.renew(fresh.session)
    fresh.end('it goes on as the session before')
    return session
  }

  #lost(session: WsSession): void {
    const known = this.#tokens.get(session)
    if (known === undefined) {
      session.end('its connection broke')
      return
    }
    known.connection = undefined
    known.timer = setTimeout(() => session.end('it has not come back'), this.#limits.resumeMs).unref()
  }

  #forget(session: WsSession): void {
    this.#sessions.delete(session)
    const known = this.#tokens.get(session)
    if (known === undefined) return
    clearTimeout(known.timer)
    this.#resumable.delete(digestOf(known.token))
  }
}

/** Who the request to upgrade is from; undefined when it brings no credentials, and a frame must. */
async function sessionOf({ request, auth, closing }: Upgrade): Promise<Session | undefined> {
  if (bringsCredentials(request)) return auth.authenticate(request, { signal: closing })
  // Of other sockets than those of TLS it has none.
  if (!('getPeerX509Certificate' in request.socket) || certificateOf(request.socket as TLSSocket) === undefined)
    return undefined
  try {
    return await auth.authenticate(request, { signal: closing })
  } catch (err) {
    // A certificate that is nobody's may be shown by a client that has another credential for its first frame.
    if (err instanceof MeshError && err.code === 'UNAUTHENTICATED') return undefined
    throw err
  }
}

function bringsCredentials({ headers }: IncomingMessage): boolean {
  return ['authorization', 'x-api-key', 'signature-input'].some((name) => headers[name] !== undefined)
}

function digestOf(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}
