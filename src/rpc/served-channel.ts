import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Stream } from '@libp2p/interface'
import type { Session } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { FrameStream } from '../wire/index.ts'
import { BURST_BYTES, INITIAL_CREDIT_BYTES } from './constants.ts'
import { createDeadlines, type Deadlines } from './deadlines.ts'
import { EncodedItem, encodeItem, toJson } from './encoded-item.ts'
import type { Endpoint } from './index.ts'
import { type Frame, idOfBrokenFrame, type RequestFrame, readFrame } from './messages.ts'
import { discard, isAsyncIterable, isPromise, RunningRequest, takerOf } from './running-request.ts'

/** What a peer has running at one endpoint, over all its channels. */
export interface Load {
  /** Handlers that haven't settled, also those whose request was cancelled: else cancelling would be a way around the limit. */
  handlers: number
  /** Called when a handler has settled. */
  release(): void
}

export interface ServedChannelComponents {
  readonly endpoint: Endpoint
  readonly session: Session
  readonly load: Load
  readonly now: () => number
  readonly onViolation: (peer: string, reason: string) => void
  readonly onDefect: (error: unknown, protocol: string) => void
  readonly onClose: (channel: ServedChannel) => void
}

interface Held {
  readonly request: RunningRequest
  readonly result: unknown
}

/** The answering side of a channel. */
export class ServedChannel {
  readonly #components: ServedChannelComponents
  readonly #frames: FrameStream
  readonly #deadlines: Deadlines
  readonly #running = new Map<number, RunningRequest>()
  /** Results that wait until the peer reads. */
  #held: Held[] = []
  #lastId = 0
  #isClosed = false

