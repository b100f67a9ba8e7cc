import type { TrustLevel } from '../auth/index.ts'
import type { Migrations, Row, Statement, Store } from '../store/index.ts'
import { type EvidenceKind, MAX_CHANGES_PER_PEER } from './constants.ts'
import type { PeerTrust, TrustReport } from './index.ts'

export const trustMigrations: Migrations = {
  room: 'trust',
  steps: [
    `CREATE TABLE trust_peer (
      peer TEXT PRIMARY KEY,
      level TEXT NOT NULL,
      alias TEXT UNIQUE,
      set_by TEXT NOT NULL,
      since INTEGER,
      first INTEGER NOT NULL,
      last INTEGER NOT NULL,
      counted INTEGER NOT NULL,
      day INTEGER NOT NULL,
      counted_today INTEGER NOT NULL
    ) STRICT`,
    `CREATE TABLE trust_evidence (
      peer TEXT NOT NULL REFERENCES trust_peer (peer) ON DELETE CASCADE,
      kind TEXT NOT NULL,
      count INTEGER NOT NULL,
      weight REAL NOT NULL,
      at INTEGER NOT NULL,
      PRIMARY KEY (peer, kind)
    ) STRICT`,
    `CREATE TABLE trust_change (
      peer TEXT NOT NULL REFERENCES trust_peer (peer) ON DELETE CASCADE,
      n INTEGER NOT NULL,
      at INTEGER NOT NULL,
      from_level TEXT NOT NULL,
      to_level TEXT NOT NULL,
      set_by TEXT NOT NULL,
      reason TEXT NOT NULL,
      PRIMARY KEY (peer, n)
    ) STRICT`
  ]
}

export type Change = TrustReport['changes'][number]

/** What was seen of one kind; `weight` as of `at`. */
export interface Tally {
  count: number
  weight: number
  at: number
}

/** All that is remembered of a peer. Times are milliseconds since 1970; 0: never. */
export interface Entry {
  readonly peer: string
  level: TrustLevel
  alias: string | undefined
  setBy: PeerTrust['setBy']
  since: number | undefined
  first: number
  last: number
  counted: number
  day: number
  countedToday: number
  readonly tallies: Partial<Record<EvidenceKind, Tally>>
  /** Latest first. */
  changes: readonly Change[]
}

export function newEntry(peer: string): Entry {
  return {
    peer,
    level: 'unknown',
    alias: undefined,
    setBy: 'default',
    since: undefined,
    first: 0,
    last: 0,
    counted: 0,
    day: 0,
    countedToday: 0,
    tallies: {},
    changes: []
  }
}

export function withChange(changes: readonly Change[], change: Change): readonly Change[] {
  return [change, ...changes].slice(0, MAX_CHANGES_PER_PEER)
}

const UPSERT = `INSERT INTO trust_peer (peer, level, alias, set_by, since, first, last, counted, day, counted_today)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
  ON CONFLICT (peer) DO UPDATE SET level = excluded.level, alias = excluded.alias, set_by = excluded.set_by,
    since = excluded.since, first = excluded.first, last = excluded.last, counted = excluded.counted,
    day = excluded.day, counted_today = excluded.counted_today`
const TABLES_OF_A_PEER = ['trust_change', 'trust_evidence', 'trust_peer']

/** Writes all of a peer, but for its changes when they are the same as before. */
export function saveEntry(entry: Entry, withChanges: boolean): Statement[] {
  const { peer, level, alias = null, setBy, since = null, first, last, counted, day, countedToday } = entry
  const statements: Statement[] = [
    { sql: UPSERT, params: [peer, level, alias, setBy, since, first, last, counted, day, countedToday] }
  ]
  for (const [kind, { count, weight, at }] of Object.entries(entry.tallies)) {
    const sql = 'INSERT OR REPLACE INTO trust_evidence (peer, kind, count, weight, at) VALUES (?, ?, ?, ?, ?)'
    statements.push({ sql, params: [peer, kind, count, weight, at] })
  }
  if (!withChanges) return statements
  statements.push({ sql: 'DELETE FROM trust_change WHERE peer = ?', params: [peer] })
  entry.changes.forEach(({ at, from, to, by, reason }, n) => {
    const sql =
      'INSERT INTO trust_change (peer, n, at, from_level, to_level, set_by, reason) VALUES (?, ?, ?, ?, ?, ?, ?)'
    statements.push({ sql, params: [peer, n, Date.parse(at), from, to, by, reason] })
  })
  return statements
}

export function deleteEntry(peer: string): Statement[] {
  return TABLES_OF_A_PEER.map((table) => ({ sql: `DELETE FROM ${table} WHERE peer = ?`, params: [peer] }))
}

export function loadEntries(store: Store): Map<string, Entry> {
  const entries = new Map<string, Entry>()
  for (const row of store.all('SELECT * FROM trust_peer')) {
    const entry = readEntry(row)
    entries.set(entry.peer, entry)
  }
  for (const { peer, kind, count, weight, at } of store.all('SELECT * FROM trust_evidence')) {
    const entry = entries.get(String(peer))
    // The column holds what saveEntry wrote
    if (entry) entry.tallies[kind as EvidenceKind] = { count: Number(count), weight: Number(weight), at: Number(at) }
  }
  for (const row of store.all('SELECT * FROM trust_change ORDER BY peer, n')) {
    const entry = entries.get(String(row.peer))
    if (entry) entry.changes = [...entry.changes, readChange(row)]
  }
  return entries
}

/** Columns hold what saveEntry wrote, so their words are levels. */
function readEntry({ peer, level, alias, set_by, since, first, last, counted, day, counted_today }: Row): Entry {
  return {
    ...newEntry(String(peer)),
    level: level as TrustLevel,
    alias: typeof alias === 'string' ? alias : undefined,
    setBy: set_by as Entry['setBy'],
    since: since === null ? undefined : Number(since),
    first: Number(first),
    last: Number(last),
    counted: Number(counted),
    day: Number(day),
    countedToday: Number(counted_today)
  }
}

function readChange({ at, from_level, to_level, set_by, reason }: Row): Change {
  return {
    at: new Date(Number(at)).toISOString(),
    from: from_level as TrustLevel,
    to: to_level as TrustLevel,
    by: set_by as Change['by'],
    reason: String(reason)
  }
}
