import type { Session } from '../../auth/index.ts'
import type { Duplex } from '../../drivers/index.ts'
import { MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import { MAX_WS_AGENTS, WS_BUSY_BYTES } from './constants.ts'
import { type ClientFrame, clientFrame, type EdgeFrame, type Frame } from './frames.ts'
import type { Link } from './link.ts'
import { Requests } from './requests.ts'

export interface WsSessionInit {
  readonly node: Node
  readonly link: Link
  readonly session: Session
  /** What it is resumed by; asked for once it has an agent. */
  readonly resumeToken: () => string
  /** An agent of it has broken the protocol: nothing it says can be relied on. */
  readonly onBroken: (reason: string) => void
  readonly onEnd: () => void
  readonly onDefect: (cause: unknown) => void
}

/** What an agent of the session says; anything else a client says for itself. */
const AGENT_TYPES: ReadonlySet<unknown> = new Set(['capabilities', 'result', 'item', 'end', 'error', 'ack'])

/** A client of the WebSocket edge, over one connection or, when it is cut off, over several. */
export class WsSession {
  readonly link: Link
  readonly #init: WsSessionInit
  readonly #requests: Requests
  readonly #ports = new Map<string, Port>()
  #session: Session
  #lastPort = 0
  #isOver = false

  constructor(init: WsSessionInit) {
    const { link } = init
    this.link = link
    this.#init = init
    this.#session = init.session
    const { node, onDefect } = init
    const agents = (): string[] =>
      [...this.#ports.values()].filter(({ isRegistered }) => isRegistered).map(({ name }) => name)
    this.#requests = new Requests({ node, link, session: () => this.#session, agents, onDefect })
  }

  /** Who it is, as of now. @throws {MeshError} UNAUTHENTICATED when what proved it has ended */
  get session(): Session {
    return this.#session
  }

  /** Nothing has happened on it yet. */
  get isFresh(): boolean {
    return this.link.received === 0 && this.#ports.size === 0
  }

  get hasAgents(): boolean {
    return this.#ports.size > 0
  }

  /** The client is back, with credentials of its own. */
  renew(session: Session): void {
    this.#session = session
  }

  /**
   * Takes a numbered frame.
   *
   * @throws {MeshError} INVALID_MESSAGE when it isn't one of the protocol
   */
  handle(value: unknown, text: string, bytes: number): void {
    this.link.took(bytes)
    const type = typeof value === 'object' && value !== null && 'type' in value ? value.type : undefined
    if (AGENT_TYPES.has(type)) {
      this.#portOf(value as Addressed)?.read(text, value) // As just seen.
      return
    }
    const frame = readClientFrame(value)
    if (frame !== undefined) this.#take(frame)
  }

  /** @param reason for those who wait for its agents */
  end(reason: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.link.end()
    this.#requests.stop(new MeshError('CONNECTION_LOST', reason))
    for (const port of this.#ports.values()) port.over(reason)
    this.#ports.clear()
    this.#init.onEnd()
  }

  #take(frame: ClientFrame): void {
    switch (frame.type) {
      case 'register':
        void this.#register(frame) // It sends what fails.
        return
      case 'unregister':
        for (const [prefix, port] of this.#ports) if (port.name === frame.agent) this.#drop(prefix, port, 'it has left')
        return
      case 'credit':
        this.#requests.credit(frame)
        return
      case 'cancel':
        this.#requests.cancel(frame)
        return
      case 'invoke':
      case 'send':
      case 'find':
        this.#requests.start(frame)
        return
      case 'resume':
      case 'received':
        throw new MeshError('INVALID_MESSAGE', `${frame.type} comes before anything else`)
    }
  }

  async #register({ agent: { name, tags, audience, ...offer } }: Frame<'register'>): Promise<void> {
    this.#lastPort += 1
    const prefix = `${this.#lastPort}.`
    const port = new Port(name, this.link, (code, reason) => this.#closed(prefix, code, reason))
    try {
      if (this.#ports.size >= MAX_WS_AGENTS)
        throw new MeshError('BUSY', `a connection has at most ${MAX_WS_AGENTS} agents`)
      this.#ports.set(prefix, port)
      const init = {
        name,
        ...(tags === undefined ? {} : { tags }),
        ...(audience === undefined ? {} : { audience }),
        offer: { capabilities: [], ...offer }
      }
      const { caller } = this.#session
      const visitor = { duplex: port, idPrefix: prefix, maxBufferedBytes: WS_BUSY_BYTES }
      const { id } = await this.#init.node.agents.register(init, visitor, caller)
      if (this.#isOver || !this.#ports.has(prefix)) return
      port.isRegistered = true
      this.#send({ type: 'registered', agent: name, id, resume: this.#init.resumeToken() })
    } catch (err) {
      this.#ports.delete(prefix)
      const error = MeshError.from(err)
      if (error.code === 'INTERNAL') this.#init.onDefect(error.cause)
      this.#send({ type: 'refused', agent: name, error: error.toJSON() })
    }
  }

  /** The node lets go of an agent: it was replaced or removed, or has broken the protocol. */
  #closed(prefix: string, code: number, reason: string): void {
    const port = this.#ports.get(prefix)
    if (port === undefined || this.#isOver) return
    if (code === PROTOCOL_ERROR) this.#init.onBroken(reason)
    else if (port.isRegistered) this.#drop(prefix, port, reason)
    else this.#ports.delete(prefix)
  }

  #drop(prefix: string, port: Port, reason: string): void {
    this.#ports.delete(prefix)
    this.link.unpause(port)
    this.#send({ type: 'unregistered', agent: port.name, reason })
    port.over(reason)
    // Without agents it isn't kept for a client that was cut off.
    if (!this.link.isConnected && this.#ports.size === 0) this.end(reason)
  }

  #portOf({ id, agent }: Addressed): Port | undefined {
    if (typeof id === 'string') return this.#ports.get(id.slice(0, id.indexOf('.') + 1))
    const ports = [...this.#ports.values()]
    return agent === undefined && ports.length === 1 ? ports[0] : ports.find(({ name }) => name === agent)
  }

  #send(frame: EdgeFrame): void {
    this.link.send(JSON.stringify(frame))
  }
}

const PROTOCOL_ERROR = 1002

/** Which agent's a frame is. */
interface Addressed {
  readonly id?: unknown
  readonly agent?: unknown
}

/** @returns undefined for a type that a later version may have @throws {MeshError} INVALID_MESSAGE */
export function readClientFrame(value: unknown): ClientFrame | undefined {
  const { success, data, error } = clientFrame.safeParse(value)
  if (success) return data
  const [issue] = error.issues
  if (issue?.code === 'invalid_union' && hasType(value)) return undefined
  throw new MeshError('INVALID_MESSAGE', `not a frame: ${issue?.path.map(String).join('.') ?? ''} is not valid`)
}

function hasType(value: unknown): boolean {
  return typeof value === 'object' && value !== null && 'type' in value && typeof value.type === 'string'
}

/** The part of a connection that belongs to one agent. */
class Port implements Duplex {
  readonly name: string
  isRegistered = false
  readonly #link: Link
  readonly #onClosed: (code: number, reason: string) => void
  #listener: Parameters<Duplex['onMessage']>[0] = () => {}
  #onOver: (reason: string) => void = () => {}
  /** Why it is over; it may be so before anybody listens. */
  #ended: string | undefined

  constructor(name: string, link: Link, onClosed: (code: number, reason: string) => void) {
    this.name = name
    this.#link = link
    this.#onClosed = onClosed
  }

  get bufferedBytes(): number {
    return this.#link.pendingBytes
  }

  send(text: string): void {
    this.#link.send(text)
  }

  read(text: string, value: unknown): void {
    this.#listener(text, value)
  }

  over(reason: string): void {
    this.#ended = reason
    this.#onOver(reason)
  }

  onMessage(listener: Parameters<Duplex['onMessage']>[0]): void {
    this.#listener = listener
  }

  onClose(listener: (reason: string) => void): void {
    this.#onOver = listener
    const ended = this.#ended
    if (ended !== undefined) queueMicrotask(() => listener(ended))
  }

  pause(): void {
    this.#link.pause(this)
  }

  resume(): void {
    this.#link.unpause(this)
  }

  /** Whether the client answers is looked at for the whole connection; one that was cut off has its time to come back. */
  async ping(): Promise<void> {}

  async close(code: number, reason: string): Promise<void> {
    this.#onClosed(code, reason)
  }
}
