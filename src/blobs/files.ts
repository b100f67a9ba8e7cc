import { createHash, type Hash, randomBytes } from 'node:crypto'
import { constants } from 'node:fs'
import { copyFile, type FileHandle, mkdir, open, readdir, rename, rm, stat, unlink } from 'node:fs/promises'
import { join } from 'node:path'
import { abortError, MeshError } from '../errors.ts'
import { PARTIAL_KEPT_MS, READ_BYTES, WRITE_BYTES } from './constants.ts'

/** The files of blobs: `<2>/<62>` of their hash, `partial/<hash>` for what has come of one, `new-…` while one is put. */
export interface BlobFiles {
  /** Makes the folders, and clears away what is left of puts and old downloads. @returns bytes of partial files, by hash */
  open(now: number): Promise<Map<string, number>>
  /** A file to write a blob into whose hash isn't known yet. */
  create(): Promise<BlobWriter>
  /** What has come of a blob, hashed, to be gone on with. */
  resume(sha256: string, options: { signal: AbortSignal }): Promise<BlobWriter>
  /** From an offset on. @throws {MeshError} NOT_FOUND when the file is gone */
  read(sha256: string, offset: number, options: { signal: AbortSignal }): AsyncGenerator<Uint8Array>
  copy(sha256: string, path: string): Promise<void>
  remove(sha256: string): Promise<void>
}

/** Writes and hashes in one pass. One of {@link commit}, {@link leave} and {@link discard} ends it. */
export interface BlobWriter {
  /** Bytes so far. */
  readonly size: number
  /** Queues bytes, which must not be changed afterwards; waits when the disk is behind. */
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
    async *read(sha256, offset, { signal }) {
      const handle = await open(pathOf(sha256), 'r').catch((err: NodeJS.ErrnoException) => {
        throw err.code === 'ENOENT' ? new MeshError('NOT_FOUND', 'the file of the blob is gone') : err
      })
      try {
        yield* readFrom(handle, offset, signal)
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
  for await (const bytes of readFrom(handle, 0, signal)) {
    hash.update(bytes)
    size += bytes.length
  }
  return { hash, size }
}

/** Each piece is a buffer of its own; the next is read while one is used. */
async function* readFrom(handle: FileHandle, offset: number, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const readAt = async (position: number): Promise<Uint8Array> => {
    const buffer = Buffer.allocUnsafe(READ_BYTES)
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
  #queue: Uint8Array[] = []
  #queuedBytes = 0
  #writing: Promise<void> = Promise.resolve()

  constructor({ path, handle, hash, size, commit }: FileWriterInit) {
    this.#path = path
    this.#handle = handle
    this.#hash = hash
    this.#commit = commit
    this.size = size
    this.#written = size
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes)
    this.size += bytes.length
    this.#queue.push(bytes)
    this.#queuedBytes += bytes.length
    if (this.#queuedBytes < WRITE_BYTES) return
    // One write under way while the next is collected
    await this.#writing
    this.#flush()
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
    await this.#writing.catch(() => {})
    // Closed already when it became a blob, and that could not be noted
    await this.#handle.close().catch(() => {})
    await rm(this.#path, { force: true })
  }

  async #finish(): Promise<void> {
    await this.#writing
    this.#flush()
    await this.#writing
  }

  #flush(): void {
    const chunks = this.#queue
    if (chunks.length === 0) return
    const at = this.#written
    this.#queue = []
    this.#written += this.#queuedBytes
    this.#queuedBytes = 0
    this.#writing = writeAll(this.#handle, chunks, at)
    // Told to the next one who waits for it
    this.#writing.catch(() => {})
  }
}

async function writeAll(handle: FileHandle, chunks: readonly Uint8Array[], position: number): Promise<void> {
  const total = chunks.reduce((bytes, { length }) => bytes + length, 0)
  const { bytesWritten } = await handle.writev(chunks, position)
  if (bytesWritten === total) return
  // A disk that is nearly full takes a part, and says why with the next one
  const rest = Buffer.concat(chunks).subarray(bytesWritten)
  for (let done = 0; done < rest.length; ) {
    done += (await handle.write(rest, done, rest.length - done, position + bytesWritten + done)).bytesWritten
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
