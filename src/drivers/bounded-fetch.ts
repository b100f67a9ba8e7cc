import type { Transformer } from 'node:stream/web'
import { MeshError } from '../errors.ts'

/**
 * A `fetch` whose bodies fail once they are larger than `maxBytes`; a stream of events, once a single event is.
 *
 * @param base what does the fetching
 * @param onOverflow called when a body is about to fail so, with TOO_LARGE
 */
export function boundedFetch(base: typeof fetch, maxBytes: number, onOverflow: () => void): typeof fetch {
  return async (input, init) => {
    const response = await base(input, init)
    if (response.body === null) return response
    const isStream = response.headers.get('content-type')?.startsWith('text/event-stream') === true
    const body = response.body.pipeThrough(new TransformStream(bound(maxBytes, isStream, onOverflow)))
    return new Response(body, { status: response.status, statusText: response.statusText, headers: response.headers })
  }
}

function bound(maxBytes: number, isStream: boolean, onOverflow: () => void): Transformer<Uint8Array, Uint8Array> {
  let bytes = 0
  let lineIsEmpty = false
  return {
    transform(chunk, controller) {
      bytes += chunk.length
      // An empty line ends an event. What counts is what has come since the last one, within a chunk or before it.
      for (let at = 0; isStream && at < chunk.length; at += 1) {
        const byte = chunk[at]
        if (byte === CARRIAGE_RETURN) continue
        if (byte === NEWLINE && lineIsEmpty) bytes = chunk.length - at - 1
        lineIsEmpty = byte === NEWLINE
      }
      if (bytes <= maxBytes) return controller.enqueue(chunk)
      onOverflow()
      throw new MeshError('TOO_LARGE', "the agent's answer is larger than the limit")
    }
  }
}

const NEWLINE = 0x0a
const CARRIAGE_RETURN = 0x0d
