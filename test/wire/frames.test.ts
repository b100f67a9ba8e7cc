import fc from 'fast-check'
import { pipe } from 'it-pipe'
import { Uint8ArrayList } from 'uint8arraylist'
import { describe, expect, it } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { decodeFrames, encodeBatch, encodeFrame, encodeFrames, FrameDecoder } from '../../src/wire/index.ts'

const LIMIT = 70_000

function drain(decoder: FrameDecoder): string[] {
  const texts: string[] = []
  for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) texts.push(frame.toString())
  return texts
}

/** Cuts bytes at the given places, wherever they are. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const sorted = [...new Set(places.map((place) => place % (bytes.length + 1)))].sort((a, b) => a - b)
  return [...sorted, bytes.length].map((end, index) => bytes.subarray(sorted[index - 1] ?? 0, end))
}

async function collect<T>(source: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = []
  for await (const item of source) items.push(item)
  return items
}

const text = fc.oneof(
  fc.string({ unit: 'binary', maxLength: 200 }),
  fc.nat({ max: 20_000 }).map((length) => 'x'.repeat(length)),
  fc.nat({ max: 10_000 }).map((length) => 'ü€'.repeat(length))
)

describe('frames', () => {
  it('are as the specification prints them', () => {
    expect(encodeFrame('{"t":"ping","id":1}').toString('hex')).toBe('137b2274223a2270696e67222c226964223a317d')
    expect(encodeFrame('x'.repeat(300)).subarray(0, 2).toString('hex')).toBe('ac02')
  })

  it.each([0, 1, 127, 128, 16_383, 16_384, 65_000])('of %i bytes have the shortest length there is', (bytes) => {
    const frame = encodeFrame('x'.repeat(bytes))
    expect(frame.length - bytes).toBe(bytes < 128 ? 1 : bytes < 16_384 ? 2 : 3)
    const decoder = new FrameDecoder({ maxFrameBytes: LIMIT })
    decoder.push(frame)
    expect(drain(decoder)).toEqual(['x'.repeat(bytes)])
  })

  it('come out as they went in, however the bytes are split', () => {
    fc.assert(
      fc.property(
        fc.array(text, { maxLength: 20 }),
        fc.array(fc.nat(), { maxLength: 30 }),
        fc.boolean(),
        (texts, places, asList) => {
          const pieces = cut(encodeBatch(texts), places)
          const decoder = new FrameDecoder({ maxFrameBytes: LIMIT })
          const out: string[] = []
          for (const piece of asList ? [new Uint8ArrayList(...pieces)] : pieces) {
            decoder.push(piece)
            out.push(...drain(decoder))
          }
          expect(out).toEqual(texts.map((one) => one.toWellFormed()))
          expect(decoder.hasRest).toBe(false)
        }
      )
    )
  })

  it('come out of single bytes', () => {
    const decoder = new FrameDecoder({ maxFrameBytes: LIMIT })
    const out: string[] = []
    for (const byte of encodeBatch(['{}', 'x'.repeat(5_000), '[]'])) {
      decoder.push(Uint8Array.of(byte))
      out.push(...drain(decoder))
    }
    expect(out).toEqual(['{}', 'x'.repeat(5_000), '[]'])
  })

  it('are views of what was pushed when they came whole', () => {
    const decoder = new FrameDecoder({ maxFrameBytes: LIMIT })
    const bytes = encodeFrame('{"a":1}')
    decoder.push(bytes)
    expect(decoder.next()?.buffer).toBe(bytes.buffer)
  })

  it.each([
    { id: 'one byte over the limit', bytes: [0xf1, 0xa2, 0x04], code: 'TOO_LARGE' },
    { id: 'the largest length', bytes: [0xff, 0xff, 0xff, 0x7f], code: 'TOO_LARGE' },
    { id: 'a length of five bytes', bytes: [0x81, 0x80, 0x80, 0x80, 0x00], code: 'INVALID_MESSAGE' },
    { id: 'a length that never ends', bytes: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff], code: 'INVALID_MESSAGE' },
    { id: 'a length longer than needed', bytes: [0x82, 0x00, 0x7b, 0x7d], code: 'INVALID_MESSAGE' },
    { id: 'a zero longer than needed', bytes: [0x80, 0x00], code: 'INVALID_MESSAGE' }
  ])('with $id are refused as $code', ({ bytes, code }) => {
    const decoder = new FrameDecoder({ maxFrameBytes: LIMIT })
    decoder.push(Uint8Array.from(bytes))
    expect(() => decoder.next()).toThrow(expect.objectContaining({ code }))
  })

  it('hold no more memory than has arrived', () => {
    const decoder = new FrameDecoder({ maxFrameBytes: 100 * 1024 * 1024 })
    const before = process.memoryUsage().arrayBuffers
    decoder.push(Uint8Array.of(0xff, 0xff, 0xff, 0x2f, 1, 2, 3))
    expect(decoder.next()).toBeUndefined()
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1024 * 1024)
  })

  it('from garbage are refused with a code or are within the limit, and nothing else happens', () => {
    const readAll = (chunks: readonly Uint8Array[]): { sizes: number[]; error?: unknown } => {
      const decoder = new FrameDecoder({ maxFrameBytes: 1_000 })
      const sizes: number[] = []
      try {
        for (const chunk of chunks) {
          decoder.push(chunk)
          for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) sizes.push(frame.length)
        }
        return { sizes }
      } catch (error) {
        return { sizes, error }
      }
    }
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 50 }), (chunks) => {
        const { sizes, error } = readAll(chunks)
        expect(Math.max(0, ...sizes)).toBeLessThanOrEqual(1_000)
        expect([undefined, 'TOO_LARGE', 'INVALID_MESSAGE']).toContain(error instanceof MeshError ? error.code : error)
      })
    )
  })
})

describe('the transforms', () => {
  it('write and read a sequence of messages through it-pipe', async () => {
    const texts = ['{"seq":1}', JSON.stringify({ text: 'ü'.repeat(3_000) }), '{"seq":3}']
    const payloads = await pipe(texts, encodeFrames, decodeFrames({ maxFrameBytes: LIMIT }), collect)
    expect(payloads.map(String)).toEqual(texts)
  })

  it('refuse a sequence that ends within a frame', async () => {
    const half = encodeFrame('{"seq":1}').subarray(0, 4)
    await expect(pipe([half], decodeFrames({ maxFrameBytes: LIMIT }), collect)).rejects.toMatchObject({
      code: 'INVALID_MESSAGE'
    })
  })
})
