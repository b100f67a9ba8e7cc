import { createReadStream } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { abortable, MeshError, throwIfAborted } from '../errors.ts'
import { BLOB_PROTOCOL, DEFAULT_QUOTA_BYTES, IDLE_MS, MAX_BLOB_BYTES } from './constants.ts'
import { download } from './download.ts'
import { type BlobFiles, type BlobWriter, createBlobFiles } from './files.ts'
import type { BlobHold, BlobInfo, BlobRef, Blobs, BlobsComponents, BlobsInit, FetchOptions } from './index.ts'
import { blobId } from './messages.ts'
import { createRoom, type Room } from './room.ts'
import * as rows from './rows.ts'
import { createServing } from './serving.ts'

/** @throws {MeshError} IO when the folder can't be used */
export async function createBlobs(components: BlobsComponents, init: BlobsInit = {}): Promise<Blobs> {
  const { store, clock = Date.now } = components
  const { folder, quotaBytes = DEFAULT_QUOTA_BYTES } = init
  try {
    const path = folder ?? (await mkdtemp(join(tmpdir(), 'pryx-mesh-blobs-')))
    const files = createBlobFiles(path)
    const room = createRoom(quotaBytes, rows.usedBytes(store), await files.open(clock()))
    return new DiskBlobs(components, { ...init, files, room, temporary: folder === undefined ? path : undefined })
  } catch (err) {
    throw ioError(err)
  }
}

interface DiskBlobsInit extends BlobsInit {
  readonly files: BlobFiles
  readonly room: Room
  /** Goes with the node. */
  readonly temporary: string | undefined
}

/** A transfer that several may wait for. */
interface Running {
  readonly peer: string
  readonly result: Promise<BlobRef>
  readonly controller: AbortController
  readonly listeners: Set<NonNullable<FetchOptions['onProgress']>>
  waiters: number
}

class DiskBlobs implements Blobs {
  readonly #components: BlobsComponents
  readonly #init: DiskBlobsInit
  readonly #clock: () => number
  readonly #stopping = new AbortController()
  readonly #running = new Map<string, Running>()
  /** Blobs that are being kept or dropped. */
  readonly #changing = new Map<string, Promise<void>>()

  constructor(components: BlobsComponents, init: DiskBlobsInit) {
    this.#components = components
    this.#init = init
    this.#clock = components.clock ?? Date.now
  }

