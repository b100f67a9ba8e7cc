import type { Caller } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import type { Policy } from '../../policy/index.ts'
import type { Row, Statement, Store } from '../../store/index.ts'
import { SWEEP_ROWS } from '../constants.ts'
import { list, number, text } from '../rows.ts'
import {
  MAX_COLLECT_BYTES,
  MAX_COLLECT_ITEMS,
  MAX_KEPT_BYTES,
  MAX_KEPT_BYTES_PER_DEPOSITOR,
  MAX_KEPT_ITEMS,
  MAX_KEPT_ITEMS_PER_DEPOSITOR,
  MAX_KEPT_MS,
  MAX_SERVED
} from './constants.ts'
import type { CollectAnswer, MailboxRequest } from './messages.ts'

export interface KeepingComponents {
  readonly store: Store
  readonly policy: Pick<Policy, 'decide' | 'judge' | 'reserve'>
  readonly refusal: () => MeshError | undefined
  readonly clock: () => number
}

/** A node that this one keeps a mailbox for. */
export interface ServedMailbox {
  readonly peer: string
  readonly maxBytes: number
  readonly bytes: number
  readonly items: number
  /** RFC 3339. */
  readonly since: string
}

type Deposit = Extract<MailboxRequest, { op: 'deposit' }>

/** What others have sealed for nodes that are away. Nothing of it can be read here. */
export class Keeping {
  readonly #components: KeepingComponents

  constructor(components: KeepingComponents) {
    this.#components = components
  }

  async serve(peer: string, maxBytes: number): Promise<ServedMailbox> {
    const { store, clock } = this.#components
    const [added] = await store.write([
      {
        sql: `INSERT INTO mailbox_served (peer, max_bytes, since) SELECT ?1, ?2, ?3
              WHERE (SELECT count(*) FROM mailbox_served WHERE peer <> ?1) < ?4
              ON CONFLICT DO UPDATE SET max_bytes = excluded.max_bytes`,
        params: [peer, maxBytes, clock(), MAX_SERVED]
      }
    ])
    if (added === 0) throw new MeshError('LIMIT_EXCEEDED', `a node keeps at most ${MAX_SERVED} mailboxes`)
    const served = this.list().find((each) => each.peer === peer)
    if (served === undefined) throw new MeshError('CANCELLED', 'it was taken away meanwhile')
    return served
  }

