import type { Store } from '../../store/index.ts'
import { parseJson } from '../../wire/index.ts'
import { peerOf } from '../endpoint.ts'
import { type DeliverAnswer, type DeliverRequest, envelope, type Receipt } from '../messages.ts'
import { list } from '../rows.ts'

/** What is judged after it is certain who wrote the message. */
const FINAL: ReadonlySet<string> = new Set(['FORBIDDEN', 'LIMIT_EXCEEDED', 'NOT_FOUND'])

/**
 * Notes receipts for messages that came by another way than their author's own connection, so that the author, who gets no
 * answer, learns what became of them.
 *
 * @returns the authors
 */
export async function oweReceipts(
  store: Store,
  { messages }: DeliverRequest,
  { results }: DeliverAnswer,
  now: number
): Promise<readonly string[]> {
  /** `<PeerId> <id>`; a PeerId has 52 characters. */
  const kept: string[] = []
  const refused: { peer: string; receipt: Receipt }[] = []
  const authors = new Set<string>()
  for (const [index, { state, code, reason }] of results.entries()) {
    if (state !== 'kept' && !(state === 'refused' && FINAL.has(code ?? ''))) continue
    // What is judged so far has been parsed before
    const { id, from } = envelope.parse(parseJson(messages[index]?.envelope ?? ''))
    const peer = peerOf(from)
    authors.add(peer)
    if (state === 'kept') kept.push(`${peer} ${id}`)
    else
      refused.push({
        peer,
        receipt: { id, state: 'failed', at: now, ...(code && { code }), ...(reason && { reason }) }
      })
  }
  if (authors.size === 0) return []
  await store.write([
    {
      // What is there already is later, or the same
      sql: `INSERT OR IGNORE INTO message_receipt (peer, id, state, at, code, reason)
            SELECT peer, message_in.id, iif(state = 'cancelled', 'failed', state), coalesce(ended_at, delivered_at, accepted_at),
              iif(ended_at IS NULL, NULL, code), NULL
            FROM json_each(?) JOIN message_in ON message_in.id = substr(value, 54) AND peer = substr(value, 1, 52)`,
      params: [list(kept)]
    },
    ...refused.map(({ peer, receipt: { id, state, at, code, reason } }) => ({
      sql: 'INSERT OR IGNORE INTO message_receipt (peer, id, state, at, code, reason) VALUES (?, ?, ?, ?, ?, ?)',
      params: [peer, id, state, at, code ?? null, reason?.slice(0, 200) ?? null]
    }))
  ])
  return [...authors]
}
