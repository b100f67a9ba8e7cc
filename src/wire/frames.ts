import type { Uint8ArrayList } from 'uint8arraylist'
import { MeshError } from '../errors.ts'

/** Four groups of seven bits: 256 MiB, beyond every limit. */
export const MAX_PREFIX_BYTES = 4

const encoder = new TextEncoder()

/** One frame: unsigned-varint length, then the JSON as UTF-8. */
export function encodeFrame(json: string): Buffer {
  return encodeBatch([json])
}

/** Frames one after the other in one buffer, as they leave in one write. */
export function encodeBatch(jsons: readonly string[]): Buffer {
  // Nearly all JSON is ASCII: room for as many bytes as characters first, by exact sizes (slow to find) if that was too little.
  let capacity = 0
  for (const json of jsons) capacity += MAX_PREFIX_BYTES + json.length
  for (;;) {
    const out = write(jsons, capacity)
    if (out !== undefined) return out
    capacity = exactBytes(jsons)
  }
}

function exactBytes(jsons: readonly string[]): number {
  return jsons.reduce((bytes, json) => bytes + MAX_PREFIX_BYTES + Buffer.byteLength(json), 0)
}

function write(jsons: readonly string[], capacity: number): Buffer | undefined {
  const out = Buffer.allocUnsafe(capacity)
  let at = 0
  for (const json of jsons) {
    let prefix = prefixBytes(json.length)
    const { read, written } = encoder.encodeInto(json, out.subarray(at + prefix))
    if (read < json.length) return undefined
    if (prefixBytes(written) !== prefix) {
      if (at + prefixBytes(written) + written > capacity) return undefined
      out.copyWithin(at + prefixBytes(written), at + prefix, at + prefix + written)
      prefix = prefixBytes(written)
    }
    writePrefix(out, at, written)
    at += prefix + written
  }
  return out.subarray(0, at)
}

function prefixBytes(length: number): number {
  return length < 0x80 ? 1 : length < 0x4000 ? 2 : length < 0x200000 ? 3 : 4
}

