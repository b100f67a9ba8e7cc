import type { Migrations, Row } from '../store/index.ts'
import type { ApiKeyInfo } from './index.ts'

export const keysMigrations: Migrations = {
  room: 'keys',
  steps: [
    `CREATE TABLE api_key (
       id TEXT PRIMARY KEY,
       name TEXT NOT NULL,
       scopes TEXT NOT NULL,
       created_at INTEGER NOT NULL,
       expires_at INTEGER NOT NULL,
       revoked_at INTEGER,
       last_used_at INTEGER,
       pin TEXT NOT NULL CHECK (pin IN ('first', 'off', 'given')),
       peer TEXT,
       hash BLOB NOT NULL,
       old_hash BLOB,
       overlap_until INTEGER
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE held_key (
       peer TEXT PRIMARY KEY,
       id TEXT NOT NULL,
       sealed TEXT NOT NULL,
       added_at INTEGER NOT NULL
     ) STRICT, WITHOUT ROWID;`
  ]
}

/** A row of `api_key`. */
export interface KeyRow {
  readonly id: string
  readonly name: string
  readonly scopes: readonly string[]
  readonly createdAt: number
  readonly expiresAt: number
  readonly revoked: boolean
  readonly lastUsedAt: number | undefined
  readonly pin: ApiKeyInfo['pin']
  readonly peer: string | undefined
  readonly hash: Uint8Array
  readonly oldHash: Uint8Array | undefined
  readonly overlapUntil: number | undefined
}

export function readRow(row: Row): KeyRow {
  return {
    id: String(row.id),
    name: String(row.name),
    // Written by this room alone
    scopes: JSON.parse(String(row.scopes)) as string[],
    createdAt: Number(row.created_at),
    expiresAt: Number(row.expires_at),
    revoked: row.revoked_at !== null,
    lastUsedAt: optional(row.last_used_at),
    // The table's CHECK lets nothing else in
    pin: String(row.pin) as ApiKeyInfo['pin'],
    peer: typeof row.peer === 'string' ? row.peer : undefined,
    hash: bytesOf(row.hash),
    oldHash: row.old_hash === null ? undefined : bytesOf(row.old_hash),
    overlapUntil: optional(row.overlap_until)
  }
}

/** What may be shown of a key. */
export function infoOf(row: KeyRow, now: number): ApiKeyInfo {
  const { id, name, scopes, createdAt, expiresAt, lastUsedAt, pin, peer, overlapUntil } = row
  return {
    id,
    name,
    scopes,
    createdAt: textOf(createdAt),
    expiresAt: textOf(expiresAt),
    ...(lastUsedAt === undefined ? {} : { lastUsedAt: textOf(lastUsedAt) }),
    state: stateOf(row, now),
    pin,
    ...(peer === undefined ? {} : { peer }),
    ...(overlapUntil === undefined || overlapUntil <= now ? {} : { overlapUntil: textOf(overlapUntil) })
  }
}

export function stateOf({ revoked, expiresAt }: KeyRow, now: number): ApiKeyInfo['state'] {
  if (revoked) return 'revoked'
  return expiresAt <= now ? 'expired' : 'active'
}

function bytesOf(value: unknown): Uint8Array {
  return value instanceof Uint8Array ? value : new Uint8Array()
}

function optional(value: unknown): number | undefined {
  return value === null ? undefined : Number(value)
}

function textOf(time: number): string {
  return new Date(time).toISOString()
}
