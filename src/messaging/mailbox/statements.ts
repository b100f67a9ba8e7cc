import { MeshError } from '../../errors.ts'
import type { Identity } from '../../identity/index.ts'
import type { Statement, Store } from '../../store/index.ts'
import { didFromKey, keyFromDid, keyFromPeerId, peerIdFromKey, verifyJws } from '../../wire/index.ts'
import { number, text } from '../rows.ts'
import { MAILBOXES_TYPE, MAX_STATEMENT_BYTES, MAX_STATEMENTS, STATEMENT_LIFETIME_MS } from './constants.ts'
import { type MailboxStatement, mailboxStatement, type SealingKey } from './messages.ts'

/** A statement whose signature has been checked. */
export interface VerifiedStatement {
  /** PeerId of whose mailboxes they are. */
  readonly peer: string
  readonly jws: string
  readonly statement: MailboxStatement
}

/**
 * Checks the signature of a statement and that it is about its signer.
 *
 * @throws {MeshError} INVALID_RECORD when it is forged or expired, INVALID_MESSAGE, TOO_LARGE
 */
async function verifyStatement(jws: string, now: number): Promise<VerifiedStatement> {
  const { did, payload } = await verifyJws(jws, { type: MAILBOXES_TYPE, maxBytes: MAX_STATEMENT_BYTES })
  const { success, data } = mailboxStatement.safeParse(payload)
  if (!success) throw new MeshError('INVALID_MESSAGE', 'not a statement about mailboxes')
  if (data.iss !== did) throw new MeshError('INVALID_RECORD', 'mailboxes stated in the name of another')
  if (data.exp <= now || data.exp > now + 2 * STATEMENT_LIFETIME_MS)
    throw new MeshError('INVALID_RECORD', 'the statement about mailboxes has expired, or never would')
  return { peer: peerIdFromKey(keyFromDid(did)), jws, statement: data }
}

/** Where each node's messages may be left: the newest statement of each, on disk. */
export class Statements {
  readonly #store: Store
  readonly #identity: Identity
  readonly #clock: () => number

  constructor(store: Store, identity: Identity, clock: () => number) {
    this.#store = store
    this.#identity = identity
    this.#clock = clock
  }

  /** Undefined when there is none, or none that is still good. */
  get(peer: string): { readonly jws: string; readonly statement: MailboxStatement; readonly at: number } | undefined {
    const row = this.#store.get('SELECT jws, at FROM mailbox_statement WHERE peer = ? AND exp > ?', [
      peer,
      this.#clock()
    ])
    if (row === undefined) return undefined
    const jws = text(row, 'jws')
    // Verified before it was written
    const payload: unknown = JSON.parse(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString())
    return { jws, statement: mailboxStatement.parse(payload), at: number(row, 'at') }
  }

  /** Checks and keeps a statement about a peer; an older one than is known changes nothing. @throws {MeshError} as verifyStatement, IO */
  async learn(jws: string, about: string): Promise<VerifiedStatement> {
    const now = this.#clock()
    const verified = await verifyStatement(jws, now)
    if (didFromKey(keyFromPeerId(about)) !== verified.statement.iss)
      throw new MeshError('INVALID_RECORD', 'the statement is about another node')
    await this.#store.write([
      put(verified, now),
      {
        sql: `DELETE FROM mailbox_statement WHERE peer IN (SELECT peer FROM mailbox_statement WHERE peer <> ? ORDER BY at DESC
              LIMIT -1 OFFSET ?)`,
        params: [this.#identity.id, MAX_STATEMENTS]
      }
    ])
    return verified
  }

  /** States anew where this node's messages may be left. */
  async state(key: SealingKey, mailboxes: MailboxStatement['mailboxes']): Promise<VerifiedStatement> {
    const { did, id } = this.#identity
    const now = this.#clock()
    const last = this.#store.get('SELECT seq FROM mailbox_statement WHERE peer = ?', [id])
    // As decision 003: never again a seq of before a lost database
    const seq = Math.max(last === undefined ? 0 : number(last, 'seq') + 1, now)
    const statement: MailboxStatement = { v: 1, iss: did, key, mailboxes, seq, exp: now + STATEMENT_LIFETIME_MS }
    const jws = await this.#identity.sign(MAILBOXES_TYPE, statement)
    const stated = { peer: id, jws, statement }
    await this.#store.write([put(stated, now)])
    return stated
  }

  /** Whom a peer's messages may be left with is not known any more. */
  async forget(peer: string): Promise<void> {
    await this.#store.write([{ sql: 'DELETE FROM mailbox_statement WHERE peer = ?', params: [peer] }])
  }
}

function put({ peer, jws, statement }: VerifiedStatement, at: number): Statement {
  return {
    sql: `INSERT INTO mailbox_statement (peer, seq, exp, at, jws) VALUES (?, ?, ?, ?, ?)
          ON CONFLICT DO UPDATE SET at = excluded.at, seq = max(seq, excluded.seq),
          exp = iif(excluded.seq > seq, excluded.exp, exp), jws = iif(excluded.seq > seq, excluded.jws, jws)`,
    params: [peer, statement.seq, statement.exp, at, jws]
  }
}
