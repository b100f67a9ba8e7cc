import type { Migrations, Row, Statement } from '../store/index.ts'
import { type GrantChain, keptChain } from './chain.ts'
import type { Counter } from './counters.ts'
import { type Entry, entryOf } from './entries.ts'

export const grantsMigrations: Migrations = {
  room: 'grants',
  steps: [
    `CREATE TABLE grant_issued (
       id TEXT PRIMARY KEY,
       chain TEXT NOT NULL,
       revoked_at INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE grant_held (
       id TEXT PRIMARY KEY,
       chain TEXT NOT NULL
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE grant_counter (
       id TEXT PRIMARY KEY,
       root TEXT NOT NULL,
       uses INTEGER,
       used INTEGER NOT NULL,
       last_used_at INTEGER,
       expires_at INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX grant_counter_root ON grant_counter (root);
     CREATE TABLE grant_revocations (
       issuer TEXT PRIMARY KEY,
       seq INTEGER NOT NULL,
       ids TEXT NOT NULL,
       learned_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;`
  ]
}

export function readIssued(row: Row, counterOf: (id: string) => Counter | undefined): Entry {
  const counter = counterOf(String(row['id']))
  return entryOf({
    role: 'issued',
    chain: readChain(row),
    counters: counter === undefined ? [] : [counter],
    ...(row['revoked_at'] === null ? {} : { revokedAt: Number(row['revoked_at']) })
  })
}

export function readHeld(row: Row): Entry {
  return entryOf({ role: 'held', chain: readChain(row), counters: [] })
}

function readChain(row: Row): GrantChain {
  // Written by this room alone
  return keptChain(JSON.parse(String(row['chain'])) as string[])
}

/** @param isCounted of a resource of this node's */
export function insertIssued(chain: GrantChain, isCounted: boolean): readonly Statement[] {
  const { id, uses = null, expiresAt = null } = chain.at(-1) ?? chain[0]
  const insert = { sql: 'INSERT INTO grant_issued (id, chain) VALUES (?, ?)', params: [id, textOf(chain)] }
  if (!isCounted) return [insert]
  const sql = 'INSERT INTO grant_counter (id, root, uses, used, expires_at) VALUES (?, ?, ?, 0, ?)'
  return [insert, { sql, params: [id, id, uses, expiresAt] }]
}

export function insertHeld(chain: GrantChain): Statement {
  const { id } = chain.at(-1) ?? chain[0]
  return { sql: 'INSERT INTO grant_held (id, chain) VALUES (?, ?)', params: [id, textOf(chain)] }
}

export function revokeIssued(ids: readonly string[], now: number): Statement {
  return {
    sql: `UPDATE grant_issued SET revoked_at = ?
          WHERE id IN (SELECT value FROM json_each(?)) AND revoked_at IS NULL`,
    params: [now, JSON.stringify(ids)]
  }
}

/** Forgets grants and what was counted for them. */
export function deleteIssued(ids: readonly string[]): readonly Statement[] {
  const params = [JSON.stringify(ids)]
  return [
    { sql: 'DELETE FROM grant_issued WHERE id IN (SELECT value FROM json_each(?))', params },
    { sql: 'DELETE FROM grant_counter WHERE root IN (SELECT value FROM json_each(?))', params }
  ]
}

export function deleteHeld(ids: readonly string[]): Statement {
  return { sql: 'DELETE FROM grant_held WHERE id IN (SELECT value FROM json_each(?))', params: [JSON.stringify(ids)] }
}

function textOf(chain: GrantChain): string {
  return JSON.stringify(chain.map(({ text }) => text))
}