function writePrefix(out: Buffer, at: number, length: number): void {
  let rest = length
  while (rest >= 0x80) {
    out[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  out[at] = rest
}

/**
 * Cuts bytes into frames, however the bytes were split on their way. Holds at most what was pushed and not taken.
 *
 * A frame that came in one piece is a view of what was pushed, not a copy.
 */
export class FrameDecoder {
  readonly #maxFrameBytes: number
  /** Pushed and not looked at yet, from `#offset` of the first. */
  #chunks: Buffer[] = []
  #offset = 0
  /** The length prefix read so far. */
  #length = 0
  #prefixBytes = 0
  /** A frame that arrives in pieces: grows with what has arrived, never ahead of it by more than that. */
  #partial: Buffer | undefined
  #partialBytes = 0

  constructor(init: { maxFrameBytes: number }) {
    this.#maxFrameBytes = init.maxFrameBytes
  }

  /** True in the middle of a frame, or with frames not taken yet. */
  get hasRest(): boolean {
    return this.#chunks.length > 0 || this.#prefixBytes > 0 || this.#partial !== undefined
  }

  push(data: Uint8Array | Uint8ArrayList): void {
    if (data instanceof Uint8Array) this.#append(data)
    else for (const chunk of data) this.#append(chunk)
  }

  #append(chunk: Uint8Array): void {
    if (chunk.byteLength > 0) this.#chunks.push(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength))
  }

  /** Takes what was pushed and not looked at yet: what comes after the last frame, when that is no frame. */
  takeRest(): Buffer[] {
    const [first, ...others] = this.#chunks
    const rest = first === undefined ? [] : [first.subarray(this.#offset), ...others]
    this.#chunks = []
    this.#offset = 0
    return rest
  }

  /**
   * The payload of the next frame, or undefined when it hasn't arrived completely.
   *
   * @throws {MeshError} TOO_LARGE, INVALID_MESSAGE for a bad prefix; nothing after it can be read
   */
  next(): Buffer | undefined {
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      const frame = this.#partial === undefined ? this.#begin(chunk) : this.#fill(chunk, this.#partial)
      if (this.#offset === chunk.length) {
        this.#chunks.shift()
        this.#offset = 0
      }
      if (frame !== undefined) return frame
    }
    return undefined
  }

  #begin(chunk: Buffer): Buffer | undefined {
    if (!this.#readPrefix(chunk)) return undefined
    const end = this.#offset + this.#length
    if (end > chunk.length) {
      this.#partial = Buffer.from(chunk.subarray(this.#offset))
      this.#partialBytes = this.#partial.length
      this.#offset = chunk.length
      return undefined
    }
    const frame = chunk.subarray(this.#offset, end)
    this.#offset = end
    this.#prefixBytes = 0
    return frame
  }

  #readPrefix(chunk: Buffer): boolean {
    while (this.#offset < chunk.length) {
      const byte = chunk[this.#offset++] ?? 0
      if (this.#prefixBytes === 0) this.#length = 0
      this.#length |= (byte & 0x7f) << (7 * this.#prefixBytes)
      this.#prefixBytes += 1
      if (byte < 0x80) {
        this.#checkPrefix(byte)
        return true
      }
      if (this.#prefixBytes === MAX_PREFIX_BYTES)
        throw new MeshError('INVALID_MESSAGE', 'frame length of more than 4 bytes')
    }
    return false
  }

  #checkPrefix(lastByte: number): void {
    if (lastByte === 0 && this.#prefixBytes > 1)
      throw new MeshError('INVALID_MESSAGE', 'frame length not in its shortest form')
    if (this.#length > this.#maxFrameBytes) {
      throw new MeshError('TOO_LARGE', `a frame of ${this.#length} bytes is over the limit of ${this.#maxFrameBytes}`)
    }
  }

  #fill(chunk: Buffer, partial: Buffer): Buffer | undefined {
    const take = Math.min(this.#length - this.#partialBytes, chunk.length - this.#offset)
    const target = roomFor(partial, this.#partialBytes, this.#partialBytes + take, this.#length)
    chunk.copy(target, this.#partialBytes, this.#offset, this.#offset + take)
    this.#offset += take
    this.#partialBytes += take
    this.#partial = target
    if (this.#partialBytes < this.#length) return undefined
    this.#partial = undefined
    this.#prefixBytes = 0
    return target.subarray(0, this.#length)
  }
}

/** `partial`, or a larger copy of it: doubled, so that many small pieces don't cost a copy each, but no more than the frame needs. */
function roomFor(partial: Buffer, used: number, needed: number, frameBytes: number): Buffer {
  if (needed <= partial.length) return partial
  const larger = Buffer.allocUnsafe(Math.min(frameBytes, Math.max(needed, 2 * used)))
  partial.copy(larger, 0, 0, used)
  return larger
}

/** Turns JSON texts into frames; a transform for it-pipe. */
export async function* encodeFrames(source: Iterable<string> | AsyncIterable<string>): AsyncGenerator<Buffer> {
  for await (const json of source) yield encodeFrame(json)
}

/**
 * Turns bytes, split anywhere, into the payloads of their frames; a transform for it-pipe.
 *
 * @throws {MeshError} TOO_LARGE; INVALID_MESSAGE for a bad prefix, or when the source ends within a frame
 */
export function decodeFrames(init: {
  maxFrameBytes: number
}): (
  source: Iterable<Uint8Array | Uint8ArrayList> | AsyncIterable<Uint8Array | Uint8ArrayList>
) => AsyncGenerator<Buffer> {
  return async function* (source) {
    const decoder = new FrameDecoder(init)
    for await (const data of source) {
      decoder.push(data)
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) yield frame
    }
    if (decoder.hasRest) throw new MeshError('INVALID_MESSAGE', 'the bytes end within a frame')
  }
}
