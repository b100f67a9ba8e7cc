import type { WebSocket } from 'ws'
import type { Session } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import { parseJson } from '../../wire/index.ts'
import type { Upgrade } from '../edge/edge.ts'
import { CLOSE_GRACE_MS, WS_CLOSE, type WsLimits } from './constants.ts'
import { authFrame, type EdgeFrame, type Frame } from './frames.ts'
import { readClientFrame, type WsSession } from './session.ts'

/** What a connection needs of the edge. */
export interface Surroundings {
  readonly limits: WsLimits
  /** Monotonic milliseconds. */
  readonly now: () => number
  readonly onDefect: (cause: unknown) => void
  /** Makes the session of a client that is known now. */
  readonly open: (session: Session, connection: Connection) => WsSession
  /** Finds the session that a client comes back to. @throws {MeshError} STREAM_LOST */
  readonly resume: (frame: Frame<'resume'>, fresh: WsSession, connection: Connection) => WsSession
  /** It was cut off: its client may come back. */
  readonly lost: (session: WsSession) => void
  readonly closed: (connection: Connection) => void
}

/** RFC 6455 §7.1.5: a close frame without a code. Either is a client's goodbye; whatever else ends it is a cut. */
const GOODBYES: ReadonlySet<number> = new Set([1000, 1005])

/** One WebSocket: who it is, its frames, its liveness. */
export class Connection {
  readonly socket: WebSocket
  readonly #node: string
  /** Until it is known who it is: credentials are kept no longer than that. */
  #upgrade: Upgrade | undefined
  readonly #edge: Surroundings
  readonly #impatience: NodeJS.Timeout | undefined
  #session: WsSession | undefined
  #lastSeen: number
  #lastPing: number
  /** Texts that came while the credentials were being looked at: what was read already when the socket was paused. */
  #early: Buffer[] | undefined
  /** Why its session can't go on over another connection. */
  #fatal: string | undefined

