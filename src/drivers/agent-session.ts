import type { Caller } from '../auth/index.ts'
import { abortable, abortError, type ErrorCode, MeshError, throwIfAborted } from '../errors.ts'
import type { AgentDescription } from '../registry/index.ts'
import type { CapabilityKind } from '../registry/messages.ts'
import { parseJson } from '../wire/index.ts'
import {
  type AgentFailure,
  type AgentFrame,
  agentFrame,
  descriptionOf,
  helloFrame,
  type NodeFrame
} from './agent-frames.ts'
import type { AgentConnection, InvokeContext } from './index.ts'
import { ItemQueue, type QueueSize } from './item-queue.ts'
import { clip } from './mcp-tools.ts'
import * as limits from './session-constants.ts'

/** A connection that carries texts, whichever side has opened it. */
export interface Duplex {
  /** Bytes of what was sent that the network hasn't taken yet. */
  readonly bufferedBytes: number
  /** Never throws; what is sent after the end is lost. */
  send(text: string): void
  /** @param listener given every text, in order, from the first one on, and what it says if that was read already; one listener only */
  onMessage(listener: (text: string, value?: unknown) => void): void
  /** @param listener told once, with a few words on why */
  onClose(listener: (reason: string) => void): void
  /** No more texts until {@link resume}; what the agent sends meanwhile waits in the network. */
  pause(): void
  resume(): void
  /** @throws when there is no answer before the signal */
  ping(signal: AbortSignal): Promise<void>
  /** Tells the other side, which has a moment to answer. @param reason at most 100 characters */
  close(code: number, reason: string): Promise<void>
}

export interface AgentSessionInit {
  readonly duplex: Duplex
  readonly onChange: () => void
  readonly onLost: (reason: string) => void
  /** What the agent has said already; without it a hello is waited for. */
  readonly description?: AgentDescription
  /** Its name, when several agents share a connection: frames have it as `agent`. */
  readonly agent?: string
  /** Of the ids of calls and messages, so that they differ from those of the others. */
  readonly idPrefix?: string
  /** Bytes that wait to be sent, beyond which the agent is too slow for another call; default 8 MiB. */
  readonly maxBufferedBytes?: number
  /** How long to wait for a result, or for each item; default 300,000. */
  readonly timeoutMs?: number
  /** How long one slow reader may hold up the others; default 5,000. */
  readonly stallMs?: number
}

interface MessageOptions {
  readonly signal: AbortSignal
  readonly caller?: Asking
  /** Takes the answer to a request. */
  readonly reply?: (body: unknown) => void
}

type Asking = Pick<Caller, 'peer' | 'trust' | 'alias' | 'owner'>

/** A message or a call that the agent has not answered. */
interface Pending {
  /** Absent for what isn't a stream. */
  readonly items?: ItemQueue
  nextSeq: number
  /** Since the agent was given credit. */
  taken: number
  resolve(result: unknown): void
  reject(err: MeshError): void
}

/**
 * The node's side of a conversation with an agent that speaks frames of JSON, over a connection that either has opened.
 *
 * @see protocols/agents/websocket.md
 */
export class AgentSession implements AgentConnection {
  readonly #duplex: Duplex
  readonly #init: AgentSessionInit & Required<Pick<AgentSessionInit, 'timeoutMs' | 'stallMs' | 'maxBufferedBytes'>>
  /** What frames say about whom they are for. */
  readonly #to: { readonly agent?: string }
  readonly #pending = new Map<string, Pending>()
  /** Streams whose readers are behind, each with the end of our patience. */
  readonly #stalled = new Map<string, NodeJS.Timeout>()
  readonly #hello = Promise.withResolvers<void>()
  #description: AgentDescription | undefined
  #lastId = 0
  /** Why it is over. */
  #lost: string | undefined
  #isClosing = false

