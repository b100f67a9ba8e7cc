import type { Store } from '../store/index.ts'
import { MAX_KEPT, MESSAGE_KEPT_MS, SWEEP_ROWS } from './constants.ts'
import { number } from './rows.ts'

/** Forgets messages that ended long ago, the oldest sooner when there are too many; some at a time. Receipts of duplicates outlive what may still come. */
export async function sweep(store: Store, now: number): Promise<void> {
  await sweepTable(store, 'message_in', now)
  await sweepTable(store, 'message_out', now)
  await store.write([
    {
      sql: `DELETE FROM message_outcome WHERE id IN (
              SELECT message_outcome.id FROM message_outcome LEFT JOIN message_out ON message_out.id = message_outcome.id
              WHERE message_out.id IS NULL AND outcome IS NOT NULL LIMIT ?)`,
      params: [SWEEP_ROWS]
    },
    {
      sql: `DELETE FROM message_event WHERE n IN (SELECT n FROM message_event WHERE at < ? ORDER BY n LIMIT ?)`,
      params: [now - 2 * MESSAGE_KEPT_MS, SWEEP_ROWS]
    },
    {
      // Signatures are numbered in order of their messages
      sql: `DELETE FROM message_signature WHERE id IN (SELECT id FROM message_signature
              WHERE id < coalesce((SELECT signature FROM message_out ORDER BY n LIMIT 1), 0) ORDER BY id LIMIT ?)`,
      params: [SWEEP_ROWS]
    }
  ])
}

async function sweepTable(store: Store, table: 'message_in' | 'message_out', now: number): Promise<void> {
  const range = store.get(`SELECT min(n) AS first, max(n) AS last FROM ${table}`)
  if (range === undefined || range['first'] === null) return
  const excess = number(range, 'last') - number(range, 'first') - MAX_KEPT
  // What may still be sent again must be known, however old: dedupe rests on it
  const isSafe = table === 'message_in' ? 'AND exp <= ?1' : ''
  const isKept = table === 'message_in' ? 'AND dead_at IS NULL' : ''
  await store.write([
    {
      sql: `DELETE FROM ${table} WHERE n IN (
              SELECT n FROM ${table} WHERE n <= (SELECT min(n) FROM ${table}) + ?4 AND ended_at IS NOT NULL ${isKept}
              AND ((ended_at < ?1 - ?2 ${isSafe}) OR n <= ?3) ORDER BY n LIMIT ?4)`,
      params: [now, MESSAGE_KEPT_MS, excess > 0 ? number(range, 'first') + excess : 0, SWEEP_ROWS]
    }
  ])
}
