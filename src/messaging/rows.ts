import type { Migrations, Row, Statement } from '../store/index.ts'
import type { MessageState } from './constants.ts'
import type { Envelope, Receipt } from './messages.ts'

export const messagingMigrations: Migrations = {
  room: 'messaging',
  steps: [
    `CREATE TABLE message_pair (
       id INTEGER PRIMARY KEY,
       direction TEXT NOT NULL CHECK (direction IN ('in', 'out')),
       peer TEXT NOT NULL,
       sender TEXT NOT NULL,
       recipient TEXT NOT NULL,
       -- out: the last that was given; in: the highest that was taken
       seq INTEGER NOT NULL,
       used_at INTEGER NOT NULL,
       UNIQUE (direction, sender, recipient)
     ) STRICT;
     CREATE INDEX message_pair_peer ON message_pair (direction, peer);
     CREATE TABLE message_signature (id INTEGER PRIMARY KEY, signature TEXT NOT NULL) STRICT;
     CREATE TABLE message_out (
       n INTEGER PRIMARY KEY,
       id TEXT NOT NULL UNIQUE,
       pair INTEGER NOT NULL,
       peer TEXT NOT NULL,
       seq INTEGER NOT NULL,
       state TEXT NOT NULL,
       kind TEXT NOT NULL,
       sent_at INTEGER NOT NULL,
       exp INTEGER NOT NULL,
       bytes INTEGER NOT NULL,
       signature INTEGER NOT NULL,
       accepted_at INTEGER,
       delivered_at INTEGER,
       ended_at INTEGER,
       code TEXT,
       reason TEXT,
       delayed_at INTEGER
     ) STRICT;
     -- Apart: to settle a message its row is written anew, and with its text that is ten times as much for the disk
     CREATE TABLE message_text (n INTEGER PRIMARY KEY, envelope TEXT NOT NULL) STRICT;
     CREATE TRIGGER message_out_deleted AFTER DELETE ON message_out BEGIN
       DELETE FROM message_text WHERE n = old.n;
     END;
     -- CROSS: the outer loop is over rows, whose indexes are made for what is asked
     CREATE VIEW message_sent AS SELECT message_out.*, message_text.envelope AS envelope
       FROM message_out CROSS JOIN message_text ON message_text.n = message_out.n;
     CREATE INDEX message_out_queue ON message_out (peer, n, pair) WHERE state = 'queued';
     CREATE INDEX message_out_due ON message_out (exp) WHERE state = 'queued';
     CREATE INDEX message_out_open ON message_out (exp) WHERE state IN ('accepted', 'delivered');
     CREATE TABLE message_outcome (
       id TEXT PRIMARY KEY,
       outcome TEXT CHECK (outcome IN ('result', 'error', 'expired')),
       exp INTEGER NOT NULL,
       at INTEGER,
       body TEXT
     ) STRICT, WITHOUT ROWID;
     CREATE INDEX message_outcome_due ON message_outcome (exp) WHERE outcome IS NULL;
     CREATE TABLE message_in (
       n INTEGER PRIMARY KEY,
       id TEXT NOT NULL,
       pair INTEGER NOT NULL,
       peer TEXT NOT NULL,
       agent TEXT NOT NULL,
       seq INTEGER NOT NULL,
       state TEXT NOT NULL,
       kind TEXT NOT NULL,
       exp INTEGER NOT NULL,
       bytes INTEGER NOT NULL,
       envelope TEXT NOT NULL,
       tries INTEGER NOT NULL,
       accepted_at INTEGER NOT NULL,
       delivered_at INTEGER,
       ended_at INTEGER,
       dead_at INTEGER,
       answered INTEGER NOT NULL DEFAULT 0,
       code TEXT,
       reason TEXT,
       UNIQUE (id, peer)
     ) STRICT;
     CREATE INDEX message_in_waiting ON message_in (pair, n) WHERE state IN ('accepted', 'delivered');
     CREATE INDEX message_in_dead ON message_in (n) WHERE dead_at IS NOT NULL;
     CREATE TABLE message_event (
       n INTEGER PRIMARY KEY,
       message TEXT NOT NULL,
       at INTEGER NOT NULL,
       what TEXT NOT NULL,
       signed INTEGER NOT NULL,
       code TEXT,
       reason TEXT
     ) STRICT;
     CREATE INDEX message_event_message ON message_event (message, n);
     CREATE TABLE message_receipt (
       peer TEXT NOT NULL,
       id TEXT NOT NULL,
       state TEXT NOT NULL,
       at INTEGER NOT NULL,
       code TEXT,
       reason TEXT,
       PRIMARY KEY (peer, id)
     ) STRICT, WITHOUT ROWID;
     CREATE TABLE message_state (
       agent TEXT NOT NULL,
       key TEXT NOT NULL,
       value TEXT NOT NULL,
       PRIMARY KEY (agent, key)
     ) STRICT, WITHOUT ROWID;`
  ]
}

/** Text of a column that always has one. */
export const text = (row: Row, column: string): string => String(row[column])
export const number = (row: Row, column: string): number => Number(row[column])
export const optionalText = (row: Row, column: string): string | undefined =>
  row[column] === null || row[column] === undefined ? undefined : String(row[column])
export const optionalNumber = (row: Row, column: string): number | undefined =>
  row[column] === null || row[column] === undefined ? undefined : Number(row[column])

/** A JSON list as one parameter: `IN (SELECT value FROM json_each(?))`. */
export const list = (values: readonly (string | number)[]): string => JSON.stringify(values)

