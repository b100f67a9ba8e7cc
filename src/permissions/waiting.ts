import { setTimeout as sleep } from 'node:timers/promises'
import { abortError, MeshError, throwIfAborted } from '../errors.ts'
import { MAX_FIRST_FAILURES, MAX_WAIT_STEP_MS, MIN_WAIT_STEP_MS } from './constants.ts'
import type { PermissionStatus, Permissions } from './index.ts'

type Status = Pick<Permissions, 'status'>

/**
 * Does something at a peer and, when its owner must be asked first, waits for the answer and does it once more.
 *
 * @throws {MeshError} what the work throws; FORBIDDEN when the owner has denied it or let the deadline pass
 */
export async function onceAllowed<T>(
  permissions: Status,
  peer: string,
  signal: AbortSignal | undefined,
  work: () => Promise<T>
): Promise<T> {
  try {
    return await work()
  } catch (err) {
    await untilAllowed(permissions, peer, signal, err)
    return work()
  }
}

/** As {@link onceAllowed}, for what yields: nothing is yielded before it is allowed. */
export async function* streamOnceAllowed(
  permissions: Status,
  peer: () => Promise<string>,
  signal: AbortSignal | undefined,
  work: () => AsyncIterable<unknown>
): AsyncGenerator<unknown> {
  let hasBegun = false
  try {
    for await (const item of work()) {
      hasBegun = true
      yield item
    }
    return
  } catch (err) {
    if (hasBegun) throw err
    await untilAllowed(permissions, await peer(), signal, err)
  }
  yield* work()
}

/** @throws {MeshError} `err` when it isn't about a request that can be waited for */
async function untilAllowed(
  permissions: Status,
  peer: string,
  signal: AbortSignal | undefined,
  err: unknown
): Promise<void> {
  const id = pendingId(err)
  if (id === undefined) throw err
  const { state, reason } = await permissions.status(peer, id, { wait: true, ...(signal && { signal }) })
  if (state === 'allowed') return
  throw new MeshError('FORBIDDEN', reason ?? `the owner's answer is: ${state}`)
}

/** The id of the request that a call has to wait for. */
export function pendingId(err: unknown): string | undefined {
  if (!(err instanceof MeshError) || err.code !== 'PERMISSION_PENDING') return undefined
  const { id } = (err.data ?? {}) as { id?: unknown } // a peer's words, so its type is looked at
  return typeof id === 'string' && id.length <= 64 ? id : undefined
}

/** Asks until a request is decided. @throws {MeshError} what asking throws, CANCELLED, TIMEOUT by the signal */
export type Wait = (
  signal: AbortSignal | undefined,
  ask: (signal: AbortSignal) => Promise<PermissionStatus>
) => Promise<PermissionStatus>

/** Short waits one after the other: so nothing hangs, and a restart of the owner's node is only one failed wait. */
export function createWait({ clock, stopping }: { clock: () => number; stopping: AbortSignal }): Wait {
  return async (given, ask) => {
    const signal = given === undefined ? stopping : AbortSignal.any([given, stopping])
    let deadline: string | undefined
    let failures = 0
    for (;;) {
      throwIfAborted(signal)
      const beganAt = performance.now()
      try {
        const status = await ask(signal)
        if (status.state !== 'pending') return status
        deadline = status.deadline
        failures = 0
      } catch (err) {
        if (signal.aborted) throw abortError(signal)
        const isOver = deadline === undefined ? failures >= MAX_FIRST_FAILURES : clock() > Date.parse(deadline)
        if (isOver || !MeshError.from(err).retryable) throw err
        failures += 1
      }
      const stepMs = Math.min(MIN_WAIT_STEP_MS * Math.max(failures, 1), MAX_WAIT_STEP_MS)
      const leftMs = stepMs - (performance.now() - beganAt)
      if (leftMs > 0) await sleep(leftMs, undefined, { signal }).catch(() => {}) // looked at above
    }
  }
}