  constructor(init: AgentSessionInit) {
    this.#duplex = init.duplex
    const { CALL_TIMEOUT_MS: timeoutMs, STALL_MS: stallMs, MAX_BUFFERED_BYTES: maxBufferedBytes } = limits
    this.#init = { timeoutMs, stallMs, maxBufferedBytes, ...init }
    this.#to = init.agent === undefined ? {} : { agent: init.agent }
    this.#description = init.description
    this.#hello.promise.catch(() => {}) // Whoever waits for it sees it too.
    if (init.description !== undefined) this.#hello.resolve()
    init.duplex.onClose((reason) => this.#over(reason))
    init.duplex.onMessage((text, value) => this.#read(text, value))
  }

  /**
   * Waits for the agent's hello.
   *
   * @throws {MeshError} AGENT_UNAVAILABLE when the connection ends before it, or it is none; TIMEOUT, CANCELLED
   */
  ready({ signal }: { signal: AbortSignal }): Promise<void> {
    return abortable(this.#hello.promise, signal)
  }

  describe(): Promise<AgentDescription> {
    if (this.#description !== undefined) return Promise.resolve(this.#description)
    return Promise.reject(new MeshError('AGENT_UNAVAILABLE', 'the agent has not said what it offers'))
  }

  invoke(
    { kind, name }: { kind: CapabilityKind; name: string },
    input: unknown,
    { caller, signal }: InvokeContext
  ): unknown {
    const offer = this.#description?.capabilities.find((one) => one.name === name && one.kind === kind)
    if (offer === undefined) throw new MeshError('NOT_FOUND', `the agent offers no ${name}`)
    const id = this.#open(signal)
    this.#send({
      type: 'call',
      id,
      ...this.#to,
      capability: { kind, name, version: offer.version },
      input,
      caller: callerInfo(caller),
      deadlineMs: this.#init.timeoutMs,
      credit: limits.ITEM_CREDIT
    })
    return offer.streaming === true ? this.#stream(id, signal) : this.#answer(id, signal)
  }

  /**
   * Hands over a message; resolves once the agent has taken it. What it answers with is the reply to a request.
   *
   * @throws {MeshError} AGENT_ERROR when the agent refuses it, AGENT_UNAVAILABLE, CONNECTION_LOST, BUSY, TIMEOUT, CANCELLED
   */
  async message(message: unknown, { signal, caller, reply }: MessageOptions): Promise<void> {
    const id = this.#open(signal)
    this.#send({
      type: 'message',
      id,
      ...this.#to,
      message,
      ...(caller === undefined ? {} : { caller: callerInfo(caller) })
    })
    const answer = await this.#answer(id, signal)
    if (answer !== undefined) reply?.(answer)
  }

