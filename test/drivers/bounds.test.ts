import fc from 'fast-check'
import { expect, it } from 'vitest'
import { boundedFetch } from '../../src/drivers/bounded-fetch.ts'
import { Lines } from '../../src/drivers/lines.ts'

function read(chunks: readonly Buffer[], maxBytes: number) {
  const lines: string[] = []
  const overlong: [string, string][] = []
  const reader = new Lines({
    maxBytes,
    onLine: (line) => lines.push(line),
    onOverlong: (head, tail) => overlong.push([head, tail])
  })
  for (const chunk of chunks) reader.push(chunk)
  return { lines, overlong }
}

function cut(bytes: Buffer, sizes: readonly number[]): Buffer[] {
  const chunks: Buffer[] = []
  let at = 0
  for (const size of sizes) {
    chunks.push(bytes.subarray(at, at + size))
    at += size
  }
  return [...chunks, bytes.subarray(at)]
}

it('lines come out whole, however they were cut', () => {
  const line = fc.string({ unit: 'grapheme', minLength: 1 }).map((text) => text.replaceAll('\n', ' '))
  fc.assert(
    fc.property(fc.array(line), fc.array(fc.nat(20)), (lines, sizes) => {
      const bytes = Buffer.from(lines.map((text) => `${text}\n`).join(''))
      expect(read(cut(bytes, sizes), 10_000).lines).toEqual(lines)
    })
  )
})

it('a line that is too long goes by, and the next one is read', () => {
  fc.assert(
    fc.property(fc.integer({ min: 11, max: 2_000 }), fc.array(fc.nat(900)), (length, sizes) => {
      const long = `<${'x'.repeat(length - 2)}>`
      const { lines, overlong } = read(cut(Buffer.from(`before\n${long}\nafter\n`), sizes), 10)
      expect(lines).toEqual(['before', 'after'])
      expect(overlong).toHaveLength(1)
      const [head = '', tail = ''] = overlong[0] ?? []
      expect([head.startsWith('<'), tail.endsWith('>')]).toEqual([true, true])
      expect(Math.max(head.length, tail.length)).toBeLessThanOrEqual(256)
    })
  )
})

async function fetched(chunks: readonly string[], type: string): Promise<string> {
  const body = ReadableStream.from(chunks.map((chunk) => Buffer.from(chunk)))
  const response = new Response(body, { status: 203, headers: { 'content-type': type } })
  const answer = await boundedFetch(
    async () => response,
    20,
    () => {}
  )('http://localhost/')
  expect(answer.status).toBe(203)
  return answer.text()
}

it.each<[string, string[], string]>([
  ['a body within the limit', ['{"a":1}', '  '], 'application/json'],
  ['any number of events within it', Array.from({ length: 50 }, () => 'data: 1234\n\n'), 'text/event-stream'],
  [
    'events whose end is cut',
    Array.from({ length: 50 }, () => ['data: 1234\r\n', '\r', '\n']).flat(),
    'text/event-stream; charset=utf-8'
  ]
])('%s passes', async (_, chunks, type) => {
  expect(await fetched(chunks, type)).toBe(chunks.join(''))
})

it.each<[string, string[], string]>([
  ['a body', ['x'.repeat(15), 'x'.repeat(15)], 'application/json'],
  ['an event in one line', ['data: 1\n\n', `data: ${'x'.repeat(20)}`], 'text/event-stream'],
  ['an event in many lines', Array.from({ length: 9 }, () => 'data: 1\n'), 'text/event-stream']
])('%s beyond the limit fails', async (_, chunks, type) => {
  await expect(fetched(chunks, type)).rejects.toThrow('larger than the limit')
})
