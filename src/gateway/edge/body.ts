import type { IncomingMessage } from 'node:http'
import { MeshError } from '../../errors.ts'
import { parseJson } from '../../wire/index.ts'
import type { EdgeLimits } from './constants.ts'
import { HttpError } from './problems.ts'

/**
 * Reads the body of a request.
 *
 * @throws {MeshError} TOO_LARGE beyond `maxBodyBytes`; TIMEOUT (408) when it comes too slowly; CANCELLED when the client goes
 */
export async function readBody(request: IncomingMessage, limits: EdgeLimits): Promise<Uint8Array> {
  const { maxBodyBytes, minBytesPerSecond, slowGraceMs } = limits
  const tooLarge = (): HttpError =>
    new HttpError(413, 'TOO_LARGE', `the body has more than ${maxBodyBytes} bytes`, { connection: 'close' })
  if (Number(request.headers['content-length'] ?? 0) > maxBodyBytes) throw tooLarge()
  const whole = readWhole(request)
  if (whole !== undefined) return whole
  const began = performance.now()
  const chunks: Uint8Array[] = []
  let bytes = 0
  const pace = setInterval(
    () => {
      const elapsedMs = performance.now() - began
      if (elapsedMs <= slowGraceMs || bytes >= (elapsedMs / 1_000) * minBytesPerSecond) return
      request.destroy(new HttpError(408, 'TIMEOUT', 'the body comes too slowly'))
    },
    Math.max(10, slowGraceMs / 4)
  ).unref()
  try {
    for await (const chunk of request as AsyncIterable<Uint8Array>) {
      bytes += chunk.byteLength
      if (bytes > maxBodyBytes) throw tooLarge()
      chunks.push(chunk)
    }
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('CANCELLED', 'the body was cut off', { cause: err })
  } finally {
    clearInterval(pace)
  }
  return Buffer.concat(chunks)
}

/** What has come with its head: most bodies do, and need neither a clock nor an iterator. */
function readWhole(request: IncomingMessage): Uint8Array | undefined {
  const { headers, readableLength, readableDidRead, destroyed } = request
  // Not request.complete: node:http says so a turn later
  if (destroyed || readableDidRead || readableLength === 0 || readableLength !== Number(headers['content-length']))
    return undefined
  // Nothing sets an encoding, so that it is bytes
  const bytes = request.read() as Uint8Array
  // To its end, which is all that is left
  request.resume()
  return bytes
}

/** Whether a request has a body. */
export function hasContent({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
}

/** @throws {MeshError} INVALID_ARGUMENT; 415 when it says that it is something else */
export function jsonOf(request: IncomingMessage, body: Uint8Array): unknown {
  const { 'content-type': type = '', 'content-encoding': encoding = 'identity' } = request.headers
  // A form of another site may send text/plain without asking first, so that it is no sign of good will
  if (!/^application\/(?:[\w.-]+\+)?json *(?:;|$)/i.test(type) || encoding !== 'identity')
    throw new HttpError(415, 'INVALID_ARGUMENT', 'the body must be application/json, not encoded')
  try {
    return parseJson(body)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', `the body is not usable: ${MeshError.from(err).message}`, { cause: err })
  }
}
