import { once } from 'node:events'
import { onTestFinished } from 'vitest'
import { type ClientOptions, WebSocket } from 'ws'
import { type EdgeTls, openEdge } from '../../src/gateway/edge/edge.ts'
import type { WsLimits } from '../../src/gateway/ws/constants.ts'
import { createWsEdge, WS_PATH } from '../../src/gateway/ws/ws-edge.ts'
import type { Node, NodeInit } from '../../src/index.ts'
import { startNode } from '../nodes.ts'

export interface EdgeKit {
  readonly node: Node
  /** `ws://127.0.0.1:…/v1/ws` */
  readonly url: string
  readonly ownerToken: string
  readonly close: () => Promise<void>
}

export interface EdgeKitInit {
  readonly node?: NodeInit
  readonly limits?: Partial<WsLimits>
  readonly origins?: readonly string[]
  readonly tls?: EdgeTls
  /** Monotonic milliseconds. */
  readonly now?: () => number
}

/** A node with an HTTP edge on loopback. */
export async function startEdge({
  node: init = {},
  limits,
  origins = [],
  now,
  tls
}: EdgeKitInit = {}): Promise<EdgeKit> {
  const node = await startNode(init)
  const defects: unknown[] = []
  const handler = createWsEdge({
    ...(limits && { limits }),
    ...(now && { now }),
    onDefect: (cause) => defects.push(cause)
  })
  const edge = await openEdge({
    node,
    listen: '127.0.0.1:0',
    origins,
    upgrades: { [WS_PATH]: handler },
    ...(tls && { tls })
  })
  let closing: Promise<void> | undefined
  const close = (): Promise<void> => {
    closing ??= edge.close()
    return closing
  }
  onTestFinished(async () => {
    await close()
    if (defects.length > 0) throw new Error('the edge has defects', { cause: defects[0] })
  })
  return { node, url: `${edge.url.replace('http', 'ws')}${WS_PATH}`, ownerToken: await node.edges.ownerToken(), close }
}

export interface Seen {
  readonly type: string
  readonly id?: string
  readonly agent?: string
  readonly seq?: number
  readonly [member: string]: unknown
}

export interface ClientInit {
  readonly url: string
  /** Sent as `Authorization: Bearer`. */
  readonly token?: string
  readonly headers?: Readonly<Record<string, string>>
  /** Subprotocol. */
  readonly protocol?: string
  /** Client certificate and the like. */
  readonly tls?: ClientOptions
}

/** A client that remembers what it sees. */
export class Client {
  readonly socket: WebSocket
  readonly frames: Seen[] = []
  /** Numbered frames from the node. */
  received = 0
  #waiting: (() => void)[] = []
  readonly closed: Promise<number>

  constructor({ url, token, headers = {}, protocol = 'pryx-mesh.v1', tls = {} }: ClientInit) {
    this.socket = new WebSocket(url, protocol, {
      ...tls,
      headers: { ...headers, ...(token === undefined ? {} : { authorization: `Bearer ${token}` }) },
      perMessageDeflate: false
    })
    this.socket.on('error', () => {})
    this.closed = new Promise((resolve) => this.socket.once('close', resolve))
    this.socket.on('message', (data: Buffer) => {
      const frame = JSON.parse(data.toString())
      if (
        !['welcome', 'resumed', 'received'].includes(frame.type) &&
        !(frame.type === 'error' && frame.id === undefined)
      )
        this.received += 1
      this.frames.push(frame)
      this.#wake()
    })
    void this.closed.then(() => this.#wake())
    onTestFinished(() => this.socket.terminate())
  }

  send(frame: unknown): void {
    this.socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame))
  }

  /** The next frame of a type that fits and that nobody has taken. */
  async take(type: string, fits: (frame: Seen) => boolean = () => true): Promise<Seen> {
    const deadline = AbortSignal.timeout(10_000)
    for (;;) {
      const at = this.frames.findIndex((frame) => frame.type === type && fits(frame))
      const [frame] = at === -1 ? [] : this.frames.splice(at, 1)
      if (frame !== undefined) return frame
      if (this.socket.readyState > WebSocket.OPEN)
        throw new Error(`closed before ${type}; saw ${JSON.stringify(this.frames).slice(0, 500)}`)
      await new Promise<void>((resolve, reject) => {
        this.#waiting.push(resolve)
        deadline.addEventListener('abort', () =>
          reject(new Error(`no ${type}; saw ${JSON.stringify(this.frames).slice(0, 500)}`))
        )
      })
    }
  }

  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
}

/** A client that the node has welcomed. */
export async function connect(init: ClientInit): Promise<Client> {
  const client = new Client(init)
  await client.take('welcome')
  return client
}

export interface Registered {
  readonly client: Client
  readonly id: string
  readonly resume: string
}

const ECHO = { name: 'echo', effects: 'none' }
const COUNT = { name: 'count', streaming: true, effects: 'none' }

/** Registers an agent on a new connection. */
export async function register(
  init: ClientInit,
  name: string,
  capabilities: readonly unknown[] = [ECHO, COUNT]
): Promise<Registered> {
  const client = await connect(init)
  client.send({ type: 'register', agent: { name, capabilities } })
  const { id = '', resume } = await client.take('registered')
  return { client, id, resume: String(resume) }
}

/** What the server answers to a request to upgrade that it refuses. */
export async function refusal(init: ClientInit): Promise<number> {
  const client = new Client(init)
  const [, response] = await once(client.socket, 'unexpected-response')
  return response.statusCode
}
