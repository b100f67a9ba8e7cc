import { fingerprintOf } from '../identity/index.ts'
import type { Migrations, Row, SqlValue } from '../store/index.ts'
import type { Answer, PermissionRequest } from './index.ts'

export const permissionsMigrations: Migrations = {
  room: 'permissions',
  steps: [
    `CREATE TABLE permission_request (
       seq INTEGER PRIMARY KEY,
       id TEXT NOT NULL UNIQUE,
       state TEXT NOT NULL CHECK (state IN ('pending', 'allowed', 'denied', 'expired', 'cancelled')),
       subject TEXT NOT NULL,
       peer TEXT NOT NULL,
       alias TEXT,
       trust TEXT NOT NULL,
       action TEXT NOT NULL,
       resource TEXT NOT NULL,
       input_json TEXT,
       input_bytes INTEGER,
       input_digest TEXT,
       wanted TEXT,
       digest TEXT,
       changed TEXT,
       rules TEXT NOT NULL,
       remember TEXT NOT NULL,
       times INTEGER NOT NULL,
       asked_at INTEGER NOT NULL,
       deadline INTEGER NOT NULL,
       answered_at INTEGER,
       answered_by TEXT,
       answer TEXT,
       reason TEXT,
       grant_id TEXT
     ) STRICT;
     CREATE UNIQUE INDEX permission_open ON permission_request (subject) WHERE state = 'pending';
     CREATE INDEX permission_answered ON permission_request (answered_at, seq) WHERE answered_at IS NOT NULL;
     CREATE INDEX permission_unfinished ON permission_request (seq) WHERE state = 'allowed' AND grant_id IS NULL;
     CREATE TABLE permission_definition (
       peer TEXT NOT NULL,
       resource TEXT NOT NULL,
       definition TEXT NOT NULL,
       allowed_at INTEGER NOT NULL,
       PRIMARY KEY (peer, resource)
     ) STRICT, WITHOUT ROWID;`
  ]
}

/** A request as it is first written. */
export type NewRequest = Omit<
  PermissionRequest,
  'id' | 'state' | 'fingerprint' | 'times' | 'askedAt' | 'deadline' | 'answeredAt' | 'answeredBy' | 'grant'
> & {
  /** The same for what is asked again. */
  readonly subject: string
  readonly ttlMs: number
}

/** A request and the answer that has been given. */
export interface Answered {
  readonly request: PermissionRequest
  readonly answer: Answer
}

export function insertParams(asked: NewRequest, id: string, now: number): readonly SqlValue[] {
  const { subject, peer, alias = null, trust, action, resource, input, wanted, digest = null, changed } = asked
  const who = [id, subject, peer, alias, trust, action, resource]
  const shown = [input?.json ?? null, input?.bytes ?? null, input?.digest ?? null]
  const texts = [wanted, changed].map((value) => (value === undefined ? null : JSON.stringify(value)))
  const offered = [JSON.stringify(asked.rules), JSON.stringify(asked.remember)]
  return [...who, ...shown, ...texts, digest, ...offered, now, now + asked.ttlMs]
}

export const INSERT = `INSERT INTO permission_request
  (id, subject, peer, alias, trust, action, resource, input_json, input_bytes, input_digest, wanted, changed, digest,
   rules, remember, asked_at, deadline, state, times)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'pending', 1)`

/** @param now a pending one whose deadline is over reads as expired, whether or not it has been written */
export function readRow(row: Row, now: number): PermissionRequest {
  const peer = String(row.peer)
  const isOver = row.state === 'pending' && Number(row.deadline) <= now
  return {
    id: String(row.id),
    // The table's CHECK and this room's own writes let nothing else in, here and below
    state: (isOver ? 'expired' : String(row.state)) as PermissionRequest['state'],
    peer,
    ...text('alias', row.alias),
    trust: String(row.trust) as PermissionRequest['trust'],
    fingerprint: fingerprintOf(peer),
    action: String(row.action),
    resource: String(row.resource),
    ...inputOf(row),
    ...json<'wanted', PermissionRequest['wanted']>('wanted', row.wanted),
    ...text('digest', row.digest),
    ...json<'changed', PermissionRequest['changed']>('changed', row.changed),
    rules: JSON.parse(String(row.rules)) as readonly string[],
    remember: JSON.parse(String(row.remember)) as PermissionRequest['remember'],
    times: Number(row.times),
    askedAt: timeText(row.asked_at),
    deadline: timeText(row.deadline),
    ...(row.answered_at === null ? {} : { answeredAt: timeText(row.answered_at) }),
    ...(row.answered_by === null
      ? {}
      : { answeredBy: String(row.answered_by) as NonNullable<PermissionRequest['answeredBy']> }),
    ...text('reason', row.reason),
    ...text('grant', row.grant_id)
  }
}

function inputOf(row: Row): Pick<PermissionRequest, 'input'> {
  if (row.input_digest === null) return {}
  const json = String(row.input_json)
  const bytes = Number(row.input_bytes)
  return { input: { json, bytes, digest: String(row.input_digest), isCut: Buffer.byteLength(json) < bytes } }
}

function timeText(time: SqlValue | undefined): string {
  return new Date(Number(time)).toISOString()
}

function text<K extends string>(name: K, value: SqlValue | undefined): { readonly [P in K]?: string } {
  return (typeof value === 'string' ? { [name]: value } : {}) as { [P in K]?: string }
}

function json<K extends string, T>(name: K, value: SqlValue | undefined): { readonly [P in K]?: NonNullable<T> } {
  return (typeof value === 'string' ? { [name]: JSON.parse(value) as T } : {}) as { [P in K]?: NonNullable<T> }
}
