import type { Session } from '../../auth/index.ts'
import { abortError, MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import { readTraceparent } from '../../wire/index.ts'
import { MAX_WS_COLLECTED_BYTES, MAX_WS_NODE_FRAME_BYTES, MAX_WS_PENDING } from './constants.ts'
import type { EdgeFrame, Frame } from './frames.ts'
import type { Link } from './link.ts'

type RequestFrame = Frame<'invoke' | 'send' | 'find'>

export interface RequestsInit {
  readonly node: Node
  readonly link: Link
  /** Whose requests they are. */
  readonly session: () => Session
  /** Names of the agents that speak through this session. */
  readonly agents: () => readonly string[]
  readonly onDefect: (cause: unknown) => void
}

interface Running {
  readonly controller: AbortController
  /** Items that the client still takes. */
  credit: number
  wake: () => void
}

/** What a client asks of the mesh: each request ends with one `result`, `end` or `error`. */
export class Requests {
  readonly #init: RequestsInit
  readonly #running = new Map<string, Running>()

  constructor(init: RequestsInit) {
    this.#init = init
  }

  /** @throws {MeshError} INVALID_MESSAGE when the id is in use: nobody could tell the answers apart */
  start(frame: RequestFrame): void {
    const { id } = frame
    if (this.#running.has(id)) throw new MeshError('INVALID_MESSAGE', 'the id of a request is in use')
    if (this.#running.size >= MAX_WS_PENDING) {
      this.#fail(id, new MeshError('BUSY', 'too many requests are under way'))
      return
    }
    const credit = frame.type === 'invoke' ? (frame.credit ?? Number.POSITIVE_INFINITY) : Number.POSITIVE_INFINITY
    const running: Running = { controller: new AbortController(), credit, wake: () => {} }
    this.#running.set(id, running)
    void this.#run(frame, running).finally(() => this.#running.delete(id)) // It sends what fails.
  }

  credit({ id, items }: Frame<'credit'>): void {
    const running = this.#running.get(id)
    if (running === undefined) return
    running.credit += items
    running.wake()
  }

  cancel({ id }: Frame<'cancel'>): void {
    this.#stop(id, new MeshError('CANCELLED', 'cancelled'))
  }

  /** Ends all of them. */
  stop(reason: MeshError): void {
    for (const id of this.#running.keys()) this.#stop(id, reason)
  }

  #stop(id: string, reason: MeshError): void {
    const running = this.#running.get(id)
    running?.controller.abort(reason)
    running?.wake()
  }

  async #run(frame: RequestFrame, running: Running): Promise<void> {
    const { id } = frame
    try {
      if (frame.type === 'find') await this.#find(frame, running)
      else if (frame.type === 'send') await this.#answer(id, await this.#post(frame, running), running)
      else await this.#invoke(frame, running)
    } catch (err) {
      this.#fail(id, MeshError.from(err))
    }
  }

  #fail(id: string, error: MeshError): void {
    if (error.code === 'INTERNAL') this.#init.onDefect(error.cause)
    try {
      this.#send({ type: 'error', id, error: error.toJSON() })
    } catch {
      // What an agent says beside its failure may be too large, or no JSON.
      const { code, message, retryable } = error
      this.#send({ type: 'error', id, error: { code, message: message.slice(0, MAX_MESSAGE_LENGTH), retryable } })
    }
  }

  async #invoke(
    { id, stream = false, timeoutMs, type: _type, credit: _credit, trace, ...rest }: Frame<'invoke'>,
    running: Running
  ) {
    const { node, session } = this.#init
    const options = { signal: running.controller.signal, ...(timeoutMs === undefined ? {} : { timeoutMs }) }
    const named = typeof stream === 'object' ? stream : undefined
    const parent = readTraceparent(trace)
    const invocation = {
      ...defined(rest),
      ...(named && { stream: named }),
      ...(parent !== undefined && { trace: parent })
    }
    const result = await node.edges.invoke(session(), invocation, options)
    if (stream === false) return this.#answer(id, isItems(result) ? await collect(result) : result, running)
    await this.#items(id, isItems(result) ? result : [result], running, named?.after)
    this.#send({ type: 'end', id })
  }

  /** Only agents have messages: what is sent by none has nobody to be answered to. */
  async #post({ to, body, from, id: _id, type: _type, ...rest }: Frame<'send'>, running: Running): Promise<unknown> {
    const { node, session, agents } = this.#init
    const [only, other] = agents()
    const sender = from ?? (other === undefined ? only : undefined)
    if (sender === undefined || !agents().includes(sender))
      throw new MeshError('FORBIDDEN', 'messages are sent by agents that are registered on this connection', {
        hint: 'register first; with several agents, name one in `from`'
      })
    const { signal } = running.controller
    const { peer, agent } = await node.edges.resolve(to, { signal })
    // Other nodes judge it by this node's key, which is the owner's to lend
    if (peer === node.id) node.edges.allow(session(), 'message.send', `agent:${agent}`)
    else node.edges.allow(session(), 'node.send', `agent:${peer}/${agent}`)
    return node.send(`${peer}/${agent}`, body, { ...defined(rest), from: sender, signal })
  }

  async #find({ id, type: _type, ...rest }: Frame<'find'>, running: Running): Promise<void> {
    const { node, session } = this.#init
    node.edges.allow(session(), 'node.read', 'node:find')
    const results = node.find({ ...defined(rest), signal: running.controller.signal })
    // When it fails, so does the iteration.
    results.summary.catch(() => {})
    await this.#items(id, results, running)
    this.#send({ type: 'end', id, summary: await results.summary })
  }

  async #items(
    id: string,
    items: AsyncIterable<unknown> | readonly unknown[],
    running: Running,
    after = 0
  ): Promise<void> {
    let seq = after
    for await (const item of items) {
      await this.#room(running)
      running.credit -= 1
      this.#send({ type: 'item', id, seq, item })
      seq += 1
    }
    // A source that is cut off by the signal may just end.
    if (running.controller.signal.aborted) throw abortError(running.controller.signal)
  }

  async #answer(id: string, result: unknown, running: Running): Promise<void> {
    running.credit = Number.POSITIVE_INFINITY
    await this.#room(running)
    this.#send({ type: 'result', id, result: result ?? null })
  }

  /** Waits until the client takes more. @throws {MeshError} what the request was ended with */
  async #room(running: Running): Promise<void> {
    const { link } = this.#init
    const { signal } = running.controller
    while (!signal.aborted && (link.isCongested || running.credit <= 0)) {
      const woken = new Promise<void>((resolve) => {
        running.wake = resolve
      })
      await (running.credit <= 0 ? woken : Promise.race([woken, link.turn()]))
    }
    if (signal.aborted) throw abortError(signal)
  }

  /** @throws {MeshError} TOO_LARGE */
  #send(frame: EdgeFrame): void {
    const text = JSON.stringify(frame)
    if (Buffer.byteLength(text) > MAX_WS_NODE_FRAME_BYTES)
      throw new MeshError('TOO_LARGE', `the answer has more than ${MAX_WS_NODE_FRAME_BYTES} bytes`)
    this.#init.link.send(text)
  }
}

/** Of an error whose own text may be what is too much. */
const MAX_MESSAGE_LENGTH = 4_096

async function collect(items: AsyncIterable<unknown>): Promise<readonly unknown[]> {
  const all: unknown[] = []
  let bytes = 0
  for await (const item of items) {
    bytes += Buffer.byteLength(JSON.stringify(item) ?? '')
    if (bytes > MAX_WS_COLLECTED_BYTES)
      throw new MeshError('TOO_LARGE', `the items have more than ${MAX_WS_COLLECTED_BYTES} bytes together`, {
        hint: 'ask for them as they come: `stream: true`'
      })
    all.push(item)
  }
  return all
}

function isItems(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value
}

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> }

/** Zod writes an absent field's type as `T | undefined`; its value never is. */
function defined<T extends object>(value: T): Defined<T> {
  return value as Defined<T>
}
