import type { Connection, Stream } from '@libp2p/interface'
import { abortError, MeshError } from '../errors.ts'
import { FrameStream } from '../wire/index.ts'
import {
  CREDIT_STEP_BYTES,
  HEARTBEAT_MS,
  INITIAL_CREDIT_BYTES,
  MAX_IDLE_BEATS,
  MAX_SILENT_BEATS,
  OPEN_TIMEOUT_MS
} from './constants.ts'
import { checkTimeout, createDeadlines, type Deadlines } from './deadlines.ts'
import type { Protocol, RequestOptions } from './index.ts'
import { type ErrorFrame, type Frame, idOfBrokenFrame, readFrame } from './messages.ts'

/** What becomes of a request's answer. One of `end` and `fail` is called, once, and nothing after it. */
export interface Reply {
  /** @param bytes to be given to {@link AskedRequest.consumed} when the item has been read */
  item(body: unknown, bytes: number, request: AskedRequest): void
  /** @param frame the `end`: `body` for a plain result, `items` for a streamed one */
  end(frame: Frame & { t: 'end' }): void
  /** @param isRefused the peer said so */
  fail(error: MeshError, isRefused?: boolean): void
}

/** A request under way, as its asker sees it. */
export interface AskedRequest {
  /** So many bytes of items have been read: the other side may send more. */
  consumed(bytes: number): void
  /** Gives it up; the reply fails with `reason`. Does nothing once it is over. */
  cancel(reason: MeshError): void
}

export interface ChannelComponents {
  readonly protocol: Protocol
  readonly open: (signal: AbortSignal) => Promise<{ stream: Stream; connection: Connection }>
  readonly now: () => number
  /** The next request needs a new channel. */
  readonly onClose: (channel: Channel) => void
}

/** The asking side of a channel. Requests may be made before it is open. */
export class Channel {
  readonly #components: ChannelComponents
  readonly #opening = new AbortController()
  readonly #pending = new Map<number, Pending>()
  readonly #deadlines: Deadlines
  /** Requests that wait for the stream: to be opened, or to have room. */
  #waiting: Pending[] = []
  #frames: FrameStream | undefined
  #connection: Connection | undefined
  #heartbeat: NodeJS.Timeout | undefined
  #lastId = 0
  #lastPing = 0
  #heard = false
  #silentBeats = 0
  #idleBeats = 0
  #isClosed = false

