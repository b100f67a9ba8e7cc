import type { Migrations, Store } from '../store/index.ts'
import { MAX_REVOKED_TOKENS, REVOKED_TOKEN_TTL_MS } from './constants.ts'
import { issuerName } from './issuers.ts'

export const tokensMigrations: Migrations = {
  room: 'tokens',
  steps: [
    `CREATE TABLE revoked_token (
      issuer TEXT NOT NULL,
      id TEXT NOT NULL,
      revoked_at INTEGER NOT NULL,
      PRIMARY KEY (issuer, id)
    ) STRICT`
  ]
}

/** Tokens that were revoked here, whatever their issuer says. */
export interface Denylist {
  /** Listed at once, and on disk when it resolves. @throws {MeshError} IO */
  add(issuer: string, id: string): Promise<void>
  has(issuer: string, id: string): boolean
}

export function createDenylist(store: Store, clock: () => number): Denylist {
  const listed = new Set<string>()
  const keyOf = (issuer: string, id: string): string => `${issuer} ${id}`
  const rows = store.all('SELECT issuer, id FROM revoked_token WHERE revoked_at > ? ORDER BY revoked_at', [
    clock() - REVOKED_TOKEN_TTL_MS
  ])
  for (const { issuer, id } of rows) listed.add(keyOf(String(issuer), String(id)))

  return {
    async add(issuer, id) {
      const name = issuerName(issuer)
      listed.add(keyOf(name, id))
      const [oldest] = listed
      if (listed.size > MAX_REVOKED_TOKENS && oldest !== undefined) listed.delete(oldest)
      await store.write([
        { sql: 'INSERT OR REPLACE INTO revoked_token VALUES (?, ?, ?)', params: [name, id, clock()] },
        { sql: 'DELETE FROM revoked_token WHERE revoked_at <= ?', params: [clock() - REVOKED_TOKEN_TTL_MS] },
        {
          sql: `DELETE FROM revoked_token WHERE rowid IN
            (SELECT rowid FROM revoked_token ORDER BY revoked_at DESC LIMIT -1 OFFSET ?)`,
          params: [MAX_REVOKED_TOKENS]
        }
      ])
    },
    has: (issuer, id) => listed.has(keyOf(issuerName(issuer), id))
  }
}
