import { MeshError } from '../errors.ts'
import { fullFiles } from './audit-file.ts'
import { exists, linesOf } from './audit-verify.ts'

/** A decision as the log has it. */
export interface AuditRow {
  /** RFC 3339. */
  readonly time: string
  readonly peer: string
  readonly action: string
  readonly resource: string
  readonly effect: string
  readonly rules: readonly string[]
  readonly shadow?: { readonly effect: string; readonly rules: readonly string[] }
}

/**
 * Reads the decisions of an audit log, oldest first; memory stays bounded however long the log is. Rows that are none of
 * ours are passed over: whether the log is whole is for verification to say.
 *
 * @param path the current file
 * @throws {MeshError} NOT_FOUND when there is no log, IO when it can't be read
 */
export async function* readAuditLog(path: string): AsyncGenerator<AuditRow> {
  try {
    const files = [...(await fullFiles(path)), ...((await exists(path)) ? [path] : [])]
    if (files.length === 0) throw new MeshError('NOT_FOUND', `there is no audit log at ${path}`)
    for (const file of files) yield* rowsOf(file)
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('IO', `the audit log ${path} cannot be read`, { cause: err })
  }
}

async function* rowsOf(file: string): AsyncGenerator<AuditRow> {
  for await (const line of linesOf(file)) {
    const row = readRow(line)
    if (row !== undefined) yield row
  }
}

const ROW_START = Buffer.from('{"time":"')

function readRow(line: Buffer): AuditRow | undefined {
  if (!line.subarray(0, ROW_START.length).equals(ROW_START)) return undefined
  try {
    const row: unknown = JSON.parse(line.toString())
    return isRow(row) ? row : undefined
  } catch {
    // Cut off by a crash
    return undefined
  }
}

function isRow(row: unknown): row is AuditRow {
  if (typeof row !== 'object' || row === null) return false
  const { peer, action, resource, effect, rules } = row as Record<keyof AuditRow, unknown> // looked at below
  return [peer, action, resource, effect].every((text) => typeof text === 'string') && Array.isArray(rules)
}
