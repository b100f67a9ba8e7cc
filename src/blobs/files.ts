import { createHash, type Hash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { abortError, MeshError } from '../errors.ts'
import { PARTIAL_KEPT_MS, READ_BYTES, SYNC_EVERY_BYTES, WRITE_BUFFERS, WRITE_BYTES } from './constants.ts'

/** The files of blobs: `<2>/<62>` of their hash, `partial/<hash>` for what has come of one, `new-…` while one is put. */
export interface BlobFiles {
  /** Makes the folders, and clears away what is left of puts and old downloads. @returns bytes of partial files, by hash */
  open(now: number): Promise<Map<string, number>>
  /** A file to write a blob into whose hash isn't known yet. */
  create(): Promise<BlobWriter>
  /** What has come of a blob, hashed, to be gone on with. */
  resume(sha256: string, options: { signal: AbortSignal }): Promise<BlobWriter>
  /** From an offset on. @throws {MeshError} NOT_FOUND when the file is gone */
  read(sha256: string, offset: number, options: ReadOptions): AsyncGenerator<Uint8Array>
  copy(sha256: string, path: string): Promise<void>
  remove(sha256: string): Promise<void>
}

interface ReadOptions {
  readonly signal: AbortSignal
  /** Buffers that are read into in turns; default a new one for each piece. */
  readonly buffers?: number
}

/** Writes and hashes in one pass. One of {@link commit}, {@link leave} and {@link discard} ends it. */
export interface BlobWriter {
  /** Bytes so far. */
  readonly size: number
  /** Takes bytes, as they are now; waits when the disk is behind. One after the other. */
  write(bytes: Uint8Array): Promise<void>
  /** Of all bytes; once. */
  digest(): string
  /** Makes it the blob of that hash; on disk when it resolves. */
  commit(sha256: string): Promise<void>
  /** Keeps what has come. */
  leave(): Promise<void>
  discard(): Promise<void>
}

export function createBlobFiles(folder: string): BlobFiles {
  const partials = join(folder, 'partial')
  const pathOf = (sha256: string): string => join(folder, sha256.slice(0, 2), sha256.slice(2))

  const commit = async (from: string, sha256: string): Promise<void> => {
    const home = join(folder, sha256.slice(0, 2))
    await mkdir(home, { recursive: true, mode: 0o700 })
    await rename(from, pathOf(sha256))
    await syncFolder(home)
  }

  return {
    async open(now) {
      await mkdir(partials, { recursive: true, mode: 0o700 })
      for (const name of await readdir(folder)) if (name.startsWith('new-')) await unlink(join(folder, name))
      const sizes = new Map<string, number>()
      for (const name of await readdir(partials)) {
        const { mtimeMs, size } = await stat(join(partials, name))
        if (now - mtimeMs > PARTIAL_KEPT_MS) await unlink(join(partials, name))
        else sizes.set(name, size)
      }
      return sizes
    },
    async create() {
      const path = join(folder, `new-${randomBytes(8).toString('hex')}`)
      return new FileWriter({
        path,
        handle: await open(path, 'wx', 0o600),
        hash: createHash('sha256'),
        size: 0,
        commit
      })
    },
    async resume(sha256, { signal }) {
      const path = join(partials, sha256)
      const handle = await open(path, constants.O_RDWR | constants.O_CREAT, 0o600)
      try {
        return new FileWriter({ path, handle, commit, ...(await hashed(handle, signal)) })
      } catch (err) {
        await handle.close()
        throw err
      }
    },
    async *read(sha256, offset, options) {
      const handle = await open(pathOf(sha256), 'r').catch((err: NodeJS.ErrnoException) => {
        throw err.code === 'ENOENT' ? new MeshError('NOT_FOUND', 'the file of the blob is gone') : err
      })
      try {
        yield* readFrom(handle, offset, options)
      } finally {
        await handle.close()
      }
    },
    async copy(sha256, path) {
      await copyFile(pathOf(sha256), path, constants.COPYFILE_EXCL)
    },
    remove: (sha256) => rm(pathOf(sha256), { force: true })
  }
}

async function hashed(handle: FileHandle, signal: AbortSignal): Promise<{ hash: Hash; size: number }> {
  const hash = createHash('sha256')
  let size = 0
  for await (const bytes of readFrom(handle, 0, { signal, buffers: 2 })) {
    hash.update(bytes)
    size += bytes.length
  }
  return { hash, size }
}

/**
 * Reads a piece ahead of the one that is used.
 *
 * @param buffers how many to read into, in turns; without it each piece has a buffer of its own
 */
async function* readFrom(
  handle: FileHandle,
  offset: number,
  { signal, buffers }: ReadOptions
): AsyncGenerator<Uint8Array> {
  const ring: Buffer[] = []
  let turn = 0
  const bufferOf = (): Buffer => {
    if (buffers === undefined) return Buffer.allocUnsafe(READ_BYTES)
    turn = (turn + 1) % buffers
    ring[turn] ??= Buffer.allocUnsafe(READ_BYTES)
    return ring[turn] ?? Buffer.allocUnsafe(READ_BYTES)
  }
  const readAt = async (position: number): Promise<Uint8Array> => {
    const buffer = bufferOf()
    const { bytesRead } = await handle.read(buffer, 0, buffer.length, position)
    return buffer.subarray(0, bytesRead)
  }
  let position = offset
  let next = readAt(position)
  try {
    for (;;) {
      const bytes = await next
      if (signal.aborted) throw abortError(signal)
      if (bytes.length === 0) return
      position += bytes.length
      next = readAt(position)
      yield bytes
    }
  } finally {
    // Else the handle would be closed under it
    await next.catch(() => {})
  }
}

interface FileWriterInit {
  readonly path: string
  readonly handle: FileHandle
  /** Of what is in the file. */
  readonly hash: Hash
  readonly size: number
  readonly commit: (from: string, sha256: string) => Promise<void>
}

class FileWriter implements BlobWriter {
  readonly #path: string
  readonly #handle: FileHandle
  readonly #hash: Hash
  readonly #commit: FileWriterInit['commit']
  size: number
  #written: number
  #synced: number
  /** Being filled, up to `#filled`. */
  #buffer: Buffer | undefined
  #filled = 0
  readonly #full: Buffer[] = []
  readonly #free: Buffer[] = []
  #writing: Promise<void> | undefined
  #syncing: Promise<void> | undefined

  constructor({ path, handle, hash, size, commit }: FileWriterInit) {
    this.#path = path
    this.#handle = handle
    this.#hash = hash
    this.#commit = commit
    this.size = size
    this.#written = size
    this.#synced = size
  }

  /** Copies: what comes from the network is small and dies young then, and what is written is written at once. */
  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes)
    this.size += bytes.length
    for (let at = 0; at < bytes.length; ) {
      this.#buffer ??= this.#free.pop() ?? Buffer.allocUnsafe(WRITE_BYTES)
      const part = bytes.subarray(at, at + WRITE_BYTES - this.#filled)
      this.#buffer.set(part, this.#filled)
      this.#filled += part.length
      at += part.length
      if (this.#filled < WRITE_BYTES) continue
      this.#push(this.#buffer)
      if (this.#full.length >= WRITE_BUFFERS) await this.#writing
    }
  }

  digest(): string {
    return this.#hash.digest('hex')
  }

  async commit(sha256: string): Promise<void> {
    await this.#finish()
    await this.#handle.sync()
    await this.#handle.close()
    await this.#commit(this.#path, sha256)
  }

  async leave(): Promise<void> {
    try {
      await this.#finish()
    } finally {
      await this.#handle.close()
    }
  }

  async discard(): Promise<void> {
    await Promise.allSettled([this.#writing, this.#syncing])
    // Closed already when it became a blob, and that could not be noted
    await this.#handle.close().catch(() => {})
    await rm(this.#path, { force: true })
  }

  async #finish(): Promise<void> {
    if (this.#buffer !== undefined) this.#push(this.#buffer.subarray(0, this.#filled))
    await this.#writing
    await this.#syncing
  }

  #push(buffer: Buffer): void {
    this.#full.push(buffer)
    this.#buffer = undefined
    this.#filled = 0
    if (this.#writing !== undefined) return
    this.#writing = this.#writeFull()
    // Told to the next one who waits for it
    this.#writing.catch(() => {})
  }

  async #writeFull(): Promise<void> {
    for (let buffer = this.#full[0]; buffer !== undefined; buffer = this.#full[0]) {
      for (let at = 0; at < buffer.length; ) {
        const { bytesWritten } = await this.#handle.write(buffer, at, buffer.length - at, this.#written)
        at += bytesWritten
        this.#written += bytesWritten
      }
      this.#full.shift()
      this.#free.push(buffer)
      if (this.#written - this.#synced >= SYNC_EVERY_BYTES) this.#syncNow()
    }
    this.#writing = undefined
  }

  #syncNow(): void {
    if (this.#syncing !== undefined) return
    this.#synced = this.#written
    this.#syncing = this.#handle.datasync().then(() => {
      this.#syncing = undefined
    })
    this.#syncing.catch(() => {})
  }
}

async function syncFolder(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