  start(): Promise<void> {
    const { network } = this.#components
    const { files, idleMs = IDLE_MS } = this.#init
    const { signal } = this.#stopping
    const serve = createServing({ ...this.#components, files, idleMs, signal, clock: this.#clock })
    return network.handle(BLOB_PROTOCOL, serve)
  }

  async put(...[source, { signal, hold } = {}]: Parameters<Blobs['put']>): Promise<BlobRef> {
    const { files, room } = this.#init
    throwIfAborted(signal)
    const writer = await files.create().catch((err: unknown) => Promise.reject(ioError(err)))
    let taken = 0
    try {
      for await (const bytes of piecesOf(source)) {
        throwIfAborted(signal)
        if (writer.size + bytes.length > MAX_BLOB_BYTES)
          throw new MeshError('TOO_LARGE', `a blob has at most ${MAX_BLOB_BYTES} bytes`)
        room.add(bytes.length)
        taken += bytes.length
        await writer.write(bytes)
      }
      return await this.#keep(writer, hold)
    } catch (err) {
      room.add(-taken)
      await writer.discard()
      throw ioError(err)
    }
  }

  has(sha256: string): boolean {
    return rows.sizeOf(this.#components.store, sha256) !== undefined
  }

  get(sha256: string): BlobInfo | undefined {
    return rows.read(this.#components.store, sha256)
  }

  list(): readonly BlobInfo[] {
    return rows.readAll(this.#components.store)
  }

  async *open(...[sha256, options = {}]: Parameters<Blobs['open']>): AsyncGenerator<Uint8Array> {
    const { offset = 0, signal = this.#stopping.signal } = options
    const size = this.#sizeOf(sha256)
    if (!Number.isSafeInteger(offset) || offset < 0 || offset > size)
      throw new MeshError('INVALID_ARGUMENT', `the offset must be 0 to ${size}`)
    try {
      yield* this.#init.files.read(sha256, offset, { signal })
    } catch (err) {
      throw ioError(err)
    }
  }

  async save(sha256: string, path: string): Promise<void> {
    this.#sizeOf(sha256)
    try {
      await this.#init.files.copy(sha256, path)
    } catch (err) {
      if (isErrno(err) && err.code === 'EEXIST') throw new MeshError('ALREADY_EXISTS', `${path} is there already`)
      throw ioError(err)
    }
  }

  async fetch(...[peer, sha256, options = {}]: Parameters<Blobs['fetch']>): Promise<BlobRef> {
    checkId(sha256)
    for (;;) {
      throwIfAborted(options.signal)
      const size = rows.sizeOf(this.#components.store, sha256)
      if (size !== undefined) return { sha256, size }
      const running = this.#running.get(sha256) ?? this.#begin(peer, sha256)
      try {
        return await this.#wait(sha256, running, options)
      } catch (err) {
        // Another's peer failed, or nobody but us wants it any more: ours may have it
        const isOurs = running.peer === peer && !running.controller.signal.aborted
        if (isOurs || options.signal?.aborted === true || this.#stopping.signal.aborted) throw err
      }
    }
  }

  async allow(sha256: string, peer: string): Promise<void> {
    const { store } = this.#components
    this.#sizeOf(sha256)
    await store.write([rows.addReader(sha256, peer)])
    if (!rows.isReader(store, sha256, peer)) throw new MeshError('BUSY', 'the blob is shared with too many peers')
  }

  async disallow(sha256: string, peer: string): Promise<void> {
    await this.#components.store.write([rows.removeReader(sha256, peer)])
  }

  async hold(sha256: string, hold: BlobHold): Promise<void> {
    const [changed] = await this.#components.store.write([rows.hold(sha256, hold)])
    if (changed !== 1) throw noBlob(sha256)
  }

  async release(purposes: readonly string[]): Promise<void> {
    const { store } = this.#components
    if (purposes.length > 0) await store.write([rows.release(purposes)])
    for (const sha256 of rows.over(store)) {
      // Held again meanwhile, or dropped already
      await this.drop(sha256).catch((err: unknown) => {
        if (MeshError.from(err).code === 'IO') throw err
      })
    }
  }

  purposes(): readonly string[] {
    return rows.purposes(this.#components.store)
  }

  async drop(sha256: string): Promise<void> {
    checkId(sha256)
    await this.#alone(sha256, async () => {
      const size = this.#sizeOf(sha256)
      const [, dropped] = await this.#components.store.write(rows.remove(sha256))
      if (dropped !== 1) throw new MeshError('INVALID_ARGUMENT', 'the blob is in use: a message refers to it')
      this.#init.room.add(-size)
      await this.#init.files.remove(sha256).catch((err: unknown) => Promise.reject(ioError(err)))
    })
  }

  async stop(): Promise<void> {
    const reason = new MeshError('CANCELLED', 'the node is stopping')
    this.#stopping.abort(reason)
    const running = [...this.#running.values()]
    for (const { controller } of running) controller.abort(reason)
    await Promise.allSettled(running.map(({ result }) => result))
    const { temporary } = this.#init
    if (temporary !== undefined) await rm(temporary, { recursive: true, force: true })
  }

  #begin(peer: string, sha256: string): Running {
    throwIfAborted(this.#stopping.signal)
    const { network, prepare, trust, random = Math.random } = this.#components
    const { files, room, idleMs = IDLE_MS } = this.#init
    const controller = new AbortController()
    const listeners: Running['listeners'] = new Set()
    const parts = { network, files, room, idleMs, random, ...(prepare && { prepare }), ...(trust && { trust }) }
    const onProgress = (received: number, size: number): void => {
      for (const listener of listeners) listener(received, size)
    }
    const result = download(parts, { peer, sha256, signal: controller.signal, onProgress })
      .then(async (ref) => {
        await this.#components.store.write([rows.insert(ref, this.#clock())])
        room.settle(sha256)
        return ref
      })
      .catch((err: unknown) => Promise.reject(ioError(err)))
      .finally(() => this.#running.delete(sha256))
    // Whoever waits is told
    result.catch(() => {})
    const running = { peer, result, controller, listeners, waiters: 0 }
    this.#running.set(sha256, running)
    return running
  }

  async #wait(sha256: string, running: Running, { signal, onProgress }: FetchOptions): Promise<BlobRef> {
    running.waiters += 1
    if (onProgress !== undefined) running.listeners.add(onProgress)
    try {
      return await (signal === undefined ? running.result : abortable(running.result, signal))
    } finally {
      running.waiters -= 1
      if (onProgress !== undefined) running.listeners.delete(onProgress)
      if (running.waiters === 0 && this.#running.get(sha256) === running)
        running.controller.abort(new MeshError('CANCELLED', 'nobody waits for the blob any more'))
    }
  }

  #keep(writer: BlobWriter, hold: BlobHold | undefined): Promise<BlobRef> {
    const ref = { sha256: writer.digest(), size: writer.size }
    return this.#alone(ref.sha256, () => this.#keepAs(ref, writer, hold))
  }

  async #keepAs(ref: BlobRef, writer: BlobWriter, hold: BlobHold | undefined): Promise<BlobRef> {
    const { store } = this.#components
    const { sha256, size } = ref
    if (rows.sizeOf(store, sha256) === undefined) await writer.commit(sha256)
    else await writer.discard()
    const now = this.#clock()
    const why = hold === undefined ? rows.stay(sha256) : rows.hold(sha256, hold)
    const isPassing = hold !== undefined
    const [inserted] = await store.write([rows.insert(ref, now, isPassing), rows.touch(sha256, now), why])
    if (inserted === 0) this.#init.room.add(-size)
    return ref
  }

  /** One after the other: a file must not be removed while another puts it again. */
  async #alone<T>(sha256: string, work: () => Promise<T>): Promise<T> {
    const before = this.#changing.get(sha256)
    const mine = (before ?? Promise.resolve()).then(work)
    const over = mine.then(
      () => {},
      () => {}
    )
    this.#changing.set(sha256, over)
    try {
      return await mine
    } finally {
      if (this.#changing.get(sha256) === over) this.#changing.delete(sha256)
    }
  }

  #sizeOf(sha256: string): number {
    checkId(sha256)
    const size = rows.sizeOf(this.#components.store, sha256)
    if (size === undefined) throw noBlob(sha256)
    return size
  }
}

/** Of at most a mebibyte: writing them one by one keeps the memory small. */
async function* piecesOf(source: Parameters<Blobs['put']>[0]): AsyncGenerator<Uint8Array> {
  const pieces =
    source instanceof Uint8Array
      ? [source]
      : typeof source === 'string'
        ? (createReadStream(source, { highWaterMark: 1_048_576 }) as AsyncIterable<Uint8Array>)
        : source
  yield* pieces
}

function checkId(sha256: string): void {
  if (blobId.safeParse(sha256).success) return
  throw new MeshError('INVALID_ARGUMENT', 'a blob is named by its SHA-256: 64 hex digits in lower case')
}

function noBlob(sha256: string): MeshError {
  return new MeshError('NOT_FOUND', `this node has no blob ${sha256.slice(0, 64)}`, { hint: 'pryx-mesh blobs list' })
}

function ioError(err: unknown): unknown {
  if (!isErrno(err)) return err
  return new MeshError('IO', `the disk refuses: ${err.message}`, { cause: err })
}

function isErrno(err: unknown): err is NodeJS.ErrnoException {
  return err instanceof Error && !(err instanceof MeshError) && 'syscall' in err
}
