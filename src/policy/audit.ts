import { setTimeout as delay } from 'node:timers/promises'
import { MeshError } from '../errors.ts'
import { type AuditFile, appendBatch, openAuditFile, rotate } from './audit-file.ts'
import { AUDIT_BATCH_BYTES, AUDIT_BATCH_MS, AUDIT_FILE_BYTES, AUDIT_QUEUE_BYTES, AUDIT_RETRY_MS } from './constants.ts'
import type { AuditLog, AuditLogInit } from './index.ts'

/**
 * Opens the log at its end, or a new one that only this user can read.
 *
 * Rows are queued and written in batches off the path, every 100 ms or 256 KiB; each batch is flushed to the disk
 * (fdatasync) and followed by a chain row. So a killed process or a power cut loses at most the decisions of the last
 * batch, and no decision waits for the disk. A restart continues the chain; a batch that was cut off is kept and marked.
 *
 * @throws {MeshError} IO when the file can't be opened or written
 */
export async function openAuditLog(init: AuditLogInit = {}): Promise<AuditLog> {
  const { path, clock = Date.now, onError = () => {}, maxFileBytes = AUDIT_FILE_BYTES } = init
  if (path === undefined) return { append() {}, async close() {} }
  const log = new FileAuditLog({ path, clock, onError, maxFileBytes })
  await log.open()
  return log
}

class FileAuditLog implements AuditLog {
  readonly #init: Required<AuditLogInit>
  readonly #closing = new AbortController()
  readonly #full: string[] = []
  #file: AuditFile | undefined
  #batch = ''
  #queuedBytes = 0
  #dropped = 0
  #timer: NodeJS.Timeout | undefined
  #writing: Promise<void> | undefined
  #isFailing = false
  #timeMs = 0
  #time = ''

  constructor(init: Required<AuditLogInit>) {
    this.#init = init
  }

  async open(): Promise<void> {
    try {
      this.#file = await openAuditFile(this.#init.path, this.#now)
    } catch (err) {
      throw this.#ioError(err)
    }
  }

  append(row: string): void {
    if (this.#closing.signal.aborted) return
    if (this.#queuedBytes >= AUDIT_QUEUE_BYTES) {
      this.#dropped++
      return
    }
    if (this.#dropped > 0) this.#addDropped()
    this.#add(row)
    if (this.#batch.length >= AUDIT_BATCH_BYTES) this.#endBatch()
    else this.#timer ??= setTimeout(this.#endBatch, AUDIT_BATCH_MS).unref()
  }

  async close(): Promise<void> {
    if (this.#dropped > 0) this.#addDropped()
    this.#closing.abort()
    this.#endBatch()
    await this.#writing
    await this.#file?.handle.close()
    this.#file = undefined
  }

  #add(row: string): void {
    const line = `{"time":"${this.#now()}",${row.slice(1)}\n`
    this.#batch += line
    this.#queuedBytes += line.length
  }

  #addDropped(): void {
    const dropped = this.#dropped
    this.#dropped = 0
    this.#add(`{"dropped":${dropped}}`)
  }

  /** RFC 3339; made once a millisecond. */
  readonly #now = (): string => {
    const timeMs = this.#init.clock()
    if (timeMs !== this.#timeMs) {
      this.#timeMs = timeMs
      this.#time = new Date(timeMs).toISOString()
    }
    return this.#time
  }

  readonly #endBatch = (): void => {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#batch === '') return
    this.#full.push(this.#batch)
    this.#batch = ''
    this.#writing ??= this.#writeAll().finally(() => {
      this.#writing = undefined
    })
  }

  async #writeAll(): Promise<void> {
    for (let next = this.#full[0]; next !== undefined; next = this.#full[0]) {
      if (!(await this.#write(Buffer.from(next)))) return
      this.#full.shift()
      this.#queuedBytes -= next.length
    }
  }

  /** Tries until the batch is on disk; false when the log was closed before that. */
  async #write(batch: Buffer): Promise<boolean> {
    for (;;) {
      try {
        await appendBatch(await this.#fileWithRoom(), batch)
        this.#isFailing = false
        return true
      } catch (err) {
        if (!this.#isFailing) this.#init.onError(this.#ioError(err))
        this.#isFailing = true
      }
      if (this.#closing.signal.aborted) return false
      const { signal } = this.#closing
      await delay(AUDIT_RETRY_MS, undefined, { signal, ref: false }).catch(() => {}) // close ends the wait, for a last try
    }
  }

  async #fileWithRoom(): Promise<AuditFile> {
    const { path, maxFileBytes } = this.#init
    if (this.#file !== undefined && this.#file.size >= maxFileBytes) {
      const { handle } = this.#file
      this.#file = undefined
      await handle.close()
      await rotate(path)
    }
    this.#file ??= await openAuditFile(path, this.#now)
    return this.#file
  }

  #ioError(err: unknown): MeshError {
    const what = err instanceof Error ? err.message : String(err)
    return new MeshError('IO', `the audit log ${this.#init.path} cannot be written: ${what}`, { cause: err })
  }
}