  async health({ signal }: { signal: AbortSignal }): Promise<void> {
    // While the socket is paused, an answer couldn't be read.
    if (this.#stalled.size === 0) await this.#duplex.ping(signal)
  }

  async close(): Promise<void> {
    this.#isClosing = true
    await this.#duplex.close(1001, 'the node lets go of the agent')
    this.#over('the node let go of it')
  }

  /** @returns the id for something new */
  #open(signal: AbortSignal): string {
    throwIfAborted(signal)
    if (this.#lost !== undefined || this.#isClosing)
      throw new MeshError('AGENT_UNAVAILABLE', 'the agent is not connected')
    if (this.#pending.size >= limits.MAX_PENDING || this.#duplex.bufferedBytes > this.#init.maxBufferedBytes)
      throw new MeshError('BUSY', 'the agent has too much under way')
    this.#lastId += 1
    return `${this.#init.idPrefix ?? ''}${this.#lastId}`
  }

  #answer(id: string, signal: AbortSignal): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>()
    const timer = setTimeout(
      () => this.#fail(id, new MeshError('TIMEOUT', 'the agent did not answer in time')),
      this.#init.timeoutMs
    )
    const leave = this.#heed(id, signal)
    const settled = (): void => {
      clearTimeout(timer)
      leave()
    }
    this.#pending.set(id, {
      nextSeq: 0,
      taken: 0,
      resolve(result) {
        settled()
        resolve(result)
      },
      reject(err) {
        settled()
        reject(err)
      }
    })
    return promise
  }

  #stream(id: string, signal: AbortSignal): ItemQueue {
    const leave = this.#heed(id, signal)
    const items = new ItemQueue({
      timeoutMs: this.#init.timeoutMs,
      onTaken: (left) => this.#taken(id, left),
      onLeft: () => this.#fail(id, new MeshError('CANCELLED', 'cancelled'))
    })
    this.#pending.set(id, {
      items,
      nextSeq: 0,
      taken: 0,
      resolve() {
        leave()
        items.end()
      },
      reject(err) {
        leave()
        items.end(err)
      }
    })
    return items
  }

  /** Gives up when the caller does. @returns what ends the watching */
  #heed(id: string, signal: AbortSignal): () => void {
    const onAbort = (): void => this.#fail(id, abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    return () => signal.removeEventListener('abort', onAbort)
  }

  /** Ends something that the agent is still at work on. */
  #fail(id: string, err: MeshError): void {
    const pending = this.#take(id)
    if (pending === undefined) return
    this.#send({ type: 'cancel', id })
    pending.reject(err)
  }

  /** Takes out what has come to its end. */
  #take(id: string): Pending | undefined {
    const pending = this.#pending.get(id)
    this.#pending.delete(id)
    this.#unstall(id)
    return pending
  }

  #taken(id: string, left: QueueSize): void {
    const pending = this.#pending.get(id)
    if (pending === undefined) return
    pending.taken += 1
    if (left.items < limits.ITEM_CREDIT && left.bytes < limits.MAX_QUEUED_BYTES) this.#unstall(id)
    if (pending.taken < limits.ITEM_CREDIT / 2) return
    this.#send({ type: 'credit', id, items: pending.taken })
    pending.taken = 0
  }

  #read(text: string, known: unknown): void {
    if (this.#lost !== undefined) return
    try {
      const value = known ?? parseJson(text)
      if (this.#description === undefined) this.#greet(value)
      else this.#handle(value, text)
    } catch (err) {
      this.#break(err instanceof MeshError ? err.message : 'the agent sent what makes no sense')
    }
  }

  #greet(value: unknown): void {
    const { success, data, error } = helloFrame.safeParse(value)
    if (!success) throw new MeshError('INVALID_MESSAGE', `the agent's hello is not valid: ${whereOf(error)}`)
    this.#description = descriptionOf(data)
    this.#hello.resolve()
  }

  #handle(value: unknown, text: string): void {
    const { success, data: frame, error } = agentFrame.safeParse(value)
    if (!success) {
      // A type that a later version may have.
      if (error.issues.some(({ code }) => code === 'invalid_union')) return
      throw new MeshError('INVALID_MESSAGE', `the agent sent a bad frame: ${whereOf(error)}`)
    }
    if (frame.type === 'capabilities') {
      this.#description = descriptionOf({ ...this.#description, capabilities: frame.capabilities })
      this.#init.onChange()
      return
    }
    const pending = this.#pending.get(frame.id)
    // What was given up may still be answered.
    if (pending === undefined) return
    if (frame.type === 'item') this.#item(frame, pending, Buffer.byteLength(text))
    else this.#finish(frame, pending)
  }

  #item({ id, seq, item }: Frame<'item'>, pending: Pending, bytes: number): void {
    const { items } = pending
    if (items === undefined)
      return this.#fail(id, new MeshError('AGENT_ERROR', 'the agent sends items, but did not say that it streams'))
    if (seq !== pending.nextSeq) return this.#fail(id, new MeshError('AGENT_ERROR', 'items of the agent are missing'))
    if (bytes > limits.MAX_ITEM_BYTES)
      return this.#fail(id, new MeshError('TOO_LARGE', `an item of the agent is over ${limits.MAX_ITEM_BYTES} bytes`))
    pending.nextSeq += 1
    items.push(item, bytes)
    const { size } = items
    if (size.items > limits.ITEM_CREDIT || size.bytes > limits.MAX_QUEUED_BYTES) this.#stall(id)
  }

  #finish(frame: Exclude<AgentFrame, Frame<'item'> | Frame<'capabilities'>>, pending: Pending): void {
    this.#take(frame.id)
    if (frame.type === 'error') return pending.reject(agentFailure(frame.error))
    // A stream of one.
    if (frame.type === 'result') pending.items?.push(frame.result, 0)
    pending.resolve(frame.type === 'result' ? frame.result : undefined)
  }

  /** Stops reading until the reader of this stream has caught up: for a moment, as the others wait too. */
  #stall(id: string): void {
    if (this.#stalled.has(id)) return
    if (this.#stalled.size === 0) this.#duplex.pause()
    const late = new MeshError('TIMEOUT', 'items of the agent were read too slowly')
    this.#stalled.set(
      id,
      setTimeout(() => this.#fail(id, late), this.#init.stallMs)
    )
  }

  #unstall(id: string): void {
    const timer = this.#stalled.get(id)
    if (timer === undefined) return
    clearTimeout(timer)
    this.#stalled.delete(id)
    if (this.#stalled.size === 0) this.#duplex.resume()
  }

  /** @throws {MeshError} TOO_LARGE, of a call or message only */
  #send(frame: NodeFrame): void {
    if (this.#lost !== undefined) return
    const text = JSON.stringify(frame)
    if (text.length > limits.MAX_FRAME_BYTES / 3 && Buffer.byteLength(text) > limits.MAX_FRAME_BYTES)
      throw new MeshError('TOO_LARGE', `what is for the agent has more than ${limits.MAX_FRAME_BYTES} bytes`)
    this.#duplex.send(text)
  }

  /** The agent doesn't keep to the protocol: nothing it says from now on can be relied on. */
  #break(reason: string): void {
    void this.#duplex.close(1002, clip(reason).slice(0, 100)).catch(() => {}) // It is over for us either way.
    this.#over(reason)
  }

  #over(reason: string): void {
    if (this.#lost !== undefined) return
    this.#lost = reason
    const wasUp = this.#description !== undefined
    this.#hello.reject(new MeshError('AGENT_UNAVAILABLE', `the agent did not say hello: ${reason}`))
    for (const id of this.#pending.keys())
      this.#take(id)?.reject(
        new MeshError('CONNECTION_LOST', 'the connection to the agent broke before it had answered')
      )
    if (wasUp && !this.#isClosing) this.#init.onLost(reason)
  }
}

