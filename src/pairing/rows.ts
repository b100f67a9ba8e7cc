import type { Migrations, Row, Statement } from '../store/index.ts'
import type { InviteInit } from './index.ts'

type InviteLevel = NonNullable<InviteInit['level']>

export const pairingMigrations: Migrations = {
  room: 'pairing',
  steps: [
    `CREATE TABLE invite (
       id TEXT PRIMARY KEY,
       sealed TEXT NOT NULL,
       level TEXT NOT NULL CHECK (level IN ('known', 'trusted', 'owner')),
       expires_at INTEGER NOT NULL,
       failures INTEGER NOT NULL DEFAULT 0,
       redeemed_by TEXT,
       attempt TEXT
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE pair (
       peer TEXT PRIMARY KEY,
       invite TEXT NOT NULL,
       name TEXT NOT NULL,
       level TEXT NOT NULL CHECK (level IN ('known', 'trusted', 'owner')),
       paired_at INTEGER NOT NULL,
       fingerprint TEXT NOT NULL,
       sealed TEXT NOT NULL,
       statement TEXT,
       settled INTEGER NOT NULL DEFAULT 0,
       ended_at INTEGER
     ) STRICT, WITHOUT ROWID;`
  ]
}

export interface InviteRow {
  readonly id: string
  /** The secret, base64url, sealed by the vault. */
  readonly sealed: string
  readonly level: InviteLevel
  readonly expiresAt: number
  /** Wrong proofs so far. */
  readonly failures: number
  readonly redeemedBy: string | undefined
}

export interface PairRow {
  readonly peer: string
  /** Id of the invite that made it. */
  readonly invite: string
  readonly name: string
  /** What the peer is to become here. */
  readonly level: InviteLevel
  /** By the inviter's clock. */
  readonly pairedAt: number
  readonly fingerprint: string
  /** The root, base64url, sealed by the vault. */
  readonly sealed: string
  /** The peer's statement that this node is its owner's. */
  readonly statement: string | undefined
  /** The trust room has its level. */
  readonly settled: boolean
}

export function readInvite(row: Row): InviteRow {
  return {
    id: String(row.id),
    sealed: String(row.sealed),
    // The table's CHECK lets nothing else in
    level: String(row.level) as InviteLevel,
    expiresAt: Number(row.expires_at),
    failures: Number(row.failures),
    redeemedBy: textOf(row.redeemed_by)
  }
}

export function readPair(row: Row): PairRow {
  return {
    peer: String(row.peer),
    invite: String(row.invite),
    name: String(row.name),
    // The table's CHECK lets nothing else in
    level: String(row.level) as InviteLevel,
    pairedAt: Number(row.paired_at),
    fingerprint: String(row.fingerprint),
    sealed: String(row.sealed),
    statement: textOf(row.statement),
    settled: row.settled === 1
  }
}

/**
 * Writes a pair in place of the one before with that peer.
 *
 * @param attempt only if this attempt has redeemed the invite; undefined on the invitee's side
 */
export function savePair(pair: PairRow, attempt?: string): Statement {
  const { peer, invite, name, level, pairedAt, fingerprint, sealed, statement = null } = pair
  return {
    sql: `INSERT OR REPLACE INTO pair (peer, invite, name, level, paired_at, fingerprint, sealed, statement)
          SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8
          WHERE ?9 IS NULL OR EXISTS (SELECT 1 FROM invite WHERE id = ?2 AND redeemed_by = ?1 AND attempt = ?9)`,
    params: [peer, invite, name, level, pairedAt, fingerprint, sealed, statement, attempt ?? null]
  }
}

function textOf(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