  constructor(components: ChannelComponents) {
    this.#components = components
    this.#deadlines = createDeadlines({
      now: components.now,
      entries: () => this.#pending.values(),
      onDue: (pending) => pending.cancel(new MeshError('TIMEOUT', 'the deadline passed'))
    })
    void this.#open()
  }

  /**
   * Sends a request as soon as the channel can.
   *
   * @throws {MeshError} INVALID_ARGUMENT, TOO_LARGE, BUSY, CANCELLED, TIMEOUT; `reply` hears nothing then
   */
  ask(body: unknown, options: RequestOptions, reply: Reply): AskedRequest {
    const { protocol, now } = this.#components
    const { signal } = options
    if (signal?.aborted === true) throw abortError(signal)
    if (this.#pending.size >= protocol.maxInFlight) {
      throw new MeshError('BUSY', `${protocol.maxInFlight} requests to this peer are running already`)
    }
    const timeoutMs = checkTimeout(options.timeoutMs ?? protocol.timeoutMs)
    const id = ++this.#lastId
    const frame = requestFrame(id, timeoutMs === protocol.timeoutMs ? undefined : timeoutMs, body)
    const pending = new Pending(this, id, now() + timeoutMs, reply)
    if (this.#frames === undefined || this.#frames.isFull) {
      pending.frame = frame
      this.#waiting.push(pending)
    } else {
      this.#frames.send(frame)
    }
    this.#pending.set(id, pending)
    this.#deadlines.add(pending.deadline)
    if (signal !== undefined) pending.listen(signal)
    return pending
  }

  /** Fails what is pending and ends the stream. */
  close(reason: MeshError): void {
    this.#fail(reason)
    this.#opening.abort(reason)
    this.#frames?.close()
  }

  /** For {@link Pending}: tells the other side, if it knows of the request, and forgets it. */
  drop(pending: Pending): void {
    this.#pending.delete(pending.id)
    if (pending.frame === undefined) this.#frames?.send(`{"t":"cancel","id":${pending.id}}`)
  }

  /** For {@link Pending}. */
  grant(id: number, bytes: number): void {
    this.#frames?.send(`{"t":"credit","id":${id},"bytes":${bytes}}`)
  }

  async #open(): Promise<void> {
    const timer = setTimeout(
      () => this.#opening.abort(new MeshError('TIMEOUT', 'the peer did not answer in time')),
      OPEN_TIMEOUT_MS
    ).unref()
    try {
      const { stream, connection } = await this.#components.open(this.#opening.signal)
      if (this.#isClosed) {
        stream.abort(new Error('not wanted any more'))
        return
      }
      this.#connection = connection
      this.#frames = new FrameStream(stream, {
        maxFrameBytes: this.#components.protocol.maxFrameBytes,
        onFrame: (payload) => this.#onFrame(payload),
        onClose: (error) => this.#fail(error ?? new MeshError('CONNECTION_LOST', 'the peer closed the channel')),
        onRoom: () => this.#sendWaiting()
      })
      this.#heartbeat = setInterval(() => this.#beat(), HEARTBEAT_MS).unref()
      this.#sendWaiting()
    } catch (err) {
      this.#fail(notOpened(err))
    } finally {
      clearTimeout(timer)
    }
  }

  #sendWaiting(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const pending of waiting) {
      if (!this.#pending.has(pending.id) || pending.frame === undefined) continue
      if (this.#frames === undefined || this.#frames.isFull) {
        this.#waiting.push(pending)
        continue
      }
      const { frame } = pending
      pending.frame = undefined
      try {
        this.#frames.send(frame)
      } catch (err) {
        this.#settle(pending)
        pending.reply.fail(MeshError.from(err))
      }
    }
  }

  #onFrame(payload: Buffer): void {
    this.#heard = true
    let frame: Frame
    try {
      frame = readFrame(payload)
    } catch (err) {
      this.#refuse(payload, MeshError.from(err))
      return
    }
    if (frame.t === 'pong') return
    if (frame.t === 'ping') {
      this.#frames?.send(`{"t":"pong","id":${frame.id}}`)
      return
    }
    const pending = this.#pending.get(frame.id)
    if (pending === undefined) return
    switch (frame.t) {
      case 'end':
        this.#settle(pending)
        pending.reply.end(frame)
        break
      case 'item':
        if (pending.spend(payload.length)) pending.reply.item(frame.body, payload.length, pending)
        else this.#refuse(undefined, new MeshError('INVALID_MESSAGE', 'the peer sent items without credit'))
        break
      case 'error':
        this.#settle(pending)
        pending.reply.fail(toldBy(frame.error), true)
        break
      case 'request':
      case 'cancel':
      case 'credit':
        this.#refuse(undefined, new MeshError('INVALID_MESSAGE', `the peer answered with a ${frame.t}`))
    }
  }

  /** A frame that can't be read fails its request, if it names one, and otherwise the channel. */
  #refuse(payload: Buffer | undefined, error: MeshError): void {
    const id = payload === undefined ? undefined : idOfBrokenFrame(payload)
    if (id === undefined) this.#frames?.abort(error)
    else this.#pending.get(id)?.cancel(error)
  }

  #settle(pending: Pending): void {
    this.#pending.delete(pending.id)
    pending.finish()
  }

  /** A peer that is gone without a word is noticed here: libp2p doesn't (ARCHITECTURE §8). */
  #beat(): void {
    const heard = this.#heard
    this.#heard = false
    if (this.#pending.size === 0) {
      this.#idleBeats = heard ? 0 : this.#idleBeats + 1
      this.#silentBeats = 0
      if (this.#idleBeats >= MAX_IDLE_BEATS) this.close(new MeshError('CANCELLED', 'the channel was idle'))
      return
    }
    this.#idleBeats = 0
    this.#silentBeats = heard ? 0 : this.#silentBeats + 1
    if (this.#silentBeats > MAX_SILENT_BEATS) {
      const error = new MeshError('CONNECTION_LOST', 'the peer has fallen silent')
      this.#frames?.abort(error)
      // A new stream on the same connection would wait in vain.
      this.#connection?.abort(error)
    } else if (this.#silentBeats > 0) {
      this.#lastPing += 1
      this.#frames?.send(`{"t":"ping","id":${this.#lastPing}}`)
    }
  }

  #fail(error: MeshError): void {
    if (this.#isClosed) return
    this.#isClosed = true
    clearInterval(this.#heartbeat)
    this.#deadlines.stop()
    this.#components.onClose(this)
    this.#waiting = []
    for (const pending of this.#pending.values()) {
      this.#settle(pending)
      pending.reply.fail(error)
    }
  }
}

