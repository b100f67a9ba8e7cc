/*
 * The file: rows of JSON, and after each batch a chain row with SHA-256 over the chain before it and the batch's bytes.
 * A file opens with the chain it continues, so each can be checked alone and a missing one shows.
 */
import { createHash } from 'node:crypto'
import { type FileHandle, open, readdir, rename, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { AUDIT_BATCH_BYTES, AUDIT_FILES } from './constants.ts'

const START_ROW = /^\{"log":"pryx-mesh-audit","v":1,"previous":"([0-9a-f]{64})"\}$/
const CHAIN_ROW = /^\{"chain":"([0-9a-f]{64})"\}$/

export const FIRST_CHAIN = '0'.repeat(64)

const startRow = (previous: string): string => `{"log":"pryx-mesh-audit","v":1,"previous":"${previous}"}\n`
const chainRow = (chain: string): string => `{"chain":"${chain}"}\n`

export function readStartRow(line: string): string | undefined {
  return START_ROW.exec(line)?.[1]
}

export function readChainRow(line: string): string | undefined {
  return CHAIN_ROW.exec(line)?.[1]
}

function nextChain(previous: string, batch: Uint8Array): string {
  return createHash('sha256').update(previous).update(batch).digest('hex')
}

/** An audit file at its end. */
export interface AuditFile {
  readonly handle: FileHandle
  chain: string
  /** Bytes that are known to be good; the next batch goes here, over what a failed write has left. */
  size: number
}

/** Appends a batch and its chain row; on disk when it resolves. A failed one can be tried again. */
export async function appendBatch(file: AuditFile, batch: Buffer): Promise<void> {
  const chain = nextChain(file.chain, batch)
  const bytes = Buffer.concat([batch, Buffer.from(chainRow(chain))])
  for (let written = 0; written < bytes.length; ) {
    written += (await file.handle.write(bytes, written, bytes.length - written, file.size + written)).bytesWritten
  }
  await file.handle.datasync()
  file.chain = chain
  file.size += bytes.length
}

/** Opens the current file where it ended, or a new one that continues the newest full one. */
export async function openAuditFile(path: string, time: () => string): Promise<AuditFile> {
  const handle = await openOrCreate(path)
  try {
    await endLine(handle)
    const end = await readEnd(handle)
    if (end.chain !== undefined) {
      const file: AuditFile = { handle, chain: end.chain, size: end.size }
      if (end.torn.length > 0) await sealTorn(file, end.torn, time())
      return file
    }
    const previous = await previousChain(path)
    const start = Buffer.from(startRow(previous))
    if (end.size <= start.length + chainRow(previous).length) {
      const file: AuditFile = { handle, chain: previous, size: 0 }
      await handle.truncate(0)
      await appendBatch(file, start)
      return file
    }
  } catch (err) {
    await handle.close()
    throw err
  }
  // Not written by us: set aside as it is, for verification to report.
  await handle.close()
  await rotate(path)
  return openAuditFile(path, time)
}

async function openOrCreate(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'r+')
  } catch (err) {
    if (!(err instanceof Error && 'code' in err && err.code === 'ENOENT')) throw err
    return open(path, 'wx+', 0o600)
  }
}

/** Only a write that was cut off ends without it; a chain row may have lost nothing else. */
async function endLine(handle: FileHandle): Promise<void> {
  const { size } = await handle.stat()
  const { buffer, bytesRead } = await handle.read(Buffer.alloc(1), 0, 1, Math.max(0, size - 1))
  if (bytesRead === 1 && buffer[0] !== 0x0a) await handle.write('\n', size)
}

/** A process killed while it wrote leaves rows without a chain row, the last one perhaps cut: kept, marked, and chained now. */
async function sealTorn(file: AuditFile, torn: Buffer, time: string): Promise<void> {
  const mark = Buffer.from(`{"time":"${time}","recovered":${torn.length}}\n`)
  file.size -= torn.length
  await appendBatch(file, Buffer.concat([torn, mark]))
}

interface FileEnd {
  /** Of the last chain row; undefined when there is none. */
  readonly chain?: string
  /** What follows it. */
  readonly torn: Buffer
  readonly size: number
}

async function readEnd(handle: FileHandle): Promise<FileEnd> {
  const { size } = await handle.stat()
  for (let length = Math.min(size, 2 * AUDIT_BATCH_BYTES); ; length = Math.min(size, length * 4)) {
    const bytes = Buffer.alloc(length)
    await handle.read(bytes, 0, length, size - length)
    const found = lastChainRow(bytes)
    if (found !== undefined) return { ...found, size }
    if (length === size) return { torn: bytes, size }
  }
}

const CHAIN_ROW_BYTES = chainRow(FIRST_CHAIN).length

function lastChainRow(bytes: Buffer): { chain: string; torn: Buffer } | undefined {
  for (let at = bytes.lastIndexOf('\n{"chain":"'); at !== -1; at = bytes.lastIndexOf('\n{"chain":"', at - 1)) {
    const end = at + 1 + CHAIN_ROW_BYTES
    const row = bytes.subarray(at + 1, end).toString('latin1')
    const chain = row.endsWith('\n') ? readChainRow(row.slice(0, -1)) : undefined
    if (chain !== undefined) return { chain, torn: bytes.subarray(end) }
    if (at === 0) return undefined
  }
  return undefined
}

async function previousChain(path: string): Promise<string> {
  const newest = (await fullFiles(path)).at(-1)
  if (newest === undefined) return FIRST_CHAIN
  const handle = await open(newest, 'r')
  try {
    return (await readEnd(handle)).chain ?? FIRST_CHAIN
  } finally {
    await handle.close()
  }
}

/** Full files beside the current one, oldest first. */
export async function fullFiles(path: string): Promise<string[]> {
  const prefix = `${basename(path)}.`
  const names = await readdir(dirname(path))
  return names
    .filter((name) => name.startsWith(prefix) && /^\d{6,}$/.test(name.slice(prefix.length)))
    .sort((a, b) => a.length - b.length || (a < b ? -1 : 1))
    .map((name) => join(dirname(path), name))
}

/** Gives the current file the next number, and deletes the oldest beyond AUDIT_FILES. */
export async function rotate(path: string): Promise<void> {
  const full = await fullFiles(path)
  const last = Number(full.at(-1)?.slice(path.length + 1) ?? 0)
  const name = `${path}.${String(last + 1).padStart(6, '0')}`
  await rename(path, name)
  for (const old of [...full, name].slice(0, -AUDIT_FILES)) await rm(old)
}
