import { MeshError } from '../errors.ts'
import type { Row, SqlValue, Store } from '../store/index.ts'
import {
  DEFAULT_PAGE,
  MAX_EVENTS_PER_MESSAGE,
  MAX_PAGE,
  MESSAGE_STATES,
  type MessageState,
  OWNER_AGENT
} from './constants.ts'
import type { MessageEvent, MessageFilter, MessageInfo, MessageStory } from './index.ts'
import type { Envelope } from './messages.ts'
import { number, optionalNumber, optionalText, text } from './rows.ts'

/** Messages of the inbox, newest last. @throws {MeshError} INVALID_ARGUMENT */
export function readInbox(store: Store, filter: MessageFilter): MessageInfo[] {
  const query = new Query(filter)
  query.and('agent = ?', filter.agent ?? OWNER_AGENT)
  if (filter.peer !== undefined) query.and('peer = ?', filter.peer)
  query.state(filter.state, "state IN ('accepted', 'delivered')")
  return query.run(store, 'message_in').map(inInfo)
}

/** Messages of the outbox, newest last. @throws {MeshError} INVALID_ARGUMENT */
export function readOutbox(store: Store, self: string, filter: MessageFilter): MessageInfo[] {
  const query = new Query(filter)
  if (filter.agent !== undefined)
    query.and("pair IN (SELECT id FROM message_pair WHERE direction = 'out' AND sender = ?)", `${self}/${filter.agent}`)
  if (filter.peer !== undefined) query.and('peer = ?', filter.peer)
  query.state(filter.state, "state IN ('queued', 'accepted', 'delivered')")
  return query.run(store, 'message_sent').map(outInfo)
}

export function readDeadLetters(store: Store, filter: MessageFilter): MessageInfo[] {
  const query = new Query(filter)
  query.and('dead_at IS NOT NULL')
  if (filter.agent !== undefined) query.and('agent = ?', filter.agent)
  if (filter.peer !== undefined) query.and('peer = ?', filter.peer)
  return query.run(store, 'message_in').map(inInfo)
}

export function countDeadLetters(store: Store): number {
  const row = store.get('SELECT count(*) AS count FROM message_in WHERE dead_at IS NOT NULL')
  return row === undefined ? 0 : number(row, 'count')
}

/** Of a queued message, what holds up everything to its peer. */
export function withProblem(info: MessageInfo, problemOf: (peer: string) => MeshError | undefined): MessageInfo {
  const problem = info.state === 'queued' ? problemOf(info.to.slice(0, info.to.indexOf('/'))) : undefined
  return problem === undefined ? info : { ...info, code: problem.code, reason: problem.message }
}

/** All that is known of one message; one that this node sent to itself is shown as sent. */
export function readStory(store: Store, id: string, direction?: 'in'): Omit<MessageStory, 'reply'> | undefined {
  const out = direction === 'in' ? undefined : store.get('SELECT * FROM message_sent WHERE id = ?', [id])
  const row = out ?? store.get('SELECT * FROM message_in WHERE id = ?', [id])
  if (row === undefined) return undefined
  const noted = store
    .all('SELECT at, what, signed, code, reason FROM message_event WHERE message = ? ORDER BY n LIMIT ?', [
      id,
      MAX_EVENTS_PER_MESSAGE
    ])
    .map(readEvent)
  const isOut = out !== undefined
  const states = isOut ? outEvents(row, noted) : inEvents(row)
  return {
    ...(isOut ? outInfo(row) : inInfo(row)),
    events: [...states, ...noted].toSorted((a, b) => (a.at < b.at ? -1 : a.at > b.at ? 1 : 0))
  }
}

class Query {
  readonly #where: string[] = []
  readonly #params: SqlValue[] = []
  readonly #limit: number
  readonly #after: string | undefined