class Pending implements AskedRequest {
  readonly id: number
  readonly deadline: number
  readonly reply: Reply
  /** Unset once it is sent. */
  frame: string | undefined
  readonly #channel: Channel
  /** What the other side may still send; it may overdraw by one item. */
  #credit = INITIAL_CREDIT_BYTES
  #consumedBytes = 0
  #isOver = false
  #signal: AbortSignal | undefined
  #onAbort: (() => void) | undefined

  constructor(channel: Channel, id: number, deadline: number, reply: Reply) {
    this.#channel = channel
    this.id = id
    this.deadline = deadline
    this.reply = reply
  }

  listen(signal: AbortSignal): void {
    this.#signal = signal
    this.#onAbort = () => this.cancel(abortError(signal))
    signal.addEventListener('abort', this.#onAbort, { once: true })
  }

  finish(): void {
    this.#isOver = true
    if (this.#onAbort !== undefined) this.#signal?.removeEventListener('abort', this.#onAbort)
  }

  /** @returns false when there was no credit left */
  spend(bytes: number): boolean {
    if (this.#credit <= 0) return false
    this.#credit -= bytes
    return true
  }

  consumed(bytes: number): void {
    if (this.#isOver) return
    this.#consumedBytes += bytes
    if (this.#consumedBytes < CREDIT_STEP_BYTES) return
    this.#credit += this.#consumedBytes
    this.#channel.grant(this.id, this.#consumedBytes)
    this.#consumedBytes = 0
  }

  cancel(reason: MeshError): void {
    if (this.#isOver) return
    this.finish()
    this.#channel.drop(this)
    this.reply.fail(reason)
  }
}

/** A peer's advice on what to do next is left out: this node would give it as its own. */
function toldBy({ code, message, data }: ErrorFrame['error']): MeshError {
  return MeshError.fromBody({ code, message, data })
}

/** @param timeoutMs unset for the protocol's own, which the other side knows */
function requestFrame(id: number, timeoutMs: number | undefined, body: unknown): string {
  let json: string | undefined
  try {
    json = JSON.stringify(body)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', 'the body has no JSON form: it has a cycle or a BigInt in it', {
      cause: err
    })
  }
  const start =
    timeoutMs === undefined ? `{"t":"request","id":${id}` : `{"t":"request","id":${id},"timeoutMs":${timeoutMs}`
  return json === undefined ? `${start}}` : `${start},"body":${json}}`
}

/** Nothing was sent, so whatever kept the channel from opening, the request may be made again. */
function notOpened(err: unknown): MeshError {
  const error = MeshError.from(err)
  if (error.code !== 'INTERNAL' && error.code !== 'TIMEOUT') return error
  return new MeshError('UNREACHABLE', 'the peer cannot be reached', { cause: err })
}
