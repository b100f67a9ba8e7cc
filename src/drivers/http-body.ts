import type { IncomingMessage } from 'node:http'
import { MeshError } from '../errors.ts'
import { parseJson } from '../wire/index.ts'
import { MAX_ANSWER_BYTES, PROGRESS_MS } from './endpoint-constants.ts'
import { MAX_ITEM_BYTES } from './session-constants.ts'

export interface BodyInit {
  readonly maxBytes: number
  /** The longest pause between two pieces; default 30,000. */
  readonly progressMs?: number
}

/**
 * Reads a body to its end.
 *
 * @throws {MeshError} TOO_LARGE, TIMEOUT, CONNECTION_LOST
 */
export async function readBody(response: IncomingMessage, { maxBytes, progressMs }: BodyInit): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of chunksOf(response, progressMs)) {
    bytes += chunk.length
    if (bytes > maxBytes) throw new MeshError('TOO_LARGE', `the agent's answer is over the limit of ${maxBytes} bytes`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

/** The beginning of a body, for an error; never fails. */
export async function readStart(response: IncomingMessage, init: BodyInit): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  try {
    for await (const chunk of chunksOf(response, init.progressMs)) {
      chunks.push(chunk)
      bytes += chunk.length
      if (bytes > init.maxBytes) break
    }
  } catch {
    // What has come is what there is to say.
  }
  return new TextDecoder().decode(Buffer.concat(chunks).subarray(0, init.maxBytes))
}

/**
 * What an endpoint answers with: JSON, or text as a string; nothing is null.
 *
 * @throws {MeshError} INVALID_OUTPUT when it isn't what it says it is, and as {@link readBody}
 */
export async function readAnswer(response: IncomingMessage, progressMs?: number): Promise<unknown> {
  const body = await readBody(response, { maxBytes: MAX_ANSWER_BYTES, ...(progressMs && { progressMs }) })
  if (body.length === 0) return null
  const type = mediaType(response)
  if (isJson(type)) return jsonOf(body)
  if (type.startsWith('text/')) return body.toString()
  throw new MeshError('INVALID_OUTPUT', `the agent answers with ${type || 'no content type'}, not with JSON`)
}

/**
 * The items of a streamed answer: a line each (NDJSON), or an event each (SSE), whatever its content type says. An event
 * named `error` is the agent's failure; one named `end` or `done` ends the stream, as does the data `[DONE]`.
 *
 * @throws {MeshError} AGENT_ERROR, INVALID_OUTPUT, TOO_LARGE, TIMEOUT, CONNECTION_LOST
 */
export async function* readItems(response: IncomingMessage, progressMs?: number): AsyncGenerator<unknown, void> {
  const type = mediaType(response)
  const lines = linesOf(chunksOf(response, progressMs))
  if (type === 'text/event-stream') return yield* eventItems(lines)
  if (!NDJSON.has(type)) throw new MeshError('INVALID_OUTPUT', `the agent streams ${type || 'without a content type'}`)
  for await (const line of lines) if (line.trim() !== '') yield jsonOf(line)
}

export function isStreamed(response: IncomingMessage): boolean {
  const type = mediaType(response)
  return type === 'text/event-stream' || NDJSON.has(type)
}

export function mediaType({ headers }: IncomingMessage): string {
  return (headers['content-type'] ?? '').split(';', 1).join('').trim().toLowerCase().slice(0, 80)
}

export function isJson(type: string): boolean {
  return type === 'application/json' || type.endsWith('+json')
}

const NDJSON: ReadonlySet<string> = new Set(['application/x-ndjson', 'application/ndjson', 'application/jsonl'])

// https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
async function* eventItems(lines: AsyncIterable<string>): AsyncGenerator<unknown, void> {
  let name = ''
  let data: string[] = []
  let length = 0
  for await (const line of lines) {
    if (line === '') {
      const text = data.join('\n')
      if (name === 'error') throw new MeshError('AGENT_ERROR', text.slice(0, 1000) || 'the agent failed')
      if (name === 'end' || name === 'done' || text === '[DONE]') return
      if (data.length > 0) yield jsonOf(text)
      name = ''
      data = []
      length = 0
      continue
    }
    const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? []
    if (field === 'event') name = value
    if (field !== 'data') continue
    length += value.length + 1
    if (length > MAX_ITEM_BYTES) throw tooLarge()
    data.push(value)
  }
}

/** Lines end with LF or CR LF; the last one may have no end. */
async function* linesOf(chunks: AsyncIterable<Buffer>): AsyncGenerator<string, void> {
  let parts: Buffer[] = []
  let bytes = 0
  const take = (last: Buffer): string => {
    const line = Buffer.concat([...parts, last]).toString()
    parts = []
    bytes = 0
    return line.endsWith('\r') ? line.slice(0, -1) : line
  }
  for await (const chunk of chunks) {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      if (bytes + end - start > MAX_ITEM_BYTES) throw tooLarge()
      yield take(chunk.subarray(start, end))
      start = end + 1
    }
    parts.push(chunk.subarray(start))
    bytes += chunk.length - start
    if (bytes > MAX_ITEM_BYTES) throw tooLarge()
  }
  if (bytes > 0) yield take(Buffer.alloc(0))
}

/** The pieces of a body as they come. Leaving them ends the connection. */
async function* chunksOf(response: IncomingMessage, progressMs = PROGRESS_MS): AsyncGenerator<Buffer, void> {
  const chunks: AsyncIterator<Buffer> = response[Symbol.asyncIterator]()
  try {
    while (true) {
      // Only while we wait: a reader may take its time.
      const timer = setTimeout(() => response.destroy(stuck()), progressMs)
      const { done, value } = await chunks.next().finally(() => clearTimeout(timer))
      if (done === true) return
      yield value
    }
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('CONNECTION_LOST', 'the connection to the agent broke within its answer', { cause: err })
  } finally {
    response.destroy()
  }
}

function jsonOf(body: Buffer | string): unknown {
  try {
    return parseJson(body)
  } catch (err) {
    if (!(err instanceof MeshError)) throw err
    throw new MeshError('INVALID_OUTPUT', `the agent's answer is ${err.message}`, { cause: err })
  }
}

function stuck(): MeshError {
  return new MeshError('TIMEOUT', "the agent's answer does not go on")
}

function tooLarge(): MeshError {
  return new MeshError('TOO_LARGE', `an item of the agent is over the limit of ${MAX_ITEM_BYTES} bytes`)
}

const NEWLINE = 0x0a