  constructor({ limit = DEFAULT_PAGE, after }: MessageFilter) {
    if (!Number.isInteger(limit) || limit < 1 || limit > MAX_PAGE)
      throw new MeshError('INVALID_ARGUMENT', `limit must be 1 to ${MAX_PAGE}`)
    this.#limit = limit
    this.#after = after
  }

  and(condition: string, ...params: SqlValue[]): void {
    this.#where.push(condition)
    this.#params.push(...params)
  }

  state(state: MessageFilter['state'], otherwise: string): void {
    if (state === 'all') return
    if (state === undefined) return this.and(otherwise)
    if (!MESSAGE_STATES.includes(state)) throw new MeshError('INVALID_ARGUMENT', 'there is no such state')
    this.and('state = ?', state)
  }

  run(store: Store, table: 'message_in' | 'message_sent'): Row[] {
    if (this.#after !== undefined) this.and(`n > (SELECT n FROM ${table} WHERE id = ?)`, this.#after)
    const where = this.#where.length === 0 ? '' : `WHERE ${this.#where.join(' AND ')}`
    return store.all(`SELECT * FROM ${table} ${where} ORDER BY n LIMIT ?`, [...this.#params, this.#limit])
  }
}

function inInfo(row: Row): MessageInfo {
  return { ...info(row), direction: 'in', tries: number(row, 'tries') }
}

function outInfo(row: Row): MessageInfo {
  return { ...info(row), direction: 'out', tries: 0 }
}

function info(row: Row): Omit<MessageInfo, 'direction' | 'tries'> {
  // Written from a parsed envelope
  const envelope = JSON.parse(text(row, 'envelope')) as Envelope
  const [code, reason] = [optionalText(row, 'code'), optionalText(row, 'reason')]
  const { id, from, to, kind, corr, seq, type, body, blob } = envelope
  return {
    id,
    from,
    to,
    kind,
    seq,
    type,
    ...(corr === undefined ? {} : { correlationId: corr }),
    state: text(row, 'state') as MessageState,
    sentAt: iso(envelope.sent),
    expiresAt: iso(envelope.exp),
    ...(code === undefined ? {} : { code }),
    ...(reason === undefined ? {} : { reason }),
    bytes: number(row, 'bytes'),
    ...(body === undefined ? {} : { body }),
    ...(blob === undefined ? {} : { blob })
  }
}

function outEvents(row: Row, noted: readonly MessageEvent[]): MessageEvent[] {
  const state = text(row, 'state')
  const ended = optionalNumber(row, 'ended_at')
  // What this node found out by itself was noted
  const isOurs = noted.some(({ what }) => what === state)
  return [
    { at: iso(number(row, 'sent_at')), what: 'queued', isSigned: false },
    ...said(row, 'accepted_at', 'accepted', true),
    ...said(row, 'delivered_at', 'delivered', true),
    ...(ended === undefined || isOurs ? [] : [{ at: iso(ended), what: state, isSigned: true, ...why(row) }])
  ]
}

function inEvents(row: Row): MessageEvent[] {
  const ended = optionalNumber(row, 'ended_at')
  return [
    ...said(row, 'accepted_at', 'accepted', false),
    ...said(row, 'delivered_at', 'delivered', false),
    ...(ended === undefined ? [] : [{ at: iso(ended), what: text(row, 'state'), isSigned: false, ...why(row) }])
  ]
}

function said(row: Row, column: string, what: string, isSigned: boolean): MessageEvent[] {
  const at = optionalNumber(row, column)
  return at === undefined ? [] : [{ at: iso(at), what, isSigned }]
}

function why(row: Row): Pick<MessageEvent, 'code' | 'reason'> {
  const [code, reason] = [optionalText(row, 'code'), optionalText(row, 'reason')]
  return { ...(code === undefined ? {} : { code }), ...(reason === undefined ? {} : { reason }) }
}

function readEvent(row: Row): MessageEvent {
  return { at: iso(number(row, 'at')), what: text(row, 'what'), isSigned: row['signed'] === 1, ...why(row) }
}

const iso = (ms: number): string => new Date(ms).toISOString()
