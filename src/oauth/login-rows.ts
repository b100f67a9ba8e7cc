import type { Migrations, Row, Statement } from '../store/index.ts'
import type { LoginFlow } from './index.ts'

export const loginsMigrations: Migrations = {
  room: 'logins',
  steps: [
    `CREATE TABLE login (
       id TEXT PRIMARY KEY,
       issuer TEXT NOT NULL,
       client_id TEXT NOT NULL,
       flow TEXT NOT NULL CHECK (flow IN ('client-credentials', 'code', 'device')),
       scopes TEXT NOT NULL,
       peers TEXT NOT NULL,
       resources TEXT NOT NULL,
       created_at INTEGER NOT NULL,
       refused TEXT,
       sealed_secret TEXT,
       sealed_refresh TEXT
     ) STRICT, WITHOUT ROWID;`
  ]
}

/** A row of `login`. */
export interface LoginRow {
  readonly id: string
  readonly issuer: string
  readonly clientId: string
  readonly flow: LoginFlow
  readonly scopes: readonly string[]
  readonly peers: readonly string[]
  /** What tokens may be for. */
  readonly resources: readonly string[]
  readonly createdAt: number
  /** The issuer's error code, when it has refused to renew for good. */
  readonly refused: string | undefined
  readonly sealedSecret: string | undefined
  readonly sealedRefresh: string | undefined
}

export function readLogin(row: Row): LoginRow {
  return {
    id: String(row.id),
    issuer: String(row.issuer),
    clientId: String(row.client_id),
    // The table's CHECK lets nothing else in
    flow: String(row.flow) as LoginFlow,
    scopes: listOf(row.scopes),
    peers: listOf(row.peers),
    resources: listOf(row.resources),
    createdAt: Number(row.created_at),
    refused: optional(row.refused),
    sealedSecret: optional(row.sealed_secret),
    sealedRefresh: optional(row.sealed_refresh)
  }
}

/** Adds a login unless there are `max` already, those that it takes the place of not counted. */
export function insertLogin(row: LoginRow, max: number): Statement {
  return {
    sql: `INSERT INTO login (id, issuer, client_id, flow, scopes, peers, resources, created_at, sealed_secret, sealed_refresh)
          SELECT ?, ?, ?, ?, ?, ?, ?, ?, ?, ? WHERE (SELECT count(*) FROM login) < ?`,
    params: [
      row.id,
      row.issuer,
      row.clientId,
      row.flow,
      JSON.stringify(row.scopes),
      JSON.stringify(row.peers),
      JSON.stringify(row.resources),
      row.createdAt,
      row.sealedSecret ?? null,
      row.sealedRefresh ?? null,
      max
    ]
  }
}

export function deleteLogin(id: string): Statement {
  return { sql: 'DELETE FROM login WHERE id = ?', params: [id] }
}

export function saveRefresh(id: string, sealed: string): Statement {
  return { sql: 'UPDATE login SET sealed_refresh = ? WHERE id = ?', params: [sealed, id] }
}

export function saveRefusal(id: string, reason: string): Statement {
  return { sql: 'UPDATE login SET refused = ?, sealed_refresh = NULL WHERE id = ?', params: [reason, id] }
}

function listOf(value: unknown): readonly string[] {
  // Written by this room alone
  return JSON.parse(String(value)) as string[]
}

function optional(value: unknown): string | undefined {
  return typeof value === 'string' ? value : undefined
}
