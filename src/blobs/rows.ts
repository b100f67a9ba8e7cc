import type { Migrations, Row, Statement, Store } from '../store/index.ts'
import { MAX_READERS } from './constants.ts'
import type { BlobInfo } from './index.ts'

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
    ) STRICT, WITHOUT ROWID`
  ]
}

export function insert(sha256: string, size: number, now: number): Statement {
  return {
    sql: 'INSERT INTO blob (sha256, size, created_at, used_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING',
    params: [sha256, size, now, now]
  }
}

export function touch(sha256: string, now: number): Statement {
  return { sql: 'UPDATE blob SET used_at = ? WHERE sha256 = ?', params: [now, sha256] }
}

/** Two statements: the blob's readers go with it, whether foreign keys are enforced or not. */
export function remove(sha256: string): Statement[] {
  return [
    {
      sql: 'DELETE FROM blob_reader WHERE sha256 IN (SELECT sha256 FROM blob WHERE sha256 = ? AND pins = 0)',
      params: [sha256]
    },
    { sql: 'DELETE FROM blob WHERE sha256 = ? AND pins = 0', params: [sha256] }
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

export function pin(sha256: string, change: 1 | -1): Statement {
  return { sql: 'UPDATE blob SET pins = max(pins + ?, 0) WHERE sha256 = ?', params: [change, sha256] }
}

export function sizeOf(store: Store, sha256: string): number | undefined {
  const row = store.get('SELECT size FROM blob WHERE sha256 = ?', [sha256])
  return row && Number(row['size'])
}

export function isReader(store: Store, sha256: string, peer: string): boolean {
  return store.get('SELECT 1 FROM blob_reader WHERE sha256 = ? AND peer = ?', [sha256, peer]) !== undefined
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
  const readers = store.all('SELECT peer FROM blob_reader WHERE sha256 = ? ORDER BY peer', [sha256])
  return {
    sha256,
    size: Number(row['size']),
    createdAt: new Date(Number(row['created_at'])).toISOString(),
    usedAt: new Date(Number(row['used_at'])).toISOString(),
    pins: Number(row['pins']),
    readers: readers.map(({ peer }) => String(peer))
  }
}
