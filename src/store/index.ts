/**
 * The embedded database: one SQLite file per home, written by one worker thread with group commit.
 *
 * A write resolves only when it is on disk (`synchronous=FULL`); reads are synchronous, on this thread's own connection.
 *
 * @packageDocumentation
 * @example
 * const store = await openStore({ path: join(home, 'mesh.db'), migrations: [registryMigrations] })
 * await store.write([{ sql: 'INSERT INTO agent (name, definition) VALUES (?, ?)', params: ['fs', '{}'] }])
 * const row = store.get('SELECT definition FROM agent WHERE name = ?', ['fs'])
 */
import { openInline } from './inline.ts'
import { openThreaded } from './threaded.ts'

export { type Ballast, type BallastInit, createBallast } from './ballast.ts'
export * from './constants.ts'
export { createDatastore, type DatastoreInit, type SqliteDatastore } from './datastore.ts'
export { type HomeLock, lockHome } from './lock.ts'
export { type PrivateFileInit, readOrCreatePrivate, readPrivate } from './private-file.ts'

/** What SQLite stores in a column. */
export type SqlValue = null | number | bigint | string | Uint8Array

export type Row = Record<string, SqlValue>

export interface Statement {
  readonly sql: string
  readonly params?: readonly SqlValue[]
}

/** The steps that a room's tables have gone through, oldest first; a released step never changes. */
export interface Migrations {
  readonly room: string
  readonly steps: readonly string[]
}

export interface WriteOptions {
  /** It may wait up to PATIENCE_MS for another write to share its commit; default false. Writes keep their order. */
  readonly isPatient?: boolean
}

export interface Store {
  /**
   * Runs the statements as one transaction and resolves when it is on disk; concurrent writes share one commit.
   *
   * @returns the number of rows each statement changed
   * @throws {MeshError} IO when the disk refuses, BUSY when MAX_QUEUED_WRITES wait already or another program holds the
   * file, CANCELLED after {@link close}; nothing of it was written then
   */
  write(statements: readonly Statement[], options?: WriteOptions): Promise<readonly number[]>
  /** The first row, or undefined. Sees every write that has resolved. @throws {MeshError} IO when the disk refuses */
  get(sql: string, params?: readonly SqlValue[]): Row | undefined
  all(sql: string, params?: readonly SqlValue[]): Row[]
  /** Commits what is queued and closes the file. */
  close(): Promise<void>
}

export interface StoreInit {
  /** The file, in a folder that exists; created when missing. Undefined: a database in memory (tests, nodes without a home). */
  readonly path?: string | undefined
  readonly migrations: readonly Migrations[]
}

/**
 * Opens the database, checks it and brings its tables up to date. Whoever opens it closes it.
 *
 * @throws {MeshError} INVALID_CONFIG when the file is damaged, no database, or of a newer version; IO when it can't be opened
 */
export async function openStore(init: StoreInit): Promise<Store> {
  const { path, migrations } = init
  return path === undefined ? openInline(migrations) : openThreaded({ path, migrations })
}
