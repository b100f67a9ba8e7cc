import type { Migrations, Row, Statement, Store } from '../store/index.ts'
import { MAX_READERS } from './constants.ts'
import type { BlobHold, BlobInfo, BlobRef } from './index.ts'

export const blobsMigrations: Migrations = {
  room: 'blobs',
  steps: [
    `CREATE TABLE blob (
      sha256 TEXT PRIMARY KEY,
      size INTEGER NOT NULL,
      created_at INTEGER NOT NULL,
      used_at INTEGER NOT NULL,
      pins INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE blob_reader (
      sha256 TEXT NOT NULL REFERENCES blob (sha256) ON DELETE CASCADE,
      peer TEXT NOT NULL,
      PRIMARY KEY (sha256, peer)
    ) STRICT, WITHOUT ROWID`,
    `CREATE TABLE blob_hold (
      purpose TEXT PRIMARY KEY,
      sha256 TEXT NOT NULL,
      reader TEXT
    ) STRICT;
    CREATE INDEX blob_hold_by_blob ON blob_hold (sha256);
    ALTER TABLE blob ADD COLUMN passing INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE blob DROP COLUMN pins`
  ]
}

/** @param isPassing it goes with the last hold on it */
export function insert(ref: BlobRef, now: number, isPassing = false): Statement {
  return {
    sql: 'INSERT INTO blob (sha256, size, created_at, used_at, passing) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING',
    params: [ref.sha256, ref.size, now, now, isPassing ? 1 : 0]
  }
}

export function touch(sha256: string, now: number): Statement {
  return { sql: 'UPDATE blob SET used_at = ? WHERE sha256 = ?', params: [now, sha256] }
}

/** It is to stay, for another has put it too. */
export function stay(sha256: string): Statement {
  return { sql: 'UPDATE blob SET passing = 0 WHERE sha256 = ?', params: [sha256] }
}

const IS_FREE = 'NOT EXISTS (SELECT 1 FROM blob_hold WHERE blob_hold.sha256 = blob.sha256)'

/** Two statements: the blob's readers go with it, whether foreign keys are enforced or not. */
export function remove(sha256: string): Statement[] {
  return [
    {
      sql: `DELETE FROM blob_reader WHERE sha256 IN (SELECT sha256 FROM blob WHERE sha256 = ? AND ${IS_FREE})`,
      params: [sha256]
    },
    { sql: `DELETE FROM blob WHERE sha256 = ? AND ${IS_FREE}`, params: [sha256] }
  ]
}

export function addReader(sha256: string, peer: string): Statement {
  return {
    sql: `INSERT INTO blob_reader (sha256, peer) SELECT ?, ?
          WHERE (SELECT count(*) FROM blob_reader WHERE sha256 = ?) < ${MAX_READERS}
          ON CONFLICT DO NOTHING`,
    params: [sha256, peer, sha256]
  }
}

export function removeReader(sha256: string, peer: string): Statement {
  return { sql: 'DELETE FROM blob_reader WHERE sha256 = ? AND peer = ?', params: [sha256, peer] }
}

export function hold(sha256: string, { purpose, reader }: BlobHold): Statement {
  return {
    sql: `INSERT INTO blob_hold (purpose, sha256, reader) SELECT ?, sha256, ? FROM blob WHERE sha256 = ?
          ON CONFLICT DO UPDATE SET sha256 = excluded.sha256, reader = excluded.reader`,
    params: [purpose, reader ?? null, sha256]
  }
}

export function release(purposes: readonly string[]): Statement {
  return {
    sql: 'DELETE FROM blob_hold WHERE purpose IN (SELECT value FROM json_each(?))',
    params: [JSON.stringify(purposes)]
  }
}

export function purposes(store: Store): string[] {
  return store.all('SELECT purpose FROM blob_hold ORDER BY purpose').map(({ purpose }) => String(purpose))
}

/** Blobs that are to go, since nothing holds them any more. */
export function over(store: Store): string[] {
  return store.all(`SELECT sha256 FROM blob WHERE passing = 1 AND ${IS_FREE}`).map(({ sha256 }) => String(sha256))
}

export function sizeOf(store: Store, sha256: string): number | undefined {
  const row = store.get('SELECT size FROM blob WHERE sha256 = ?', [sha256])
  return row && Number(row['size'])
}

export function isReader(store: Store, sha256: string, peer: string): boolean {
  const sql = `SELECT 1 FROM blob_reader WHERE sha256 = ?1 AND peer = ?2
               UNION ALL SELECT 1 FROM blob_hold WHERE sha256 = ?1 AND reader = ?2 LIMIT 1`
  return store.get(sql, [sha256, peer]) !== undefined
}

export function usedBytes(store: Store): number {
  return Number(store.get('SELECT coalesce(sum(size), 0) AS bytes FROM blob')?.['bytes'])
}

export function read(store: Store, sha256: string): BlobInfo | undefined {
  const row = store.get('SELECT * FROM blob WHERE sha256 = ?', [sha256])
  return row && infoOf(store, row)
}

export function readAll(store: Store): BlobInfo[] {
  return store.all('SELECT * FROM blob ORDER BY created_at DESC, sha256').map((row) => infoOf(store, row))
}

function infoOf(store: Store, row: Row): BlobInfo {
  const sha256 = String(row['sha256'])
  const readers = store.all(
    `SELECT peer FROM blob_reader WHERE sha256 = ?1
     UNION SELECT reader FROM blob_hold WHERE sha256 = ?1 AND reader IS NOT NULL ORDER BY 1`,
    [sha256]
  )
  const holds = store.get('SELECT count(*) AS count FROM blob_hold WHERE sha256 = ?', [sha256])
  return {
    sha256,
    size: Number(row['size']),
    createdAt: new Date(Number(row['created_at'])).toISOString(),
    usedAt: new Date(Number(row['used_at'])).toISOString(),
    pins: Number(holds?.['count']),
    readers: readers.map(({ peer }) => String(peer))
  }
}
