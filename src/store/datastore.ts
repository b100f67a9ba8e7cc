import { rmSync } from 'node:fs'
import { NotFoundError } from '@libp2p/interface'
import { BaseDatastore } from 'datastore-core'
import { type Batch, type Datastore, Key, type KeyQuery, type Pair, type Query } from 'interface-datastore'
import { MeshError } from '../errors.ts'
import { DATASTORE_PAGE } from './constants.ts'
import { type Connection, IN_MEMORY, isCorrupt, openWriter, sqliteError } from './sqlite.ts'

export interface DatastoreInit {
  /** The file; created when missing, made anew when damaged. Undefined: in memory. */
  readonly path?: string | undefined
}

/** What libp2p remembers: peers, addresses, DHT entries. A cache: what it loses is found again. */
export interface SqliteDatastore extends Datastore {
  close(): void
}

type Options = { signal?: AbortSignal }

/**
 * Opens libp2p's datastore: a SQLite file of its own, which survives a crash but may lose the last writes to a power cut.
 *
 * @throws {MeshError} IO when the file can't be opened
 */
export function createDatastore(init: DatastoreInit = {}): SqliteDatastore {
  const { path = IN_MEMORY } = init
  try {
    return new SqliteStore(openCache(path))
  } catch (err) {
    throw new MeshError('IO', `cannot open ${path}: ${err instanceof Error ? err.message : String(err)}`, {
      cause: err,
      hint: 'check that its folder exists, is yours and has room left'
    })
  }
}

function openCache(path: string): Connection {
  try {
    return openTable(path)
  } catch (err) {
    if (!isCorrupt(err)) throw err
    for (const suffix of ['', '-wal', '-shm']) rmSync(path + suffix, { force: true })
    return openTable(path)
  }
}

function openTable(path: string): Connection {
  const connection = openWriter(path, 'NORMAL')
  connection.db.exec(
    'CREATE TABLE IF NOT EXISTS entry (key TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID'
  )
  return connection
}

// The base class brings query's filters, orders and limits, and the *Many methods.
class SqliteStore extends BaseDatastore implements SqliteDatastore {
  readonly #connection: Connection

  constructor(connection: Connection) {
    super()
    this.#connection = connection
  }

  override put(key: Key, value: Uint8Array, options?: Options): Key {
    options?.signal?.throwIfAborted()
    this.#run('INSERT INTO entry VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value', key.toString(), value)
    return key
  }

  override get(key: Key, options?: Options): Uint8Array {
    options?.signal?.throwIfAborted()
    const value = this.#query('SELECT value FROM entry WHERE key = ?', key.toString())[0]?.['value']
    if (!(value instanceof Uint8Array)) throw new NotFoundError()
    return value
  }

  override has(key: Key, options?: Options): boolean {
    options?.signal?.throwIfAborted()
    return this.#query('SELECT 1 FROM entry WHERE key = ?', key.toString()).length > 0
  }

  override delete(key: Key, options?: Options): void {
    options?.signal?.throwIfAborted()
    this.#run('DELETE FROM entry WHERE key = ?', key.toString())
  }

  /** All of it or nothing, in one commit. */
  override batch(): Batch {
    let steps: Array<() => void> = []
    return {
      put: (key, value) => void steps.push(() => this.put(key, value)),
      delete: (key) => void steps.push(() => this.delete(key)),
      commit: (options?: Options) => {
        options?.signal?.throwIfAborted()
        this.#transaction(steps)
        steps = []
      }
    }
  }

  override *_all(query: Query, options?: Options): Generator<Pair> {
    for (const row of this.#pages('key, value', query.prefix, options)) {
      yield { key: new Key(String(row['key']), false), value: row['value'] as Uint8Array } // BLOB NOT NULL
    }
  }

  override *_allKeys(query: KeyQuery, options?: Options): Generator<Key> {
    for (const row of this.#pages('key', query.prefix, options)) yield new Key(String(row['key']), false)
  }

  close(): void {
    if (this.#connection.db.isOpen) this.#connection.db.close()
  }

  /** In pages, not by one open statement: libp2p deletes entries while it goes through them. */
  *#pages(columns: string, prefix = '', options?: Options): Generator<Record<string, unknown>> {
    // Keys are below the prefix's last possible continuation; the base class compares exactly.
    const end = `${prefix}\u{10FFFF}`
    const first = `SELECT ${columns} FROM entry WHERE key >= ? AND key < ? ORDER BY key LIMIT ${DATASTORE_PAGE}`
    const next = `SELECT ${columns} FROM entry WHERE key > ? AND key < ? ORDER BY key LIMIT ${DATASTORE_PAGE}`
    let page = this.#query(first, prefix, end)
    while (page.length > 0) {
      for (const row of page) {
        options?.signal?.throwIfAborted()
        yield row
      }
      page = this.#query(next, String(page.at(-1)?.['key']), end)
    }
    options?.signal?.throwIfAborted()
  }

  #transaction(steps: ReadonlyArray<() => void>): void {
    const { db } = this.#connection
    db.exec('BEGIN IMMEDIATE')
    try {
      for (const step of steps) step()
      db.exec('COMMIT')
    } catch (err) {
      if (db.isTransaction) db.exec('ROLLBACK')
      throw sqliteError(err)
    }
  }

  #run(sql: string, ...params: Array<string | Uint8Array>): void {
    try {
      this.#connection.prepare(sql).run(...params)
    } catch (err) {
      throw sqliteError(err)
    }
  }

  #query(sql: string, ...params: string[]): Array<Record<string, unknown>> {
    try {
      return this.#connection.prepare(sql).all(...params)
    } catch (err) {
      throw sqliteError(err)
    }
  }
}
