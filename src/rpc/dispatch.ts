import type { Session } from '../auth/index.ts'
import { abortError, MeshError } from '../errors.ts'
import { checkTimeout } from './deadlines.ts'
import { EncodedItem } from './encoded-item.ts'
import type { Endpoint, RequestOptions } from './index.ts'
import { discard, isAsyncIterable, RunningRequest } from './running-request.ts'

/**
 * Puts a request to an endpoint of this node: the way in for edges and for local calls, with the rules that hold for peers.
 *
 * @param session whose caller asks; for one who can't change, `{ caller }`
 * @returns the result, or its items as an async iterable; leaving that cancels the request
 * @throws {MeshError} what the endpoint throws, anything else as INTERNAL; TIMEOUT, CANCELLED, INVALID_ARGUMENT
 */
export async function dispatch(
  endpoint: Endpoint,
  session: Session,
  body: unknown,
  options: RequestOptions = {}
): Promise<unknown> {
  const { signal } = options
  const timeoutMs = checkTimeout(options.timeoutMs ?? endpoint.protocol.timeoutMs)
  if (signal?.aborted === true) throw abortError(signal)
  const request = new RunningRequest(1, session, Number.POSITIVE_INFINITY)
  const stopped = Promise.withResolvers<never>()
  stopped.promise.catch(() => {})
  const stop = (reason: MeshError): void => {
    request.stop(reason)
    stopped.reject(reason)
  }
  const onAbort = (): void => {
    if (signal !== undefined) stop(abortError(signal))
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  const timer = setTimeout(() => stop(new MeshError('TIMEOUT', 'the deadline passed')), timeoutMs)
  const over = (): void => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
  let result: unknown
  try {
    result = await Promise.race([stopped.promise, invoke(endpoint, body, request)])
  } catch (err) {
    over()
    throw MeshError.from(err)
  }
  if (isAsyncIterable(result)) return readItems(result, request, { stopped: stopped.promise, over })
  over()
  return result
}

async function invoke(endpoint: Endpoint, body: unknown, request: RunningRequest): Promise<unknown> {
  const result = await endpoint.handle(body, request)
  if (request.isStopped && isAsyncIterable(result)) discard(result[Symbol.asyncIterator]())
  return result
}

interface Ending {
  /** Rejects when the request is stopped. */
  readonly stopped: Promise<never>
  readonly over: () => void
}

async function* readItems(
  items: AsyncIterable<unknown>,
  request: RunningRequest,
  ending: Ending
): AsyncGenerator<unknown> {
  const iterator = items[Symbol.asyncIterator]()
  request.iterator = iterator
  try {
    for (;;) {
      const { done, value } = await Promise.race([ending.stopped, iterator.next()])
      if (done === true) return
      yield value instanceof EncodedItem ? JSON.parse(value.json) : value
    }
  } catch (err) {
    throw MeshError.from(err)
  } finally {
    ending.over()
    request.stop(new MeshError('CANCELLED', 'nobody reads on'))
  }
}
