import { MeshError } from '../../errors.ts'
import { problemOf } from '../edge/problems.ts'
import type { Reply } from './reply.ts'

export interface SseOptions {
  /** Of a stream that can be resumed: its id, and how many items the client has. */
  readonly stream?: { readonly id: string; readonly after: number } | undefined
  /** How often a comment shows that the stream is alive. */
  readonly heartbeatMs?: number
  readonly signal: AbortSignal
  /** Called when the client has gone before the end, before the items are told. */
  readonly leave?: () => void
  readonly onDefect?: ((cause: unknown) => void) | undefined
}

/** Proxies cut what is silent for a minute. */
const HEARTBEAT_MS = 15_000

/**
 * Streams items as server-sent events: `item`s with ids `<stream id>:<n>`, then one `end` or `error` with a problem. A
 * slow reader slows the source; one that leaves ends it.
 */
export function sse(items: AsyncIterable<unknown>, options: SseOptions): Reply {
  const iterator = items[Symbol.asyncIterator]()
  const encoder = new TextEncoder()
  const { stream, signal, heartbeatMs = HEARTBEAT_MS } = options
  let sent = stream?.after ?? 0
  let heartbeat: NodeJS.Timeout | undefined
  const stop = (): void => clearInterval(heartbeat)

  const next = async (): Promise<{ readonly text: string; readonly isOver: boolean }> => {
    try {
      const { done, value } = await iterator.next()
      if (done === true) return { text: event('end', {}), isOver: true }
      sent += 1
      return { text: event('item', value ?? null, stream && `${stream.id}:${sent}`), isOver: false }
    } catch (err) {
      const error = MeshError.from(err)
      if (error.code === 'INTERNAL') options.onDefect?.(error.cause)
      return { text: event('error', problemOf(error)), isOver: true }
    }
  }
  const body = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        heartbeat = setInterval(() => {
          // Nothing on top of what is not read yet
          if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(':\n\n'))
        }, heartbeatMs).unref()
        signal.addEventListener('abort', stop, { once: true })
      },
      async pull(controller) {
        const { text, isOver } = await next()
        controller.enqueue(encoder.encode(text))
        if (!isOver) return
        stop()
        controller.close()
      },
      async cancel() {
        stop()
        options.leave?.()
        await iterator.return?.()
      }
    },
    { highWaterMark: 1 }
  )
  return { status: 200, headers: { 'content-type': 'text/event-stream', 'cache-control': 'no-store' }, body }
}

function event(name: string, data: unknown, id?: string): string {
  return `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`
}
