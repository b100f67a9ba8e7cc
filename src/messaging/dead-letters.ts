import { MeshError } from '../errors.ts'
import type { Row, Store } from '../store/index.ts'
import { DEFAULT_EXPIRY_MS, OWNER_AGENT } from './constants.ts'
import type { Journal } from './journal.ts'
import type { Envelope } from './messages.ts'
import { noMessage } from './owner-inbox.ts'
import type { InPair, Pairs } from './pairs.ts'
import { type Content, fetched } from './references.ts'
import { insertEvent, number, text } from './rows.ts'

interface InboxParts {
  readonly self: string
  readonly store: Store
  readonly blobs: Content | undefined
  readonly journal: Journal
  readonly pairs: Pairs
  readonly clock: () => number
}

/**
 * Gives a dead letter new attempts.
 *
 * @returns the pair to handle, if it is known
 * @throws {MeshError} NOT_FOUND also when its content is not to be had any more, or why that can't be fetched now
 */
export async function replay(id: string, parts: InboxParts): Promise<InPair | undefined> {
  const { store, journal, pairs, clock } = parts
  await fetchContent(deadRow(id, store), parts)
  // It may have been dropped or replayed meanwhile
  const row = deadRow(id, store)
  const peer = text(row, 'peer')
  await journal.write([
    {
      sql: `UPDATE message_in SET state = 'accepted', dead_at = NULL, ended_at = NULL, code = NULL, reason = NULL, tries = 0,
            exp = ? WHERE id = ? AND peer = ?`,
      params: [clock() + DEFAULT_EXPIRY_MS, id, peer]
    },
    insertEvent({ message: id, at: clock(), what: 'replayed' })
  ])
  pairs.count(peer, 1, number(row, 'bytes'))
  const pair = pairs.get(text(row, 'sender'), text(row, 'recipient'))
  if (pair !== undefined) pair.waiting += 1
  return pair
}

/** Its author keeps content until the message has failed; new attempts without it would fail one by one. */
async function fetchContent(row: Row, { self, blobs, clock }: InboxParts): Promise<void> {
  // Written from an envelope
  const message = JSON.parse(text(row, 'envelope')) as Envelope
  const now = clock()
  const { signal } = new AbortController()
  const missing = await fetched({ ...message, exp: now + REPLAY_FETCH_MS }, blobs, { self, now, signal })
  if (missing === undefined) return
  if (missing.code !== 'NOT_FOUND' && missing.code !== 'FORBIDDEN')
    throw new MeshError(missing.code, `the content that the message refers to can't be fetched: ${missing.reason}`)
  const why = 'it was never fetched, and its sender keeps it no longer than until the message has failed'
  throw new MeshError('NOT_FOUND', `the content that the message refers to is not to be had any more: ${why}`, {
    hint: 'ask the sender to send it again, and drop this one'
  })
}

/** How long an owner who replays waits for content: then what there is of it is kept, and the next attempt goes on. */
const REPLAY_FETCH_MS = 30_000

/** Makes a dead letter an ordinary failed message. @throws {MeshError} NOT_FOUND */
export async function drop(id: string, { store, journal, clock }: InboxParts): Promise<void> {
  const peer = text(deadRow(id, store), 'peer')
  await journal.write([
    { sql: 'UPDATE message_in SET dead_at = NULL WHERE id = ? AND peer = ?', params: [id, peer] },
    insertEvent({ message: id, at: clock(), what: 'dropped' })
  ])
}

/** Drops what of a peer has not been handled or read. */
export async function dropUnhandled(peer: string, reason: string, parts: InboxParts): Promise<void> {
  const { store, journal, pairs, clock } = parts
  // What is being written is counted by then
  await journal.idle()
  const owners = store.get(
    "SELECT count(*) AS count FROM message_in WHERE peer = ? AND state IN ('accepted', 'delivered') AND agent = ?",
    [peer, OWNER_AGENT]
  )
  await journal.write([
    {
      sql: `UPDATE message_in SET state = 'cancelled', ended_at = ?, reason = ? WHERE peer = ? AND state IN ('accepted', 'delivered')`,
      params: [clock(), reason, peer]
    },
    { sql: 'DELETE FROM message_receipt WHERE peer = ?', params: [peer] }
  ])
  const { count, bytes } = pairs.load(peer)
  pairs.count(peer, -count, -bytes)
  pairs.unread -= owners === undefined ? 0 : number(owners, 'count')
  for (const pair of pairs.of(peer)) pair.waiting = 0
}

function deadRow(id: string, store: Store): Row {
  const row = store.get(
    `SELECT message_in.peer AS peer, bytes, envelope, sender, recipient FROM message_in JOIN message_pair ON message_pair.id = pair
     WHERE message_in.id = ? AND dead_at IS NOT NULL`,
    [id]
  )
  if (row === undefined) throw noMessage(id, 'dead letter')
  return row
}
