import type { DatabaseSync } from 'node:sqlite'
import { type ErrorBody, MeshError } from '../errors.ts'
import type { Migrations, Statement } from './index.ts'
import { type Connection, IN_MEMORY, isCorrupt, openWriter, sqliteError } from './sqlite.ts'

/** What became of one transaction; crosses from the worker, so an error travels as its parts. */
export type Outcome = { readonly changes: readonly number[] } | { readonly error: ErrorBody; readonly detail: string }

/**
 * Opens the database for writing and brings its tables up to date.
 *
 * @throws {MeshError} INVALID_CONFIG when it is damaged or newer than this program, IO when it can't be opened
 */
export function openDatabase(path: string, migrations: readonly Migrations[]): Connection {
  let connection: Connection | undefined
  try {
    connection = openWriter(path, 'FULL')
    migrate(connection.db, migrations, path)
    return connection
  } catch (err) {
    connection?.db.close()
    throw openError(err, path)
  }
}

/**
 * Commits the transactions together. One that fails is left out and doesn't harm the others: where it took all
 * with it (SQLite rolls back everything when the disk is full), each is tried again alone.
 */
export function commit(connection: Connection, transactions: readonly (readonly Statement[])[]): Outcome[] {
  try {
    return commitTogether(connection, transactions)
  } catch (err) {
    if (connection.db.isTransaction) connection.db.exec('ROLLBACK')
    if (transactions.length <= 1) return transactions.map(() => failure(err))
    return transactions.flatMap((transaction) => commit(connection, [transaction]))
  }
}

/** The failure that {@link commit} met, with SQLite's own words as cause: they stay on this node. */
export function restore(body: ErrorBody, detail: string): MeshError {
  return new MeshError(body.code, body.message, {
    cause: new Error(detail),
    ...(body.hint === undefined ? {} : { hint: body.hint })
  })
}

export function closed(): MeshError {
  return new MeshError('CANCELLED', 'the database has been closed')
}

function commitTogether(connection: Connection, transactions: readonly (readonly Statement[])[]): Outcome[] {
  connection.prepare('BEGIN IMMEDIATE').run()
  const outcomes = transactions.map((transaction) => runOne(connection, transaction))
  connection.prepare('COMMIT').run()
  return outcomes
}

function runOne(connection: Connection, transaction: readonly Statement[]): Outcome {
  connection.prepare('SAVEPOINT one').run()
  try {
    const changes = transaction.map(({ sql, params = [] }) => Number(connection.prepare(sql).run(...params).changes))
    connection.prepare('RELEASE one').run()
    return { changes }
  } catch (err) {
    if (!connection.db.isTransaction) throw err
    connection.db.exec('ROLLBACK TO one; RELEASE one')
    return failure(err)
  }
}

function failure(err: unknown): Outcome {
  return { error: sqliteError(err).toJSON(), detail: err instanceof Error ? err.message : String(err) }
}

function migrate(db: DatabaseSync, migrations: readonly Migrations[], path: string): void {
  db.exec('BEGIN IMMEDIATE')
  try {
    db.exec(
      'CREATE TABLE IF NOT EXISTS migration (room TEXT PRIMARY KEY, steps INTEGER NOT NULL) STRICT, WITHOUT ROWID'
    )
    for (const room of migrations) migrateRoom(db, room, path)
    db.exec('COMMIT')
  } catch (err) {
    if (db.isTransaction) db.exec('ROLLBACK')
    throw err
  }
}

function migrateRoom(db: DatabaseSync, { room, steps }: Migrations, path: string): void {
  const done = Number(db.prepare('SELECT steps FROM migration WHERE room = ?').get(room)?.['steps'] ?? 0)
  if (done > steps.length) {
    throw new MeshError(
      'INVALID_CONFIG',
      `${path} was written by a newer version (${room}: step ${done} of ${steps.length})`,
      {
        hint: 'run the newer version again, or choose another home'
      }
    )
  }
  for (const step of steps.slice(done)) db.exec(step)
  db.prepare('INSERT INTO migration VALUES (?, ?) ON CONFLICT DO UPDATE SET steps = excluded.steps').run(
    room,
    steps.length
  )
}

function openError(err: unknown, path: string): MeshError {
  if (err instanceof MeshError) return err
  const where = path === IN_MEMORY ? 'the database in memory' : path
  if (isCorrupt(err)) {
    return new MeshError('INVALID_CONFIG', `${where} is damaged or not a database: ${reason(err)}`, {
      cause: err,
      hint: `put a backup in its place, or move ${where} and ${where}-wal away to start with an empty one`
    })
  }
  const { code } = sqliteError(err)
  if (code === 'INTERNAL' && !isSystemError(err)) return sqliteError(err)
  return new MeshError(code === 'INTERNAL' ? 'IO' : code, `cannot open ${where}: ${reason(err)}`, {
    cause: err,
    hint: 'check that its folder exists, is yours and has room left'
  })
}

/** From `node:fs`, such as EACCES. */
function isSystemError(err: unknown): boolean {
  return err instanceof Error && 'syscall' in err
}

function reason(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