export interface PairRow {
  readonly id: number
  readonly direction: 'in' | 'out'
  readonly peer: string
  readonly sender: string
  readonly recipient: string
  readonly seq: number
  readonly at: number
}

export function putPair(pair: PairRow): Statement {
  return {
    sql: `INSERT INTO message_pair (id, direction, peer, sender, recipient, seq, used_at) VALUES (?, ?, ?, ?, ?, ?, ?)
          ON CONFLICT (id) DO UPDATE SET seq = max(seq, excluded.seq), used_at = excluded.used_at`,
    params: [pair.id, pair.direction, pair.peer, pair.sender, pair.recipient, pair.seq, pair.at]
  }
}

export function insertSignature(id: number, signature: string): Statement {
  return { sql: 'INSERT INTO message_signature (id, signature) VALUES (?, ?)', params: [id, signature] }
}

export interface OutRow {
  /** Rises with each row of the table. */
  readonly n: number
  readonly envelope: Omit<Envelope, 'body'>
  readonly text: string
  readonly pair: number
  readonly peer: string
  readonly signature: number
}

export function insertOut({ n, envelope, text: json, pair, peer, signature }: OutRow): Statement[] {
  const { id, seq, kind, sent, exp } = envelope
  return [
    {
      sql: `INSERT INTO message_out (n, id, pair, peer, seq, state, kind, sent_at, exp, bytes, signature)
            VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, ?, ?, ?)`,
      params: [n, id, pair, peer, seq, kind, sent, exp, json.length, signature]
    },
    { sql: 'INSERT INTO message_text (n, envelope) VALUES (?, ?)', params: [n, json] }
  ]
}

export function insertRequest({ id, exp }: Pick<Envelope, 'id' | 'exp'>): Statement {
  return { sql: 'INSERT INTO message_outcome (id, exp) VALUES (?, ?)', params: [id, exp] }
}

export interface InRow {
  readonly envelope: Envelope
  readonly text: string
  readonly pair: number
  readonly peer: string
  readonly agent: string
  readonly state: MessageState
  readonly at: number
  readonly code?: string | undefined
  readonly reason?: string | undefined
  readonly answered: boolean
  readonly tries?: number
}

const ENDS: ReadonlySet<MessageState> = new Set(['processed', 'failed', 'expired', 'cancelled'])
export const isEnd = (state: MessageState): boolean => ENDS.has(state)

export function insertIn(row: InRow): Statement {
  const { envelope, state, at } = row
  return {
    sql: `INSERT INTO message_in (id, pair, peer, agent, seq, state, kind, exp, bytes, envelope, tries, accepted_at, delivered_at, ended_at, answered, code, reason)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    params: [
      envelope.id,
      row.pair,
      row.peer,
      row.agent,
      envelope.seq,
      state,
      envelope.kind,
      envelope.exp,
      row.text.length,
      row.text,
      row.tries ?? 0,
      at,
      state === 'delivered' ? at : null,
      isEnd(state) ? at : null,
      row.answered ? 1 : 0,
      row.code ?? null,
      row.reason ?? null
    ]
  }
}

export interface EventRow {
  readonly message: string
  readonly at: number
  readonly what: string
  readonly isSigned?: boolean
  readonly code?: string | undefined
  readonly reason?: string | undefined
}

export function insertEvent({ message, at, what, isSigned = false, code, reason }: EventRow): Statement {
  return {
    sql: 'INSERT INTO message_event (message, at, what, signed, code, reason) VALUES (?, ?, ?, ?, ?, ?)',
    params: [message, at, what, isSigned ? 1 : 0, code ?? null, reason ?? null]
  }
}

/** Keeps the latest of a message, until it has been pushed. */
export function putReceipt(peer: string, receipt: Receipt): Statement {
  return {
    sql: `INSERT INTO message_receipt (peer, id, state, at, code, reason) VALUES (?, ?, ?, ?, ?, ?)
          ON CONFLICT DO UPDATE SET state = excluded.state, at = excluded.at, code = excluded.code, reason = excluded.reason`,
    params: [peer, receipt.id, receipt.state, receipt.at, receipt.code ?? null, receipt.reason ?? null]
  }
}

export function readReceipt(row: Row): Receipt {
  const code = optionalText(row, 'code')
  const reason = optionalText(row, 'reason')
  return {
    id: text(row, 'id'),
    state: text(row, 'state') as Receipt['state'], // only receipts are written there
    at: number(row, 'at'),
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason })
  }
}

/** Ends a message of the inbox. */
export function endIn(
  { peer, id }: { readonly peer: string; readonly id: string },
  end: {
    readonly state: MessageState
    readonly at: number
    readonly code?: string | undefined
    readonly reason?: string | undefined
  },
  more: { readonly answered?: boolean; readonly isDead?: boolean; readonly tries?: number } = {}
): Statement {
  return {
    sql: `UPDATE message_in SET state = ?, ended_at = ?, code = ?, reason = ?, answered = max(answered, ?), dead_at = ?,
          tries = coalesce(?, tries) WHERE id = ? AND peer = ? AND state IN ('accepted', 'delivered')`,
    params: [
      end.state,
      end.at,
      end.code ?? null,
      end.reason ?? null,
      more.answered === true ? 1 : 0,
      more.isDead === true ? end.at : null,
      more.tries ?? null,
      id,
      peer
    ]
  }
}
