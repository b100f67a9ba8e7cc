import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { MeshError } from '../errors.ts'
import {
  CLOSE_TIMEOUT_MS,
  MAX_BATCH_BYTES,
  MAX_WRITE_QUEUE_BYTES,
  WRITE_HIGH_WATER_BYTES,
  WRITE_LOW_WATER_BYTES
} from './constants.ts'
import { encodeBatch, FrameDecoder, MAX_PREFIX_BYTES } from './frames.ts'

export interface FrameStreamInit {
  /** Largest frame either way, bytes of JSON. */
  readonly maxFrameBytes: number
  /** Called with the payload of each frame, in order; it must not throw. Never called from within the constructor or after `onClose`. */
  onFrame(payload: Buffer): void
  /**
   * Called once, when nothing more will be read or written, whoever ended it.
   *
   * @param error unset after an orderly end; INVALID_MESSAGE or TOO_LARGE when the peer broke the framing, else CONNECTION_LOST or what {@link FrameStream.abort} got
   */
  onClose(error?: MeshError): void
  /** Called when {@link FrameStream.isFull} turns false again. */
  onRoom?(): void
}

/**
 * Frames over one libp2p stream. The only place that reads or writes streams.
 *
 * Events only: iterating a stream hangs on an early half-close and never pauses, `onDrain` resolves too early the second time.
 * When either side closes its end, or aborts, the whole is over.
 */
export class FrameStream {
  readonly #stream: Stream
  readonly #init: FrameStreamInit
  readonly #decoder: FrameDecoder
  /** Frames not encoded yet. */
  #queue: string[] = []
  /** Encoded, from `#sentBytes` on not taken by the stream yet. */
  #batch: Buffer | undefined
  #sentBytes = 0
  /** About: characters and the largest prefix in the queue, bytes of the batch. */
  #queuedBytes = 0
  #isFull = false
  /** The stream asked to wait for `drain`. */
  #isBlocked = false
  #isPaused = false
  #isReading = false
  #remoteEnded = false
  #isClosed = false
  #flushScheduled = false
  #framesThisTurn = 0
  /** Whether frames shared the last turn that had any. */
  #isBusy = false