  constructor(socket: WebSocket, upgrade: Upgrade, edge: Surroundings, known: Session | undefined) {
    this.socket = socket
    this.#node = upgrade.node.id
    this.#upgrade = upgrade
    this.#edge = edge
    this.#lastSeen = edge.now()
    this.#lastPing = edge.now()
    socket.on('message', (data, isBinary) => this.#onMessage(data, isBinary))
    socket.on('pong', () => this.#seen())
    socket.on('ping', () => this.#seen())
    socket.on('error', (err: Error) => {
      // What the library calls so is a breach of RFC 6455, or of the size of frames; else the network has failed.
      if ('code' in err && String(err.code).startsWith('WS_ERR_')) this.#fatal = 'it broke the protocol'
    })
    socket.once('close', (code) => this.#onClose(code))
    if (known === undefined) this.#impatience = setTimeout(() => this.#late(), edge.limits.authTimeoutMs)
    else this.#open(known)
  }

  get isWaiting(): boolean {
    return this.#session === undefined
  }

  /** Pings a silent client, and lets go of a dead one, or of one whose credentials have ended. */
  sweep(): void {
    const { limits, now } = this.#edge
    if (now() - this.#lastSeen > limits.deadMs) {
      this.socket.terminate()
      return
    }
    if (this.socket.readyState !== this.socket.OPEN) return
    if (now() - this.#lastPing >= limits.pingMs) {
      this.#lastPing = now()
      this.socket.ping()
    }
    try {
      if (this.#session?.session.caller.trust === 'blocked') throw new MeshError('FORBIDDEN', 'this peer is blocked')
    } catch (err) {
      this.#unauthorized(MeshError.from(err))
    }
  }

  /** Its session has gone to another connection. */
  replaced(): void {
    this.#session = undefined
    this.#fatal = 'resumed by another connection'
    this.close(WS_CLOSE.REPLACED, this.#fatal)
  }

  /** Ends the connection, and its session with it. */
  break(reason: string, code: number = WS_CLOSE.PROTOCOL): void {
    this.#fatal ??= reason
    this.#tell({ type: 'error', error: new MeshError('INVALID_MESSAGE', reason).toJSON() })
    this.close(code, clip(reason))
  }

  /** Ends the connection only. */
  close(code: number, reason: string): void {
    this.socket.close(code, reason)
    // A client that reads nothing never sees the goodbye.
    const timer = setTimeout(() => this.socket.terminate(), CLOSE_GRACE_MS).unref()
    this.socket.once('close', () => clearTimeout(timer))
  }

  #seen(): void {
    this.#lastSeen = this.#edge.now()
  }

  #onMessage(data: unknown, isBinary: boolean): void {
    this.#seen()
    // Texts come as one buffer, as `binaryType` is left at its default.
    if (isBinary || !Buffer.isBuffer(data)) this.break('frames are texts')
    else if (this.#early === undefined) this.#read(data)
    else this.#early.push(data)
  }

  #read(data: Buffer): void {
    if (this.#fatal !== undefined) return
    try {
      const text = data.toString()
      const value = parseJson(text)
      if (this.#session === undefined) this.#authenticate(value)
      else this.#take(this.#session, value, { text, bytes: data.length })
    } catch (err) {
      const error = MeshError.from(err)
      if (error.code === 'INTERNAL') this.#edge.onDefect(error.cause)
      this.break(error.message)
    }
  }

  #take(session: WsSession, value: unknown, { text, bytes }: { text: string; bytes: number }): void {
    const type = (value as { type?: unknown } | null)?.type // Whatever it is.
    if (type !== 'resume' && type !== 'received') {
      session.handle(value, text, bytes)
      return
    }
    const frame = readClientFrame(value)
    if (frame?.type === 'received') session.link.confirm(frame.frames)
    if (frame?.type === 'resume') this.#resume(frame, session)
  }

  #resume(frame: Frame<'resume'>, fresh: WsSession): void {
    if (!fresh.isFresh) throw new MeshError('INVALID_MESSAGE', 'resume comes before anything else')
    try {
      this.#session = this.#edge.resume(frame, fresh, this)
    } catch (err) {
      const error = MeshError.from(err)
      if (error.code !== 'STREAM_LOST') throw error
      // It may register anew, on this connection too.
      this.#tell({ type: 'error', error: error.toJSON() })
    }
  }

  #authenticate(value: unknown): void {
    const { success, data } = authFrame.safeParse(value)
    if (!success) throw new MeshError('INVALID_MESSAGE', 'credentials come first: {"type":"auth","method":…}')
    const { type: _type, ...presented } = data
    // It is read once: whatever comes while it is looked at is early.
    if (this.#upgrade === undefined) return
    const { auth, request, closing } = this.#upgrade
    this.#upgrade = undefined
    clearTimeout(this.#impatience)
    this.socket.pause()
    this.#early = []
    auth
      .present(request, presented, { signal: closing })
      .then((session) => {
        if (this.socket.readyState !== this.socket.OPEN) return
        this.#open(session)
        const early = this.#early ?? []
        this.#early = undefined
        for (const data of early) this.#read(data)
      })
      .catch((err: unknown) => this.#unauthorized(MeshError.from(err)))
      .finally(() => this.socket.resume())
  }

  #open(known: Session): void {
    this.#upgrade = undefined
    const { peer, trust } = known.caller
    this.#session = this.#edge.open(known, this)
    this.#tell({
      type: 'welcome',
      node: this.#node,
      caller: { peer, trust },
      resumeMs: this.#edge.limits.resumeMs
    })
  }

  /** Those who were let in and whose credentials have expired may come back with others; who is thrown out may not. */
  #unauthorized(error: MeshError): void {
    const { reason } = (error.data ?? {}) as { reason?: string }
    if (error.code === 'INTERNAL') this.#edge.onDefect(error.cause)
    if (this.#session === undefined || reason !== 'expired') this.#fatal = error.message
    this.#tell({ type: 'error', error: error.toJSON() })
    this.close(WS_CLOSE.UNAUTHORIZED, clip(error.message))
  }

  #late(): void {
    this.#fatal = 'no credentials in time'
    this.close(WS_CLOSE.TIMEOUT, this.#fatal)
  }

  #onClose(code: number): void {
    clearTimeout(this.#impatience)
    this.#edge.closed(this)
    const session = this.#session
    this.#session = undefined
    if (session === undefined) return
    session.link.disconnect()
    const isOver = GOODBYES.has(code) ? 'it has left' : this.#fatal
    if (isOver !== undefined || !session.hasAgents || !session.link.canResume)
      session.end(isOver ?? 'its connection broke')
    else this.#edge.lost(session)
  }

  /** Sends a frame that has no number. */
  #tell(frame: EdgeFrame): void {
    if (this.socket.readyState === this.socket.OPEN) this.socket.send(JSON.stringify(frame), () => {})
  }
}

/** RFC 6455 §5.5: the reason of a close has at most 123 bytes. */
function clip(reason: string): string {
  return reason.replaceAll(/[^ -~]/g, '?').slice(0, 120)
}
