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

export interface Store {
  /**
   * Runs the statements as one transaction and resolves when it is on disk; concurrent writes share one commit.
   *
   * @returns the number of rows each statement changed
   * @throws {MeshError} IO when the disk refuses; then nothing of it was written
   */
  write(statements: readonly Statement[]): Promise<readonly number[]>
  /** The first row, or undefined. Sees every write that has resolved. */
  get(sql: string, params?: readonly SqlValue[]): Row | undefined
  all(sql: string, params?: readonly SqlValue[]): Row[]
  /** Commits what is queued and closes the file. */
  close(): Promise<void>
}

export interface StoreInit {
  /** The file, or undefined for a database in memory (tests, nodes without a home). */
  readonly path?: string
  readonly migrations: readonly Migrations[]
}
