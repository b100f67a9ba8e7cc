import { closed, commit, openDatabase, restore } from './database.ts'
import type { Migrations, Store } from './index.ts'
import { IN_MEMORY, read } from './sqlite.ts'

/** A database in memory, on this thread: there is no disk to wait for, so no worker. */
export function openInline(migrations: readonly Migrations[]): Store {
  const connection = openDatabase(IN_MEMORY, migrations)
  return {
    async write(statements) {
      if (!connection.db.isOpen) throw closed()
      const [outcome] = commit(connection, [statements])
      if (outcome === undefined) return []
      if ('error' in outcome) throw restore(outcome.error, outcome.detail)
      return outcome.changes
    },
    get: (sql, params = []) => read(() => connection.prepare(sql).get(...params)),
    all: (sql, params = []) => read(() => connection.prepare(sql).all(...params)),
    async close() {
      if (connection.db.isOpen) connection.db.close()
    }
  }
}
