import { closeSync, lstatSync, openSync, rmSync } from 'node:fs'
import type { Server } from 'node:net'
import { basename, dirname, join } from 'node:path'
import { MeshError } from '../errors.ts'
import { MAX_SOCKET_PATH_BYTES } from './constants.ts'

/** A path that fits into a socket address. */
export interface SocketPath {
  readonly path: string
  /** To be called when nothing uses the path any more. */
  readonly release: () => void
}

/**
 * Makes a path of any length usable for a unix socket: on Linux by the folder's file descriptor.
 *
 * @throws {MeshError} IO when it is too long and can't be helped
 */
export function socketPath(path: string): SocketPath {
  if (Buffer.byteLength(path) <= MAX_SOCKET_PATH_BYTES) return { path, release: () => {} }
  if (process.platform !== 'linux') {
    throw new MeshError('IO', `the path of the control socket is too long: ${path}`, {
      hint: 'choose a home with a shorter path'
    })
  }
  const folder = openSync(dirname(path), 'r')
  return { path: join('/proc/self/fd', String(folder), basename(path)), release: () => closeSync(folder) }
}

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
    const short = socketPath(path)
    server.once('close', short.release)
    // The path is bound inside listen(), so the mask holds for this socket alone and there is no moment before a chmod
    const mask = process.umask(0o177)
    try {
      server.listen(short.path)
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