  /** @returns whether it was served */
  async unserve(peer: string): Promise<boolean> {
    const [removed] = await this.#components.store.write([
      { sql: 'DELETE FROM mailbox_served WHERE peer = ?', params: [peer] },
      { sql: 'DELETE FROM mailbox_item WHERE recipient = ?', params: [peer] }
    ])
    return removed === 1
  }

  list(): readonly ServedMailbox[] {
    const rows = this.#components.store.all(
      `SELECT peer, max_bytes, since, coalesce(sum(bytes), 0) AS bytes, count(n) AS items
       FROM mailbox_served LEFT JOIN mailbox_item ON recipient = peer GROUP BY peer ORDER BY since, peer`
    )
    return rows.map((row) => ({
      peer: text(row, 'peer'),
      maxBytes: number(row, 'max_bytes'),
      bytes: number(row, 'bytes'),
      items: number(row, 'items'),
      since: new Date(number(row, 'since')).toISOString()
    }))
  }

  /** Bytes that are kept for a peer at most; undefined when none are. */
  quotaOf(peer: string): number | undefined {
    const row = this.#components.store.get('SELECT max_bytes FROM mailbox_served WHERE peer = ?', [peer])
    return row === undefined ? undefined : number(row, 'max_bytes')
  }

  /** Whether a caller may know that a mailbox is kept for the peer: whoever may use it. */
  mayKnow(caller: Caller, peer: string): boolean {
    const { policy } = this.#components
    if (caller.peer === peer) return true
    const request = { caller, action: 'mailbox.keep', resource: `mailbox:${peer}`, facts: { bytes: () => 0 } }
    return policy.judge(request).effect === 'allow' && this.quotaOf(peer) !== undefined
  }

  /**
   * Keeps what is sealed for a recipient; resolves when it is on disk.
   *
   * @throws {MeshError} FORBIDDEN, NOT_FOUND when no mailbox is kept for the recipient, LIMIT_EXCEEDED, INVALID_ARGUMENT, BUSY, IO
   */
  async deposit(caller: Caller, { to, exp, sealed }: Deposit): Promise<void> {
    const { store, policy, refusal, clock } = this.#components
    const request = {
      caller,
      action: 'mailbox.keep',
      resource: `mailbox:${to}`,
      facts: { bytes: () => sealed.length }
    }
    const decision = policy.decide(request)
    // Nobody is asked about an envelope that nobody here can read
    if (decision.effect !== 'allow') throw new MeshError('FORBIDDEN', decision.reason)
    if (this.quotaOf(to) === undefined) throw new MeshError('NOT_FOUND', `no mailbox is kept here for ${to}`)
    const now = clock()
    if (exp <= now) throw new MeshError('INVALID_ARGUMENT', 'its time is over already')
    const full = refusal()
    if (full !== undefined) throw new MeshError('BUSY', full.message)
    const reservation = await policy.reserve(decision, request)
    try {
      const [added] = await store.write([
        insertItem(caller.peer, { to, exp: Math.min(exp, now + MAX_KEPT_MS), sealed })
      ])
      if (added !== 1) throw new MeshError('LIMIT_EXCEEDED', 'the mailbox has no room for it', { data: RETRY })
      reservation?.settle({ bytes: 0 })
    } catch (err) {
      reservation?.cancel()
      throw err
    }
  }

  /** What is kept for the caller after a position: some of it, at least one when there is one. */
  collect({ peer }: Caller, after: number): CollectAnswer {
    const { store, clock } = this.#components
    const heads = store.all(
      'SELECT n, bytes FROM mailbox_item WHERE recipient = ? AND n > ? AND exp > ? ORDER BY n LIMIT ?',
      [peer, after, clock(), MAX_COLLECT_ITEMS]
    )
    let bytes = 0
    const fitting = heads.filter((row, index) => {
      bytes += number(row, 'bytes') + ITEM_OVERHEAD
      return index === 0 || bytes <= MAX_COLLECT_BYTES
    })
    const rows = store.all(
      'SELECT n, sealed FROM mailbox_item WHERE n IN (SELECT value FROM json_each(?)) ORDER BY n',
      [list(fitting.map((row) => number(row, 'n')))]
    )
    return { items: rows.map(readItem) }
  }

  /** Forgets what the caller has taken. */
  async collected({ peer }: Caller, ids: readonly number[]): Promise<void> {
    await this.#components.store.write([
      {
        sql: 'DELETE FROM mailbox_item WHERE n IN (SELECT value FROM json_each(?)) AND recipient = ?',
        params: [list(ids), peer]
      }
    ])
  }

  /** It was blocked: nothing by it or for it stays. */
  dropPeer(peer: string): readonly Statement[] {
    return [
      { sql: 'DELETE FROM mailbox_served WHERE peer = ?', params: [peer] },
      { sql: 'DELETE FROM mailbox_item WHERE recipient = ?', params: [peer] },
      { sql: 'DELETE FROM mailbox_item WHERE depositor = ?', params: [peer] }
    ]
  }

  /** Forgets what has expired; some at a time. */
  async sweep(): Promise<void> {
    const { store, clock } = this.#components
    const due = store.get('SELECT 1 FROM mailbox_item WHERE exp <= ? LIMIT 1', [clock()])
    if (due === undefined) return
    await store.write([
      {
        sql: 'DELETE FROM mailbox_item WHERE n IN (SELECT n FROM mailbox_item WHERE exp <= ? LIMIT ?)',
        params: [clock(), SWEEP_ROWS]
      }
    ])
  }
}

/** `{"id":…,"sealed":""},` */
const ITEM_OVERHEAD = 64
const RETRY = { retryAfterMs: 10 * 60_000 }

/** One statement, so that deposits at the same moment can't pass the limits together. */
function insertItem(depositor: string, { to, exp, sealed }: { to: string; exp: number; sealed: string }): Statement {
  return {
    sql: `INSERT INTO mailbox_item (recipient, depositor, bytes, exp, sealed) SELECT ?1, ?2, ?3, ?4, ?5
          WHERE (SELECT coalesce(sum(bytes), 0) FROM mailbox_item WHERE recipient = ?1) + ?3
                <= (SELECT max_bytes FROM mailbox_served WHERE peer = ?1)
            AND (SELECT coalesce(sum(bytes), 0) + ?3 <= ?6 AND count(*) < ?7 FROM mailbox_item WHERE depositor = ?2)
            AND (SELECT coalesce(sum(bytes), 0) + ?3 <= ?8 AND count(*) < ?9 FROM mailbox_item)`,
    params: [
      to,
      depositor,
      sealed.length,
      exp,
      sealed,
      MAX_KEPT_BYTES_PER_DEPOSITOR,
      MAX_KEPT_ITEMS_PER_DEPOSITOR,
      MAX_KEPT_BYTES,
      MAX_KEPT_ITEMS
    ]
  }
}

function readItem(row: Row): CollectAnswer['items'][number] {
  return { id: number(row, 'n'), sealed: text(row, 'sealed') }
}