  constructor(stream: Stream, init: FrameStreamInit) {
    this.#stream = stream
    this.#init = init
    this.#decoder = new FrameDecoder(init)
    stream.addEventListener('message', this.#onMessage)
    stream.addEventListener('drain', this.#onDrain)
    stream.addEventListener('end', this.#onEnd)
    stream.addEventListener('close', this.#onStreamClose)
    // It may be over already, also right after `newStream`; then no event will come.
    queueMicrotask(() => {
      if (stream.status !== 'open') this.#finish(stream.status === 'closed' ? undefined : lost())
      else if (stream.readableEnded) this.#onEnd()
    })
  }

  /** Bytes waiting to be taken by the stream, about. */
  get queuedBytes(): number {
    return this.#queuedBytes
  }

  /** True when the peer reads too slowly: don't send more than must be until `onRoom`. */
  get isFull(): boolean {
    return this.#isFull
  }

  /**
   * Queues one frame; those of a turn leave together. After the end it does nothing.
   *
   * Past MAX_WRITE_QUEUE_BYTES the stream is aborted.
   *
   * @throws {MeshError} TOO_LARGE when it is over the limit; nothing is sent then
   */
  send(json: string): void {
    const { maxFrameBytes } = this.#init
    // three bytes of UTF-8 at most per UTF-16 unit: the exact size only when it may matter
    if (json.length * 3 > maxFrameBytes && Buffer.byteLength(json) > maxFrameBytes) {
      throw new MeshError('TOO_LARGE', `a message is over the limit of ${maxFrameBytes} bytes`)
    }
    if (this.#isClosed) return
    this.#queue.push(json)
    this.#framesThisTurn += 1
    this.#queuedBytes += json.length + MAX_PREFIX_BYTES
    if (!this.#flushScheduled) this.#scheduleFlush()
    if (this.#queuedBytes >= MAX_BATCH_BYTES) this.#sendMany()
  }

  /** Stops `onFrame`, and soon the peer's sending, until {@link resume}. */
  pause(): void {
    if (this.#isPaused || this.#isClosed) return
    this.#isPaused = true
    if (isReadable(this.#stream)) this.#stream.pause()
  }

  resume(): void {
    if (!this.#isPaused || this.#isClosed) return
    this.#isPaused = false
    if (isReadable(this.#stream)) this.#stream.resume()
    this.#read()
  }

  /** Sends what is queued and ends the stream; resets it if the peer doesn't end its side in time. */
  close(): void {
    if (this.#isClosed) return
    while (this.#queuedBytes > 0 && !this.#isClosed) {
      this.#isBlocked = false
      this.#flush(1)
    }
    const stream = this.#stream
    this.#finish()
    if (stream.status !== 'open') return
    const timer = setTimeout(() => stream.abort(new Error('not closed in time')), CLOSE_TIMEOUT_MS).unref()
    stream.addEventListener('close', () => clearTimeout(timer), { once: true })
    stream.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) }).catch((err: unknown) => {
      stream.abort(err instanceof Error ? err : new Error('close failed'))
    })
  }

  /** Ends the stream at once, both ways; the peer sees a reset. */
  abort(error: MeshError): void {
    if (this.#isClosed) return
    const stream = this.#stream
    this.#finish(error)
    stream.abort(error)
  }

  // --- reading

  readonly #onMessage = (event: StreamMessageEvent): void => {
    this.#decoder.push(event.data)
    this.#read()
  }

  readonly #onEnd = (): void => {
    const { status } = this.#stream
    // After a reset it comes just before `close`, which knows more.
    if (status === 'reset' || status === 'aborted') return
    this.#remoteEnded = true
    this.#read()
  }

  #read(): void {
    // onFrame may resume, and resume reads
    if (this.#isReading) return
    this.#isReading = true
    try {
      while (!this.#isPaused && !this.#isClosed) {
        const payload = this.#decoder.next()
        if (payload === undefined) break
        this.#init.onFrame(payload)
      }
      if (this.#remoteEnded && !this.#isPaused) this.close()
    } catch (err) {
      this.abort(MeshError.from(err))
    } finally {
      this.#isReading = false
    }
  }

  // --- writing

  #scheduleFlush(): void {
    this.#flushScheduled = true
    // While frames come one at a time, at the end of this tick; once they share turns, at the end of the turn.
    if (this.#isBusy) setImmediate(this.#onFlush)
    else process.nextTick(this.#onFlush)
  }

  readonly #onFlush = (): void => {
    this.#flushScheduled = false
    this.#isBusy = this.#framesThisTurn > 1
    this.#framesThisTurn = 0
    this.#flush(1)
  }

  /** Whole batches needn't wait for the end of the turn. */
  #sendMany(): void {
    this.#flush(MAX_BATCH_BYTES)
    if (this.#queuedBytes > MAX_WRITE_QUEUE_BYTES) {
      this.abort(new MeshError('CONNECTION_LOST', 'the peer does not read what it is sent'))
    } else if (this.#queuedBytes > WRITE_HIGH_WATER_BYTES) {
      this.#isFull = true
    }
  }

  readonly #onDrain = (): void => {
    this.#isBlocked = false
    this.#flush(1)
  }

  /** Writes until fewer than `atLeast` bytes are queued, or the stream asks to wait. */
  #flush(atLeast: number): void {
    try {
      while (this.#queuedBytes >= atLeast && !this.#isBlocked && !this.#isClosed) {
        const batch = this.#nextBatch()
        if (batch === undefined) break
        const piece = batch.subarray(this.#sentBytes, this.#sentBytes + MAX_BATCH_BYTES)
        this.#sentBytes += piece.length
        this.#queuedBytes -= piece.length
        this.#isBlocked = !this.#stream.send(piece)
      }
    } catch (err) {
      this.abort(lost(err))
    }
    if (this.#isFull && !this.#isClosed && this.#queuedBytes < WRITE_LOW_WATER_BYTES) {
      this.#isFull = false
      this.#init.onRoom?.()
    }
  }

  #nextBatch(): Buffer | undefined {
    if (this.#batch !== undefined && this.#sentBytes < this.#batch.length) return this.#batch
    this.#batch = undefined
    if (this.#queue.length === 0) return undefined
    const jsons = this.#takeBatch()
    const batch = encodeBatch(jsons)
    for (const json of jsons) this.#queuedBytes -= json.length + MAX_PREFIX_BYTES
    this.#queuedBytes += batch.length
    this.#batch = batch
    this.#sentBytes = 0
    return batch
  }

  #takeBatch(): string[] {
    let chars = 0
    let count = 0
    for (const json of this.#queue) {
      chars += json.length + MAX_PREFIX_BYTES
      if (count > 0 && chars > MAX_BATCH_BYTES) break
      count += 1
    }
    if (count === this.#queue.length) {
      const all = this.#queue
      this.#queue = []
      return all
    }
    return this.#queue.splice(0, count)
  }

  // --- the end

  readonly #onStreamClose = (event: StreamCloseEvent): void => {
    this.#finish(event.error === undefined ? undefined : lost(event.error))
  }

  #finish(error?: MeshError): void {
    if (this.#isClosed) return
    this.#isClosed = true
    const stream = this.#stream
    stream.removeEventListener('message', this.#onMessage)
    stream.removeEventListener('drain', this.#onDrain)
    stream.removeEventListener('end', this.#onEnd)
    stream.removeEventListener('close', this.#onStreamClose)
    this.#queue = []
    this.#batch = undefined
    this.#queuedBytes = 0
    if (error === undefined) this.#init.onClose()
    else this.#init.onClose(error)
  }
}

function isReadable(stream: Stream): boolean {
  return stream.readStatus === 'readable' || stream.readStatus === 'paused'
}

function lost(cause?: unknown): MeshError {
  return new MeshError('CONNECTION_LOST', 'the connection was lost', cause === undefined ? {} : { cause })
}
