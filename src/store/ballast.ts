import { constants } from 'node:fs'
import { open, rm, stat, statfs } from 'node:fs/promises'
import { MeshError } from '../errors.ts'

/** Given back to a full disk, so that what was acknowledged can be finished: SQLite can't even delete on a full one. */
const BALLAST_BYTES = 16 * 1024 * 1024
/** Below it nothing new is taken. */
const LOW_BYTES = 48 * 1024 * 1024
/** From here on the ballast is laid in again. */
const ENOUGH_BYTES = 64 * 1024 * 1024
/** How often the disk is looked at. */
const POLL_MS = 5_000

export interface Ballast {
  /** Why nothing new may be taken just now, or undefined. */
  refusal(): MeshError | undefined
  /** The disk has refused a write: makes room at once. */
  release(): Promise<void>
  /** Looks at the disk now. */
  check(): Promise<void>
  stop(): void
}

export interface BallastInit {
  /** The file, in the home. */
  readonly path: string
  /** Bytes that are free; default what statfs says of the file's folder. */
  readonly freeBytes?: () => Promise<number>
  /** Default 5,000. */
  readonly pollMs?: number
}

/**
 * Keeps some of the disk back for bad times. A disk that can't be asked is taken for one with room.
 *
 * @param folder that the file lies in
 */
export async function createBallast(folder: string, init: BallastInit): Promise<Ballast> {
  const { path, freeBytes = () => freeOf(folder) } = init
  let free = Number.POSITIVE_INFINITY
  let isLaidIn = await exists(path)

  const check = async (): Promise<void> => {
    try {
      free = await freeBytes()
      if (free < LOW_BYTES || isLaidIn || free < ENOUGH_BYTES + BALLAST_BYTES) return
      await layIn(path)
      isLaidIn = true
    } catch {
      // Another look in a moment; SQLite says itself when it can't write
      await rm(path, { force: true }).catch(() => {})
    }
  }

  await check()
  const timer = setInterval(() => void check(), init.pollMs ?? POLL_MS).unref()
  return {
    refusal() {
      if (free >= LOW_BYTES) return undefined
      return new MeshError('IO', 'the disk is nearly full: no new messages are taken', {
        hint: `free some space; at least ${LOW_BYTES / 1024 / 1024} MiB are needed`
      })
    },
    async release() {
      free = 0
      isLaidIn = false
      await rm(path, { force: true }).catch(() => {})
      await check()
    },
    check,
    stop: () => clearInterval(timer)
  }
}

async function freeOf(folder: string): Promise<number> {
  const { bavail, bsize } = await statfs(folder)
  return bavail * bsize
}

async function exists(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => undefined)
  return found?.size === BALLAST_BYTES
}

/** Really written: a sparse file would keep nothing back. */
async function layIn(path: string): Promise<void> {
  const file = await open(path, constants.O_CREAT | constants.O_TRUNC | constants.O_WRONLY, 0o600)
  try {
    const chunk = Buffer.alloc(1024 * 1024, 1)
    for (let at = 0; at < BALLAST_BYTES; at += chunk.length) await file.write(chunk, 0, chunk.length, at)
  } finally {
    await file.close()
  }
}
