/** Length-prefixed frames for the raw libp2p baseline, as fast as they get: one buffer per frame, no promise per frame. */
import type { Uint8ArrayList } from 'uint8arraylist'

/** What measured best through noise and yamux. */
const MAX_BATCH_BYTES = 64 * 1024

export function encodeFrame(json: string): Buffer {
  const length = Buffer.byteLength(json)
  let prefix = 1
  for (let rest = length; rest > 0x7f; rest >>>= 7) prefix++
  const frame = Buffer.allocUnsafe(prefix + length)
  let rest = length
  for (let i = 0; i < prefix - 1; i++, rest >>>= 7) frame[i] = (rest & 0x7f) | 0x80
  frame[prefix - 1] = rest
  frame.write(json, prefix)
  return frame
}

/** Collects the frames of one turn of the loop, and sends them as one. */
export function batcher(send: (batch: Uint8Array) => void): (frame: Buffer) => void {
  let frames: Buffer[] = []
  let bytes = 0
  const flush = (): void => {
    if (bytes === 0) return
    const batch = frames.length === 1 ? frames[0] : Buffer.concat(frames, bytes)
    frames = []
    bytes = 0
    if (batch !== undefined) send(batch)
  }
  return (frame) => {
    if (frames.length === 0) setImmediate(flush)
    frames.push(frame)
    bytes += frame.length
    if (bytes >= MAX_BATCH_BYTES) flush()
  }
}

/** Calls `onFrame` with each frame's content; frames may be cut anywhere. */
export function frameReader(onFrame: (frame: Buffer) => void): (chunk: Uint8Array | Uint8ArrayList) => void {
  let kept: Buffer[] = []
  let keptBytes = 0
  let wantedBytes = 0
  const keep = (rest: Buffer, wanted: number): void => {
    kept = [rest]
    keptBytes = rest.length
    wantedBytes = wanted
  }
  const read = (chunk: Uint8Array): void => {
    let bytes = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength)
    if (keptBytes > 0) {
      kept.push(bytes)
      keptBytes += bytes.length
      if (keptBytes < wantedBytes) return
      bytes = Buffer.concat(kept, keptBytes)
      keptBytes = 0
    }
    let at = 0
    while (at < bytes.length) {
      const head = readVarint(bytes, at)
      if (head === undefined) return keep(bytes.subarray(at), bytes.length - at + 1)
      const end = head.end + head.value
      if (end > bytes.length) return keep(bytes.subarray(at), end - at)
      onFrame(bytes.subarray(head.end, end))
      at = end
    }
  }
  return (chunk) => {
    if (chunk instanceof Uint8Array) return read(chunk)
    for (const part of chunk) read(part)
  }
}

function readVarint(bytes: Buffer, from: number): { value: number; end: number } | undefined {
  let value = 0
  for (let i = from; i < bytes.length; i++) {
    const byte = bytes[i] ?? 0
    value |= (byte & 0x7f) << ((i - from) * 7)
    if (byte < 0x80) return { value, end: i + 1 }
  }
  return undefined
}
