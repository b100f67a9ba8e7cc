import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { access } from 'node:fs/promises'
import { MeshError } from '../errors.ts'
import { FIRST_CHAIN, fullFiles, readChainRow, readStartRow } from './audit-file.ts'
import type { AuditReport } from './index.ts'

/**
 * Reads a whole audit log, full files and the current one, and checks its chain. A log that is being written may be read.
 *
 * What the chain can't show by itself: an end that was cut off at a chain row, and a log rewritten from some row on by
 * someone who recomputed it. Both show when an earlier `chain` was kept elsewhere.
 *
 * @param path the current file
 * @throws {MeshError} NOT_FOUND when there is no log, IO when it can't be read
 */
export async function verifyAuditLog(path: string): Promise<AuditReport> {
  let chain: string | undefined
  let rows = 0
  let tornBytes = 0
  try {
    const files = [...(await fullFiles(path)), ...((await exists(path)) ? [path] : [])]
    if (files.length === 0) throw new MeshError('NOT_FOUND', `there is no audit log at ${path}`)
    for (const file of files) {
      const found = await verifyFile(file, chain)
      rows += found.rows
      chain = found.chain
      tornBytes = found.tornBytes
      const isCut = tornBytes > 0 && file !== path
      const line = found.brokenAt ?? (isCut ? found.lines : undefined)
      if (line !== undefined) return { ok: false, rows, chain, tornBytes: 0, brokenAt: { file, line } }
    }
    return { ok: true, rows, chain: chain ?? FIRST_CHAIN, tornBytes }
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('IO', `the audit log ${path} cannot be read`, { cause: err })
  }
}

interface FileReport {
  readonly rows: number
  readonly lines: number
  readonly chain: string
  readonly tornBytes: number
  /** Line number. */
  readonly brokenAt?: number
}

/** @param expected the chain that the file before this one ended with */
async function verifyFile(path: string, expected: string | undefined): Promise<FileReport> {
  let chain = expected ?? FIRST_CHAIN
  let batch = createHash('sha256').update(chain)
  let batchRows = 0
  let rows = 0
  let lines = 0
  let tornBytes = 0
  for await (const bytes of linesOf(path)) {
    const isWhole = bytes.at(-1) === NEWLINE
    const line = isWhole ? bytes.toString('utf8', 0, bytes.length - 1) : ''
    if (++lines === 1 && isWhole) {
      const previous = readStartRow(line)
      if (previous === undefined || previous !== (expected ?? previous))
        return { rows, lines, chain, tornBytes, brokenAt: 1 }
      chain = previous
      batch = createHash('sha256').update(chain)
    }
    const next = readChainRow(line)
    if (next === undefined) {
      batch.update(bytes)
      tornBytes += bytes.length
      if (line.startsWith('{"time":"') && line.endsWith('}')) batchRows++
      continue
    }
    if (batch.digest('hex') !== next) return { rows, lines, chain, tornBytes, brokenAt: lines }
    chain = next
    batch = createHash('sha256').update(chain)
    rows += batchRows
    batchRows = 0
    tornBytes = 0
  }
  return { rows, lines, chain, tornBytes }
}

const NEWLINE = 0x0a

/** Lines with their ends; the last one may have none. */
export async function* linesOf(path: string): AsyncGenerator<Buffer> {
  let rest = Buffer.alloc(0)
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 }) as AsyncIterable<Buffer>) {
    const bytes = Buffer.concat([rest, chunk])
    let from = 0
    for (let end = bytes.indexOf(NEWLINE); end !== -1; end = bytes.indexOf(NEWLINE, from)) {
      yield bytes.subarray(from, end + 1)
      from = end + 1
    }
    rest = bytes.subarray(from)
  }
  if (rest.length > 0) yield rest
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false
  )
}
