import { WebSocket } from 'ws'
import { MeshError } from '../../errors.ts'
import { MAX_WS_KEPT_BYTES, WS_CONFIRM_BYTES, WS_CONFIRM_FRAMES, WS_HIGH_WATER_BYTES } from './constants.ts'
import type { EdgeFrame } from './frames.ts'

/** Bytes that all links together may keep. */
interface KeptBudget {
  left: number
}

export interface LinkInit {
  readonly budget: KeptBudget
  readonly maxWriteQueueBytes: number
  /** Too much waits to be written to this connection. */
  readonly onSlow: () => void
  /** Too much waits for a client that was cut off: there is nothing left that it could come back to. */
  readonly onOverflow: () => void
}

/**
 * The frames of a session: numbered in both directions, and kept until the other side confirms them, so that a session goes
 * on over another connection where the one before broke.
 *
 * @see protocols/ws/1.0.0/README.md#resume
 */
export class Link {
  readonly #init: LinkInit
  #socket: WebSocket | undefined
  /** Frames sent so far; the last `#kept.length` of them are kept. */
  #sent = 0
  #kept: string[] = []
  #keptBytes = 0
  /** Ends when too much is unconfirmed. */
  #isKeeping = true
  /** The client confirms: then that bounds what is under way, and not only what the system has taken. */
  #isConfirming = false
  #received = 0
  #toldFrames = 0
  #untoldBytes = 0
  readonly #pausing = new Set<object>()
  #waiting: (() => void)[] = []

  constructor(init: LinkInit) {
    this.#init = init
  }

  get received(): number {
    return this.#received
  }

  get isConnected(): boolean {
    return this.#socket !== undefined
  }

  /** A client that is cut off now may come back. */
  get canResume(): boolean {
    return this.#isKeeping
  }

  /** Of what was sent: waits to be written or, when the client confirms or is gone, to be confirmed. */
  get pendingBytes(): number {
    if (this.#socket === undefined) return this.#keptBytes
    return this.#isConfirming ? Math.max(this.#keptBytes, this.#socket.bufferedAmount) : this.#socket.bufferedAmount
  }

  get isCongested(): boolean {
    return this.pendingBytes > WS_HIGH_WATER_BYTES
  }

  /** Resolves when it may have become less. */
  turn(): Promise<void> {
    return new Promise((resolve) => {
      this.#waiting.push(resolve)
    })
  }

  /** Sends a numbered frame, now or when the client is back. */
  send(text: string): void {
    this.#sent += 1
    this.#keep(text)
    if (this.#socket !== undefined) this.#write(this.#socket, text)
  }

  /** Counts a numbered frame of the client. */
  took(bytes: number): void {
    this.#received += 1
    this.#untoldBytes += bytes
    if (this.#received - this.#toldFrames < WS_CONFIRM_FRAMES && this.#untoldBytes < WS_CONFIRM_BYTES) return
    this.#told()
    this.#tell({ type: 'received', frames: this.#received })
  }

  /** @param frames how many the client has received @throws {MeshError} INVALID_MESSAGE when that can't be */
  confirm(frames: number): void {
    const first = this.#sent - this.#kept.length
    if (frames > this.#sent) throw new MeshError('INVALID_MESSAGE', 'more frames are confirmed than were sent')
    this.#isConfirming = true
    if (frames <= first) return
    const done = this.#kept.splice(0, frames - first).reduce((bytes, text) => bytes + Buffer.byteLength(text), 0)
    this.#keptBytes -= done
    this.#init.budget.left += done
    this.#wake()
  }

  connect(socket: WebSocket): void {
    this.#socket = socket
    if (this.#pausing.size > 0) socket.pause()
  }

  /**
   * Goes on over another connection.
   *
   * @param received frames that the client has got
   * @throws {MeshError} STREAM_LOST when those after it are not kept
   */
  resume(socket: WebSocket, received: number): void {
    const first = this.#sent - this.#kept.length
    if (!this.#isKeeping || received < first || received > this.#sent)
      throw new MeshError('STREAM_LOST', 'what the client has missed is not kept any more', { hint: 'register again' })
    const wasConfirming = this.#isConfirming
    this.confirm(received)
    this.#isConfirming = wasConfirming
    this.connect(socket)
    this.#told()
    this.#tell({ type: 'resumed', received: this.#received })
    for (const text of this.#kept) this.#write(socket, text)
    this.#wake()
  }

  disconnect(): void {
    this.#socket = undefined
  }

  /** Gives back what it keeps; nothing is sent any more. */
  end(): void {
    this.#socket = undefined
    this.#forget()
    this.#wake()
  }

  /** Stops reading until nobody wants that any more. */
  pause(who: object): void {
    this.#pausing.add(who)
    this.#socket?.pause()
  }

  unpause(who: object): void {
    this.#pausing.delete(who)
    if (this.#pausing.size === 0) this.#socket?.resume()
  }

  #keep(text: string): void {
    if (!this.#isKeeping) return
    const bytes = Buffer.byteLength(text)
    this.#kept.push(text)
    this.#keptBytes += bytes
    this.#init.budget.left -= bytes
    if (this.#keptBytes <= MAX_WS_KEPT_BYTES && this.#init.budget.left >= 0) return
    this.#forget()
    // Later: whoever sends this frame is not done with it.
    if (this.#socket === undefined) queueMicrotask(this.#init.onOverflow)
  }

  #forget(): void {
    this.#isKeeping = false
    this.#init.budget.left += this.#keptBytes
    this.#kept = []
    this.#keptBytes = 0
  }

  #told(): void {
    this.#toldFrames = this.#received
    this.#untoldBytes = 0
  }

  /** Sends a frame that has no number. */
  #tell(frame: EdgeFrame): void {
    if (this.#socket !== undefined) this.#write(this.#socket, JSON.stringify(frame))
  }

  #write(socket: WebSocket, text: string): void {
    if (socket.readyState !== WebSocket.OPEN) return
    socket.send(text, this.#onWritten) // A failure ends in `close`.
    if (socket.bufferedAmount > this.#init.maxWriteQueueBytes) this.#init.onSlow()
  }

  readonly #onWritten = (): void => {
    if (this.#waiting.length > 0 && !this.isCongested) this.#wake()
  }

  #wake(): void {
    const waiting = this.#waiting
    this.#waiting = []
    for (const wake of waiting) wake()
  }
}
