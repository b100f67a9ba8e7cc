import { MeshError } from '../errors.ts'
import { MAX_QUEUED_EVENTS } from './constants.ts'
import type { ControlLine } from './messages.ts'

export interface NdjsonOptions {
  /** Aborted when the reader is gone or the node stops; the source ends by it. */
  readonly signal: AbortSignal
  /** What the last line says after a good end; default true. */
  readonly end?: () => unknown
  /** Told what went wrong behind an INTERNAL. */
  readonly onDefect?: ((cause: unknown) => void) | undefined
}

/** Streams items as NDJSON, then how they ended; a slow reader slows the source. */
export function ndjson(items: AsyncIterable<unknown>, options: NdjsonOptions): Response {
  return new Response(ReadableStream.from(lines(items, options)), {
    headers: { 'content-type': 'application/x-ndjson' }
  })
}

async function* lines(items: AsyncIterable<unknown>, options: NdjsonOptions): AsyncGenerator<Uint8Array> {
  try {
    for await (const item of items) yield line({ item })
    // Cut short by the node's stop: the missing end tells the client
    if (!options.signal.aborted) yield line({ end: (await options.end?.()) ?? true })
  } catch (err) {
    const error = MeshError.from(err)
    if (error.code === 'INTERNAL') options.onDefect?.(error.cause)
    yield line({ error: error.toJSON() })
  }
}

function line(content: ControlLine): Uint8Array {
  return new TextEncoder().encode(`${JSON.stringify(content)}\n`)
}

/**
 * Turns a subscription into items, from this moment on until the signal.
 *
 * @param subscribe gets where to put items; returns how to stop
 * @throws {MeshError} BUSY from the iteration when its reader is MAX_QUEUED_EVENTS behind
 */
export function subscription<T>(
  subscribe: (put: (item: T) => void) => () => void,
  signal: AbortSignal
): AsyncIterable<T> {
  const queue: T[] = []
  let overflow = false
  let wake = () => {}
  const unsubscribe = subscribe((item) => {
    if (queue.length < MAX_QUEUED_EVENTS) queue.push(item)
    else overflow = true
    wake()
  })
  const stop = () => {
    unsubscribe()
    wake()
  }
  // Beside the `finally` below: an iteration that was never begun never ends either
  if (signal.aborted) stop()
  else signal.addEventListener('abort', stop, { once: true })
  return (async function* () {
    try {
      while (!signal.aborted) {
        for (let item = queue.shift(); item !== undefined; item = queue.shift()) yield item
        if (overflow) throw new MeshError('BUSY', 'events come faster than this listener reads them')
        if (!signal.aborted) await new Promise<void>((resolve) => (wake = resolve))
      }
    } finally {
      unsubscribe()
    }
  })()
}
