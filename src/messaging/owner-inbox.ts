import { MeshError } from '../errors.ts'
import type { Row, Statement, Store } from '../store/index.ts'
import { OWNER_AGENT } from './constants.ts'
import { replyDraft } from './drafts.ts'
import type { MessageInfo, Sent } from './index.ts'
import type { Draft, Journal } from './journal.ts'
import type { Envelope } from './messages.ts'
import type { Pairs } from './pairs.ts'
import { readStory } from './reading.ts'
import { endIn, number, putReceipt, text } from './rows.ts'

interface OwnerInboxComponents {
  readonly store: Store
  readonly journal: Journal
  readonly pairs: Pairs
  readonly clock: () => number
  readonly newId: () => string
  readonly onReceipt: (peer: string) => void
}

/** What the owner does with messages to them. */
export class OwnerInbox {
  readonly #components: OwnerInboxComponents
  /** Being read or answered: a second hand on the same waits its turn. */
  readonly #busy = new Map<string, Promise<unknown>>()

  constructor(components: OwnerInboxComponents) {
    this.#components = components
  }

  /** @throws {MeshError} NOT_FOUND */
  read(id: string): Promise<MessageInfo> {
    return this.#inTurn(id, async () => {
      const row = this.#row(id)
      if (row['state'] === 'delivered') await this.#end(id, row, false)
      const story = readStory(this.#components.store, id, 'in')
      if (story === undefined) throw noMessage(id)
      const { events: _events, ...info } = story
      return info
    })
  }

  /** @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT when it was answered already, TOO_LARGE */
  reply(id: string, body: unknown, signal?: AbortSignal): Promise<Sent> {
    return this.#inTurn(id, async () => {
      const row = this.#row(id)
      if (row['answered'] === 1) throw new MeshError('INVALID_ARGUMENT', 'it has been answered already')
      if (signal?.aborted === true) throw new MeshError('CANCELLED', 'cancelled')
      const { clock, newId } = this.#components
      // Written from a parsed envelope
      const message = JSON.parse(text(row, 'envelope')) as Envelope
      const draft = replyDraft(message, { outcome: 'result', body }, { id: newId(), now: clock() })
      const [seq = 0] = await this.#end(id, row, true, draft)
      return { id: draft.envelope.id, seq }
    })
  }

  /** The reply to a request of the owner's has been taken. */
  async readReply(request: string): Promise<void> {
    const rows = this.#components.store.all(
      `SELECT id FROM message_in WHERE agent = ? AND state = 'delivered' AND kind = 'reply' AND json_extract(envelope, '$.corr') = ?`,
      [OWNER_AGENT, request]
    )
    for (const row of rows) await this.read(text(row, 'id'))
  }

  async #end(id: string, row: Row, answered: boolean, draft?: Draft): Promise<readonly number[]> {
    const { journal, pairs, clock, onReceipt } = this.#components
    const [peer, at] = [text(row, 'peer'), clock()]
    const isUnread = row['state'] === 'delivered'
    const marks: Statement[] = answered
      ? [{ sql: 'UPDATE message_in SET answered = 1 WHERE id = ? AND peer = ?', params: [id, peer] }]
      : []
    const ends = isUnread
      ? [
          endIn({ peer, id }, { state: 'processed', at }, { answered }),
          putReceipt(peer, { id, state: 'processed', at })
        ]
      : []
    const seqs = await journal.write([...marks, ...ends], { drafts: draft === undefined ? [] : [draft] })
    if (isUnread) {
      pairs.count(peer, -1, -number(row, 'bytes'))
      pairs.unread -= 1
      onReceipt(peer)
    }
    return seqs
  }

  #row(id: string): Row {
    const row = this.#components.store.get(
      'SELECT peer, state, answered, bytes, envelope FROM message_in WHERE id = ? AND agent = ?',
      [id, OWNER_AGENT]
    )
    if (row === undefined) throw noMessage(id)
    return row
  }

  #inTurn<T>(id: string, task: () => Promise<T>): Promise<T> {
    const turn = (this.#busy.get(id) ?? Promise.resolve()).then(task, task)
    this.#busy.set(id, turn)
    const done = (): void => {
      if (this.#busy.get(id) === turn) this.#busy.delete(id)
    }
    turn.then(done, done)
    return turn
  }
}

export function noMessage(id: string, what = 'message'): MeshError {
  return new MeshError('NOT_FOUND', `there is no ${what} ${JSON.stringify(id.slice(0, 40))}`)
}