  constructor(stream: Stream, components: ServedChannelComponents) {
    this.#components = components
    this.#deadlines = createDeadlines({
      now: components.now,
      entries: () => this.#running.values(),
      onDue: (request) => this.#stop(request, new MeshError('TIMEOUT', 'the deadline passed'))
    })
    this.#frames = new FrameStream(stream, {
      maxFrameBytes: components.endpoint.protocol.maxFrameBytes,
      onFrame: (payload) => this.#onFrame(payload),
      onClose: (error) => this.#onClose(error),
      onRoom: () => this.#onRoom()
    })
  }

  /** Stops what is running and ends the stream. */
  close(): void {
    this.#frames.close()
  }

  abort(error: MeshError): void {
    this.#frames.abort(error)
  }

  #onFrame(payload: Buffer): void {
    let frame: Frame
    try {
      frame = readFrame(payload)
    } catch (err) {
      this.#refuse(payload, MeshError.from(err))
      return
    }
    switch (frame.t) {
      case 'request':
        this.#start(frame)
        break
      case 'cancel':
        this.#stop(this.#running.get(frame.id), new MeshError('CANCELLED', 'cancelled'))
        break
      case 'credit':
        this.#grant(this.#running.get(frame.id), frame.bytes)
        break
      case 'ping':
        this.#frames.send(`{"t":"pong","id":${frame.id}}`)
        break
      case 'pong':
        break
      case 'item':
      case 'end':
      case 'error':
        this.#violate(`a frame that only answers may have: ${frame.t}`)
    }
    // Who doesn't read what it is sent isn't served meanwhile.
    if (this.#frames.isFull) this.#frames.pause()
  }

  /** A frame that can't be read fails its request, if it names one, and otherwise the channel. */
  #refuse(payload: Buffer, error: MeshError): void {
    const id = idOfBrokenFrame(payload)
    if (id === undefined) {
      this.#violate(error.message)
      return
    }
    const running = this.#running.get(id)
    if (running !== undefined) {
      this.#stop(running, error)
    } else if (id > this.#lastId) {
      this.#lastId = id
      this.#sendError(id, error)
    }
  }

  #violate(reason: string): void {
    this.#components.onViolation(this.#components.session.caller.peer, reason)
    this.abort(new MeshError('INVALID_MESSAGE', reason))
  }

  #start(frame: RequestFrame): void {
    const { endpoint, session, load } = this.#components
    const { id } = frame
    if (id <= this.#lastId) {
      this.#violate('a request with a used id')
      return
    }
    this.#lastId = id
    if (load.handlers >= endpoint.protocol.maxInFlight) {
      this.#sendError(id, new MeshError('BUSY', `${endpoint.protocol.maxInFlight} requests are running already`))
      return
    }
    const request = new RunningRequest(id, session, frame.credit ?? INITIAL_CREDIT_BYTES)
    let result: unknown
    try {
      result = endpoint.handle(frame.body, request)
    } catch (err) {
      this.#fail(request, err)
      return
    }
    if (isPromise(result)) {
      this.#keep(request, frame.timeoutMs)
      result.then(
        (value) => this.#settle(request, value),
        (err: unknown) => {
          this.#release()
          this.#fail(request, err)
        }
      )
    } else if (isAsyncIterable(result) || this.#frames.isFull) {
      this.#keep(request, frame.timeoutMs)
      this.#settle(request, result)
    } else {
      this.#end(request, result)
    }
  }

  /** From here on it can be cancelled, and is timed. Answers that are there at once do without. */
  #keep(request: RunningRequest, timeoutMs: number | undefined): void {
    const { endpoint, load, now } = this.#components
    load.handlers += 1
    request.deadline = now() + (timeoutMs ?? endpoint.protocol.timeoutMs)
    this.#running.set(request.id, request)
    this.#deadlines.add(request.deadline)
  }

  #release(): void {
    const { load } = this.#components
    load.handlers -= 1
    load.release()
  }

  #settle(request: RunningRequest, result: unknown): void {
    if (isAsyncIterable(result)) {
      void this.#pump(request, result)
      return
    }
    if (this.#frames.isFull && !request.isStopped) {
      this.#held.push({ request, result })
      return
    }
    this.#release()
    this.#end(request, result)
  }

  /** Sends items as credit and the stream allow. Never rejects. */
  async #pump(request: RunningRequest, items: AsyncIterable<unknown>): Promise<void> {
    let iterator: AsyncIterator<unknown> | undefined
    let count = 0
    let burstBytes = 0
    try {
      iterator = items[Symbol.asyncIterator]()
      request.iterator = iterator
      const take = takerOf(iterator)
      while (!request.isStopped) {
        if (request.credit <= 0 || this.#frames.isFull) {
          await request.turn()
          continue
        }
        const { done, value } = take?.() ?? (await iterator.next())
        if (request.isStopped) break
        if (done === true) {
          this.#running.delete(request.id)
          this.#frames.send(`{"t":"end","id":${request.id},"items":${count}}`)
          return
        }
        burstBytes += this.#sendItem(request, value)
        count += 1
        if (burstBytes >= BURST_BYTES) {
          burstBytes = 0
          await nextTurn()
        }
      }
      discard(iterator)
    } catch (err) {
      if (iterator !== undefined) discard(iterator)
      this.#fail(request, err)
    } finally {
      this.#release()
    }
  }

  /** @returns the bytes that it cost */
  #sendItem(request: RunningRequest, value: unknown): number {
    const { json } = value instanceof EncodedItem ? value : encodeItem(value)
    const frame = `{"t":"item","id":${request.id},"body":${json}}`
    this.#frames.send(frame)
    const bytes = Buffer.byteLength(frame)
    request.credit -= bytes
    return bytes
  }

  #end(request: RunningRequest, result: unknown): void {
    if (request.isStopped) return
    const { id } = request
    try {
      const body = toJson(result)
      this.#frames.send(body === undefined ? `{"t":"end","id":${id}}` : `{"t":"end","id":${id},"body":${body}}`)
      this.#running.delete(id)
    } catch (err) {
      this.#fail(request, err)
    }
  }

  #fail(request: RunningRequest, err: unknown): void {
    if (request.isStopped) return
    this.#running.delete(request.id)
    const error = MeshError.from(err)
    if (error.code === 'INTERNAL') this.#components.onDefect(err, this.#components.endpoint.protocol.id)
    this.#sendError(request.id, error)
  }

  #stop(request: RunningRequest | undefined, reason: MeshError): void {
    if (request === undefined) return
    this.#running.delete(request.id)
    request.stop(reason)
    this.#sendError(request.id, reason)
  }

  #sendError(id: number, error: MeshError): void {
    try {
      this.#frames.send(`{"t":"error","id":${id},"error":${JSON.stringify(error)}}`)
    } catch {
      // Its data is too large or has no JSON form; the code and the beginning of the message always fit.
      const short = new MeshError(error.code, error.message.slice(0, 1_000))
      this.#frames.send(`{"t":"error","id":${id},"error":${JSON.stringify(short)}}`)
    }
  }

  #grant(request: RunningRequest | undefined, bytes: number): void {
    if (request === undefined) return
    request.credit += bytes
    request.wake()
  }

  #onRoom(): void {
    const held = this.#held
    this.#held = []
    for (const { request, result } of held) this.#settle(request, result)
    for (const request of this.#running.values()) request.wake()
    if (!this.#frames.isFull) this.#frames.resume()
  }

  #onClose(error: MeshError | undefined): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#deadlines.stop()
    const reason = error ?? new MeshError('CONNECTION_LOST', 'the channel was closed')
    for (const request of this.#running.values()) request.stop(reason)
    this.#running.clear()
    const held = this.#held
    this.#held = []
    for (const { request, result } of held) this.#settle(request, result)
    this.#components.onClose(this)
  }
}
