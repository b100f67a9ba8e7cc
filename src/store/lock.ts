import { chmodSync } from 'node:fs'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { MeshError } from '../errors.ts'
import { BUSY_TIMEOUT_MS } from './constants.ts'
import { resultCode, sqliteError } from './sqlite.ts'

export interface HomeLock {
  release(): Promise<void>
}

/**
 * Takes a home for this process. The operating system lets go of it when the process ends, however it ends.
 *
 * The lock is a write transaction that stays open on a tiny database: SQLite has done the portable file locking. Don't
 * open and close `home.lock` by other means in this process; POSIX drops a process's locks with any of its descriptors.
 *
 * @param path the home, an existing folder
 * @throws {MeshError} HOME_IN_USE at once when it is taken, also by this process; IO when the folder can't be written
 */
export async function lockHome(path: string): Promise<HomeLock> {
  const db = open(join(path, 'home.lock'), path)
  try {
    take(db)
  } catch (err) {
    const holder = isLocked(err) ? holderOf(db) : ''
    db.close()
    if (!isLocked(err)) throw ioError(err, path)
    throw new MeshError('HOME_IN_USE', `another process${holder} runs on ${path}`, {
      cause: err,
      hint: 'stop it first (pryx-mesh stop), or choose another home with --home'
    })
  }
  return {
    async release() {
      if (db.isOpen) db.close()
    }
  }
}

/** Leaves the process id where others can read it; they read beside an open write transaction that has written nothing. */
function take(db: DatabaseSync): void {
  db.exec('BEGIN IMMEDIATE')
  // Now only someone reading the process id can be in the way, and only for a moment.
  db.exec(
    `PRAGMA busy_timeout = ${BUSY_TIMEOUT_MS}; PRAGMA user_version = ${process.pid}; COMMIT; PRAGMA busy_timeout = 0`
  )
  db.exec('BEGIN IMMEDIATE')
}

function open(file: string, home: string): DatabaseSync {
  try {
    const db = new DatabaseSync(file, { timeout: 0 })
    chmodSync(file, 0o600)
    return db
  } catch (err) {
    throw ioError(err, home)
  }
}

function isLocked(err: unknown): boolean {
  return ((resultCode(err) ?? 0) & 0xff) === 5 // SQLITE_BUSY
}

function holderOf(db: DatabaseSync): string {
  try {
    const pid = db.prepare('PRAGMA user_version').get()?.['user_version']
    return typeof pid === 'number' && pid > 0 ? ` (pid ${pid})` : ''
  } catch {
    return '' // it is writing the number just now; the refusal doesn't need it
  }
}

function ioError(err: unknown, home: string): MeshError {
  return new MeshError('IO', `cannot lock ${home}: ${sqliteError(err).message}`, {
    cause: err,
    hint: 'check that the folder exists and is yours to write'
  })
}