type Frame<T extends AgentFrame['type']> = Extract<AgentFrame, { type: T }>

function callerInfo({ peer, trust, alias, owner }: Asking): Extract<NodeFrame, { type: 'call' }>['caller'] {
  return { peer, trust, ...(alias === undefined ? {} : { alias }), ...(owner === undefined ? {} : { owner }) }
}

// What an agent may say of itself; any other code would be the node's word.
const AGENT_CODES: ReadonlySet<string> = new Set<ErrorCode>(['INVALID_INPUT', 'BUSY', 'AGENT_UNAVAILABLE', 'NOT_FOUND'])

function agentFailure({ code, message, data }: AgentFailure): MeshError {
  const text = clip(message) || 'the agent failed'
  const isOurs = AGENT_CODES.has(code)
  return new MeshError(isOurs ? (code as ErrorCode) : 'AGENT_ERROR', text, {
    // As AGENT_CODES has it.
    data: isOurs || code === 'AGENT_ERROR' ? data : { code, ...(data === undefined ? {} : { data }) }
  })
}

function whereOf({ issues }: { issues: readonly { path: readonly PropertyKey[]; message: string }[] }): string {
  const [first] = issues
  return first === undefined ? 'unknown' : `${first.path.map(String).join('.')}: ${first.message}`.replace(/^: /, '')
}
