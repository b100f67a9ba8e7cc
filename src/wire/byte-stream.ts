import type { Stream, StreamCloseEvent, StreamMessageEvent } from '@libp2p/interface'
import { abortError, MeshError } from '../errors.ts'
import { CLOSE_TIMEOUT_MS, MAX_BATCH_BYTES, MAX_UNREAD_BYTES } from './constants.ts'
import { encodeFrame, FrameDecoder } from './frames.ts'

export interface ByteStreamInit {
  /** Largest frame taken, bytes of JSON. */
  readonly maxFrameBytes: number
  /** The stream is reset when nothing moves for so long. */
  readonly idleMs: number
}

/**
 * A stream that begins with frames and goes on with bytes: one frame each way, then a body. By events, as FrameStream.
 *
 * Whoever opens it ends it: with {@link close} or {@link abort}.
 */
export class ByteStream {
  readonly #stream: Stream
  readonly #decoder: FrameDecoder
  readonly #idle: NodeJS.Timeout
  #chunks: Uint8Array[] = []
  #chunkBytes = 0
  #isBody = false
  #hasSent = false
  #hasEnded = false
  #isClosed = false
  #error: MeshError | undefined
  #wake = (): void => {}

  constructor(stream: Stream, init: ByteStreamInit) {
    this.#stream = stream
    this.#decoder = new FrameDecoder(init)
    stream.addEventListener('message', this.#onMessage)
    stream.addEventListener('drain', this.#onChange)
    stream.addEventListener('end', this.#onEnd)
    stream.addEventListener('close', this.#onClose)
    const late = (): void => this.abort(new MeshError('TIMEOUT', `nothing moved for ${init.idleMs / 1_000} s`))
    this.#idle = setTimeout(late, init.idleMs).unref()
    queueMicrotask(() => {
      if (stream.status !== 'open') this.#fail(lost())
      else if (stream.readableEnded) this.#onEnd()
    })
  }

  /** Something was sent. */
  get hasSent(): boolean {
    return this.#hasSent
  }

  /** Sends one frame. @throws {MeshError} CONNECTION_LOST, TIMEOUT */
  sendFrame(value: unknown): void {
    this.#send(encodeFrame(JSON.stringify(value)))
  }

  /** The payload of the next frame; to be called before {@link body}. @throws {MeshError} CONNECTION_LOST, TIMEOUT, TOO_LARGE, INVALID_MESSAGE, CANCELLED */
  async frame({ signal }: { signal: AbortSignal }): Promise<Buffer> {
    for (;;) {
      const payload = this.#decoder.next()
      if (payload !== undefined) return payload
      if (this.#hasEnded) throw lost()
      await this.#changed(signal)
    }
  }

  /** Sends bytes; resolves when there is room for more. They must not be changed before a few MiB more were sent. @throws {MeshError} CONNECTION_LOST, TIMEOUT, CANCELLED */
  async send(bytes: Uint8Array, { signal }: { signal: AbortSignal }): Promise<void> {
    for (let at = 0; at < bytes.length; at += MAX_BATCH_BYTES) {
      if (this.#send(bytes.subarray(at, at + MAX_BATCH_BYTES))) continue
      while (this.#stream.writableNeedsDrain) {
        if (this.#isClosed) throw lost()
        await this.#changed(signal)
      }
    }
  }

  /** What comes after the frames, until the other side ends it; a reader that waits makes the sender wait. @throws {MeshError} CONNECTION_LOST, TIMEOUT, CANCELLED */
  async *body({ signal }: { signal: AbortSignal }): AsyncGenerator<readonly Uint8Array[]> {
    this.#isBody = true
    this.#chunks.push(...this.#decoder.takeRest())
    for (;;) {
      const chunks = this.#chunks
      this.#chunks = []
      if (chunks.length > 0) {
        this.#chunkBytes = 0
        if (this.#stream.readStatus === 'paused') this.#stream.resume()
        yield chunks
      } else if (this.#hasEnded) {
        return
      } else {
        await this.#changed(signal)
      }
    }
  }

  /** Ends it in order, once what was sent is on its way. */
  async close(): Promise<void> {
    clearTimeout(this.#idle)
    try {
      await this.#stream.close({ signal: AbortSignal.timeout(CLOSE_TIMEOUT_MS) })
    } catch (err) {
      this.abort(lost(err))
    }
  }

  abort(error: MeshError): void {
    this.#fail(error)
    this.#stream.abort(error)
  }

  #send(bytes: Uint8Array): boolean {
    if (this.#error !== undefined) throw this.#error
    this.#hasSent = true
    try {
      this.#idle.refresh()
      return this.#stream.send(bytes)
    } catch (err) {
      throw lost(err)
    }
  }

  /** Resolves when something happened. */
  async #changed(signal: AbortSignal): Promise<void> {
    this.#check(signal)
    await new Promise<void>((resolve) => {
      this.#wake = resolve
      signal.addEventListener('abort', this.#onChange, { once: true })
    })
    signal.removeEventListener('abort', this.#onChange)
    this.#check(signal)
  }

  #check(signal: AbortSignal): void {
    if (this.#error !== undefined) throw this.#error
    if (signal.aborted) throw abortError(signal)
  }

  #fail(error: MeshError): void {
    clearTimeout(this.#idle)
    this.#error ??= error
    this.#wake()
  }

  readonly #onChange = (): void => {
    this.#idle.refresh()
    this.#wake()
  }

  readonly #onMessage = ({ data }: StreamMessageEvent): void => {
    if (!this.#isBody) this.#decoder.push(data)
    else if (data instanceof Uint8Array) this.#chunks.push(data)
    else this.#chunks.push(...data)
    this.#chunkBytes += data.byteLength
    if (this.#chunkBytes > MAX_UNREAD_BYTES && this.#stream.readStatus === 'readable') this.#stream.pause()
    this.#onChange()
  }

  readonly #onEnd = (): void => {
    const { status } = this.#stream
    // After a reset it comes just before `close`, which knows more
    if (status === 'reset' || status === 'aborted') return
    this.#hasEnded = true
    this.#wake()
  }

  readonly #onClose = ({ error }: StreamCloseEvent): void => {
    clearTimeout(this.#idle)
    this.#isClosed = true
    // After an orderly end what came is still read; a lost connection may look like one to who writes
    if (error === undefined && this.#hasEnded) this.#wake()
    else this.#fail(lost(error))
  }
}

function lost(cause?: unknown): MeshError {
  return new MeshError('CONNECTION_LOST', 'the connection was lost', cause === undefined ? {} : { cause })
}
