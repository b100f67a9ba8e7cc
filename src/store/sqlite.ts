import { closeSync, openSync } from 'node:fs'
import { DatabaseSync, type StatementSync } from 'node:sqlite'
import { LRUCache } from 'lru-cache'
import { type ErrorCode, MeshError } from '../errors.ts'
import { BUSY_TIMEOUT_MS, JOURNAL_LIMIT_BYTES, MAX_CACHED_STATEMENTS } from './constants.ts'

/** Path of a database that lives in memory. */
export const IN_MEMORY = ':memory:'

/** How much a commit survives: FULL a power cut, NORMAL a crash of the process. */
export type Synchronous = 'FULL' | 'NORMAL'

/** A connection that prepares each statement once. */
export interface Connection {
  readonly db: DatabaseSync
  prepare(sql: string): StatementSync
}

/** Opens a file for writing, with the settings that make a commit durable. @throws what SQLite throws */
export function openWriter(path: string, synchronous: Synchronous): Connection {
  if (path !== IN_MEMORY) createPrivate(path)
  const db = new DatabaseSync(path, { timeout: BUSY_TIMEOUT_MS })
  try {
    // fullfsync: on macOS fsync alone leaves the data in the drive's cache; elsewhere it does nothing.
    db.exec(`
      PRAGMA journal_mode = WAL;
      PRAGMA synchronous = ${synchronous};
      PRAGMA fullfsync = ON;
      PRAGMA checkpoint_fullfsync = ON;
      PRAGMA foreign_keys = ON;
      PRAGMA trusted_schema = OFF;
      PRAGMA wal_autocheckpoint = 1000;
      PRAGMA journal_size_limit = ${JOURNAL_LIMIT_BYTES};
    `)
    quickCheck(db)
  } catch (err) {
    db.close()
    throw err
  }
  return withCache(db)
}

/** Opens a second connection, to a file that a writer has open. */
export function openReader(path: string): Connection {
  const db = new DatabaseSync(path, { readOnly: true, timeout: BUSY_TIMEOUT_MS })
  db.exec('PRAGMA trusted_schema = OFF')
  return withCache(db)
}

/** SQLite's extended result code of an error, or undefined when it isn't one of SQLite's. */
export function resultCode(err: unknown): number | undefined {
  if (!(err instanceof Error) || !('errcode' in err) || typeof err.errcode !== 'number') return undefined
  return err.errcode
}

/** True when the file is not, or no longer, a database. */
export function isCorrupt(err: unknown): boolean {
  const primary = (resultCode(err) ?? 0) & 0xff
  return primary === SQLITE_CORRUPT || primary === SQLITE_NOTADB
}

/** Makes a {@link MeshError} of what SQLite threw while it ran; says nothing of paths, for it may reach a peer. */
export function sqliteError(err: unknown): MeshError {
  if (err instanceof MeshError) return err
  const [code, message] = MEANING[(resultCode(err) ?? 0) & 0xff] ?? DEFECT
  return new MeshError(code, message, { cause: err })
}

/** Runs a query; what SQLite throws becomes ours. */
export function read<T>(query: () => T): T {
  try {
    return query()
  } catch (err) {
    throw sqliteError(err)
  }
}

// https://sqlite.org/rescode.html; the low byte is the primary code.
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

const DEFECT: readonly [ErrorCode, string] = ['INTERNAL', 'the database refused a statement']

const MEANING: Readonly<Record<number, readonly [ErrorCode, string]>> = {
  5: ['BUSY', 'another program holds the database'],
  8: ['IO', 'the database is read-only'],
  10: ['IO', 'the disk refused to read or write'],
  13: ['IO', 'the disk is full'],
  14: ['IO', 'the database cannot be opened'],
  [SQLITE_CORRUPT]: ['INVALID_CONFIG', 'the database is damaged'],
  [SQLITE_NOTADB]: ['INVALID_CONFIG', 'the file is not a database']
}

/** SQLite gives its -wal and -shm files the mode of the database, so this covers all three. */
function createPrivate(path: string): void {
  closeSync(openSync(path, 'a', 0o600))
}

function quickCheck(db: DatabaseSync): void {
  const result = db.prepare('PRAGMA quick_check(1)').get()?.['quick_check']
  if (result !== 'ok') throw Object.assign(new Error(String(result)), { errcode: SQLITE_CORRUPT })
}

function withCache(db: DatabaseSync): Connection {
  const statements = new LRUCache<string, StatementSync>({ max: MAX_CACHED_STATEMENTS })
  return {
    db,
    prepare(sql) {
      const cached = statements.get(sql)
      if (cached !== undefined) return cached
      const statement = db.prepare(sql)
      statements.set(sql, statement)
      return statement
    }
  }
}
