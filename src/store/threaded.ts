import { Worker } from 'node:worker_threads'
import { type ErrorBody, MeshError } from '../errors.ts'
import { MAX_COMMIT_WRITES, MAX_QUEUED_WRITES, PATIENCE_MS } from './constants.ts'
import { closed, type Outcome, restore } from './database.ts'
import { type Group, pack } from './group.ts'
import type { Migrations, Row, SqlValue, Statement, Store, WriteOptions } from './index.ts'
import { type Connection, openReader, read, sqliteError } from './sqlite.ts'

export interface WorkerInit {
  readonly path: string
  readonly migrations: readonly Migrations[]
}

/** A group, or the end. */
export type ToWorker = Group | 'close'

export type FromWorker =
  | 'ready'
  | { readonly failed: ErrorBody; readonly detail: string }
  | { readonly outcomes: readonly Outcome[] }

interface PendingWrite {
  readonly statements: readonly Statement[]
  readonly resolve: (changes: readonly number[]) => void
  readonly reject: (err: MeshError) => void
}

/** Opens a database that a worker thread writes and this thread reads. */
export async function openThreaded(init: WorkerInit): Promise<Store> {
  const worker = new Worker(workerUrl(), { workerData: init, name: 'pryx-mesh store', execArgv: [] })
  try {
    await ready(worker)
    return new ThreadedStore(worker, openReader(init.path))
  } catch (err) {
    await worker.terminate()
    throw sqliteError(err)
  }
}

/** The compiler renames imports from `.ts` to `.js`, but not this. */
function workerUrl(): URL {
  return import.meta.url.endsWith('.ts')
    ? new URL('./worker.ts', import.meta.url)
    : new URL('./worker.js', import.meta.url)
}

async function ready(worker: Worker): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>()
  worker.once('error', reject)
  worker.once('message', (message: FromWorker) => {
    worker.off('error', reject)
    if (typeof message === 'object' && 'failed' in message) reject(restore(message.failed, message.detail))
    else resolve()
  })
  await promise
}

class ThreadedStore implements Store {
  readonly #worker: Worker
  readonly #reader: Connection
  readonly #exited: Promise<void>
  #queue: PendingWrite[] = []
  /** At most one group is with the worker; what comes meanwhile makes up the next one. */
  #inFlight: PendingWrite[] = []
  #flushScheduled = false
  /** Everything in the queue is patient, and waits until then. */
  #patience: NodeJS.Timeout | undefined
  #closing: Promise<void> | undefined
  #broken: MeshError | undefined
  #onIdle: (() => void) | undefined

  constructor(worker: Worker, reader: Connection) {
    this.#worker = worker
    this.#reader = reader
    const { promise, resolve } = Promise.withResolvers<void>()
    this.#exited = promise
    worker.on('message', (message: FromWorker) => this.#onMessage(message))
    worker.on('error', (err) => this.#break(err))
    worker.on('exit', () => {
      this.#break(new Error('the writing thread has ended'))
      resolve()
    })
  }

  write(statements: readonly Statement[], { isPatient = false }: WriteOptions = {}): Promise<readonly number[]> {
    if (this.#closing !== undefined) return Promise.reject(closed())
    if (this.#broken !== undefined) return Promise.reject(this.#broken)
    if (this.#queue.length >= MAX_QUEUED_WRITES) {
      return Promise.reject(new MeshError('BUSY', 'too many writes are waiting for the disk'))
    }
    return new Promise((resolve, reject) => {
      this.#queue.push({ statements, resolve, reject })
      if (isPatient && (this.#queue.length === 1 || this.#patience !== undefined)) this.#wait()
      else this.#schedule()
    })
  }

  get(sql: string, params: readonly SqlValue[] = []): Row | undefined {
    return read(() => this.#reader.prepare(sql).get(...params))
  }

  all(sql: string, params: readonly SqlValue[] = []): Row[] {
    return read(() => this.#reader.prepare(sql).all(...params))
  }

  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    this.#schedule()
    if (this.#queue.length + this.#inFlight.length > 0 && this.#broken === undefined) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve
      })
    }
    // First the reader: the last connection to close folds the log into the file, and a reader can't.
    this.#reader.db.close()
    this.#worker.postMessage('close' satisfies ToWorker)
    await this.#exited
  }

  #wait(): void {
    this.#patience ??= setTimeout(() => this.#schedule(), PATIENCE_MS)
  }

  /** Waits for the end of the turn, so that writes started together are committed together. */
  #schedule(): void {
    clearTimeout(this.#patience)
    this.#patience = undefined
    if (this.#flushScheduled || this.#inFlight.length > 0) return
    this.#flushScheduled = true
    queueMicrotask(() => this.#flush())
  }

  #flush(): void {
    this.#flushScheduled = false
    this.#inFlight = this.#queue.splice(0, MAX_COMMIT_WRITES)
    if (this.#inFlight.length === 0) return this.#onIdle?.()
    try {
      this.#worker.postMessage(pack(this.#inFlight.map(({ statements }) => statements)) satisfies ToWorker)
    } catch (err) {
      // A value that can't be cloned is a defect of its writer; which one it was, the error doesn't say.
      this.#settle(this.#inFlight.map(() => ({ error: sqliteError(err).toJSON(), detail: String(err) })))
    }
  }

  #onMessage(message: FromWorker): void {
    if (typeof message === 'object' && 'outcomes' in message) this.#settle(message.outcomes)
  }

  #settle(outcomes: readonly Outcome[]): void {
    const settled = this.#inFlight
    this.#inFlight = []
    for (const [index, { resolve, reject }] of settled.entries()) {
      const outcome = outcomes[index]
      if (outcome !== undefined && 'changes' in outcome) resolve(outcome.changes)
      else
        reject(outcome === undefined ? new MeshError('INTERNAL', 'no outcome') : restore(outcome.error, outcome.detail))
    }
    if (this.#patience === undefined) this.#flush()
  }

  #break(err: unknown): void {
    clearTimeout(this.#patience)
    this.#broken ??= new MeshError('IO', 'the database can no longer be written', {
      cause: err,
      hint: 'restart the node'
    })
    const lost = [...this.#inFlight, ...this.#queue]
    this.#inFlight = []
    this.#queue = []
    for (const { reject } of lost) reject(this.#broken)
    this.#onIdle?.()
  }
}
