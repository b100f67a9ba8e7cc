import { lstatSync, rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { MeshError } from '../errors.ts'

/**
 * Listens on a unix socket that only this user may open, from its first moment on. What a crash left there is replaced.
 *
 * @param path in a folder whose lock the caller holds: a socket found there is nobody's
 * @throws {MeshError} IO
 */
export async function listenPrivately(server: Server, path: string): Promise<void> {
  const listening = Promise.withResolvers<void>()
  server.once('listening', listening.resolve).once('error', listening.reject)
  try {
    removeStale(path)
    // The path is bound inside listen(), so the mask holds for this socket alone and there is no moment before a chmod
    const mask = process.umask(0o177)
    try {
      server.listen(path)
    } finally {
      process.umask(mask)
    }
    await listening.promise
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('IO', `cannot open the control socket ${path}: ${(err as Error).message}`, { cause: err })
  }
}

function removeStale(path: string): void {
  const found = lstatSync(path, { throwIfNoEntry: false })
  if (found === undefined) return
  if (!found.isSocket()) {
    throw new MeshError('IO', `${path} is in the way and not a socket`, { hint: 'move it away' })
  }
  rmSync(path)
}
