import { abortError, throwIfAborted } from '../errors.ts'

/**
 * Waits for `promise` no longer than the signal allows; what it was waiting for goes on.
 *
 * @throws {MeshError} TIMEOUT, CANCELLED
 */
export function abortable<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    throwIfAborted(signal)
    const onAbort = () => reject(abortError(signal))
    signal.addEventListener('abort', onAbort, { once: true })
    promise.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort))
  })
}
