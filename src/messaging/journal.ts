import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import type { Statement, Store } from '../store/index.ts'
import { MAX_BATCH_MESSAGES, MAX_PAIRS_IN_MEMORY } from './constants.ts'
import { envelopeText } from './envelope-text.ts'
import type { Envelope } from './messages.ts'
import { insertOut, insertRequest, insertSignature, number, type OutRow, putPair } from './rows.ts'
import { signBatch } from './signatures.ts'

/** An envelope without what only its place in the row of commits tells. */
export interface Draft {
  readonly peer: string
  readonly envelope: Omit<Envelope, 'seq' | 'body'>
  /** Canonical JSON. */
  readonly body?: string
}

/** What is to be written together, or not at all. */
export interface Unit {
  readonly drafts?: readonly Draft[]
  readonly statements?: readonly Statement[]
  /** Of several with a key in a transaction the last is written. */
  readonly latest?: readonly Latest[]
  /** On disk. Called in the order of the units. */
  readonly done: (seqs: readonly number[]) => void
  readonly failed: (err: MeshError) => void
}

/** What replaces whatever was written under its key. */
export type Latest = readonly [key: string, statement: Statement]

/** A message of the outbox as it is sent. */
export interface Queued {
  readonly n: number
  readonly id: string
  readonly pair: number
  readonly seq: number
  readonly exp: number
  readonly signature: number
  /** That signature, where it is at hand. */
  readonly signedText?: string
  readonly text: string
}

interface Pair {
  readonly id: number
  seq: number
}

/** Messages to one peer that are signed and written together. */
interface Outgoing {
  readonly peer: string
  readonly rows: Omit<OutRow, 'signature'>[]
  readonly queued: Queued[]
}

/** Units in one transaction; more than senders have in flight, so that a commit takes all that came during the last. */
const MAX_UNITS = 256
/** Messages of one turn that are signed and written together. */
const MAX_SENDS = MAX_BATCH_MESSAGES
/** Transactions of messages under way; what comes then waits, and is gathered. */
const MAX_SENDING = 4

export interface JournalComponents {
  readonly store: Store
  readonly identity: Identity
  readonly clock: () => number
  /** Messages to a peer are on disk; in the order of their table, and never before those with a lower number. */
  readonly onQueued: (peer: string, messages: readonly Queued[]) => void
  /** What was being written isn't kept; nor, when they follow one another, what was waiting. */
  readonly onFailure: (err: MeshError, isInOrder: boolean) => void
}

/**
 * Writes messages and what handlers did, so that seq, order in the table and order of handling are one.
 *
 * What handlers did is written one transaction after the other: whatever one decides from rows has all that was decided before it.
 * When one fails, what was waiting behind it fails too, for it may have been made from what wasn't kept. Messages that come of
 * nothing else have no such past: some transactions of them are under way at once.
 */
export class Journal {
  readonly #components: JournalComponents
  /** Far more than can be under way; others are read again from their rows. */
  readonly #pairs = new LRUCache<string, Pair>({ max: MAX_PAIRS_IN_MEMORY })
  #nextPair: number
  #nextSignature: number
  #nextMessage: number
  #units: Unit[] = []
  #sends: Unit[] = []
  #isWriting = false
  #sending = 0
  #scheduled = false
  #onIdle: (() => void)[] = []
  /** Raised by each failure. */
  generation = 0

  constructor(components: JournalComponents) {
    this.#components = components
    const { store } = components
    this.#nextPair = next(store, 'SELECT max(id) AS last FROM message_pair')
    this.#nextSignature = next(store, 'SELECT max(id) AS last FROM message_signature')
    this.#nextMessage = next(store, 'SELECT max(n) AS last FROM message_out')
  }

  add(unit: Unit): void {
    const isSend = unit.latest === undefined && (unit.statements === undefined || unit.statements.length === 0)
    if (isSend) this.#sends.push(unit)
    else this.#units.push(unit)
    if (this.#scheduled) return
    this.#scheduled = true
    // The end of the turn: what is sent in one turn is signed once
    queueMicrotask(() => {
      this.#scheduled = false
      void this.#run()
      this.#sendAll()
    })
  }

  /** @throws {MeshError} */
  write(
    statements: readonly Statement[],
    { drafts = [], latest = [] }: Pick<Unit, 'drafts' | 'latest'> = {}
  ): Promise<readonly number[]> {
    return new Promise((resolve, reject) => {
      this.add({ statements, drafts, latest, done: resolve, failed: reject })
    })
  }

  newPairId(): number {
    return this.#nextPair++
  }

  /** Resolves when nothing is waiting or being written. */
  idle(): Promise<void> {
    if (this.#isIdle) return Promise.resolve()
    return new Promise((resolve) => this.#onIdle.push(resolve))
  }

  async #run(): Promise<void> {
    if (this.#isWriting) return
    this.#isWriting = true
    while (this.#units.length > 0) {
      const units = this.#units.splice(0, MAX_UNITS)
      try {
        await this.#write(units)
      } catch (err) {
        this.#fail(units, MeshError.from(err))
      }
    }
    this.#isWriting = false
    this.#rest()
  }

  #sendAll(): void {
    while (this.#sends.length > 0 && this.#sending < MAX_SENDING) {
      const units = this.#sends.splice(0, MAX_SENDS)
      this.#sending += 1
      void this.#write(units)
        .catch((err: unknown) => {
          const error = MeshError.from(err)
          this.#components.onFailure(error, false)
          for (const { failed } of units) failed(error)
        })
        .finally(() => {
          this.#sending -= 1
          this.#sendAll()
          this.#rest()
        })
    }
  }

  get #isIdle(): boolean {
    return !this.#isWriting && this.#sending === 0 && this.#units.length + this.#sends.length === 0
  }

  #rest(): void {
    if (!this.#isIdle) return
    for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  #fail(units: readonly Unit[], error: MeshError): void {
    this.generation += 1
    this.#components.onFailure(error, true)
    const waiting = this.#units.splice(0)
    for (const { failed } of [...units, ...waiting]) failed(error)
  }

  async #write(units: readonly Unit[]): Promise<void> {
    const statements: Statement[] = []
    const seqs = units.map(({ drafts }) => (drafts === undefined || drafts.length === 0 ? NONE : new Array<number>()))
    const outgoing = seqs.some((each) => each !== NONE) ? this.#number(units, seqs, statements) : []
    const latest = new Map<string, Statement>()
    for (const unit of units) {
      for (const [key, statement] of unit.latest ?? []) latest.set(key, statement)
      if (unit.statements !== undefined) statements.push(...unit.statements)
    }
    statements.push(...latest.values())
    for (const each of outgoing) this.#sign(each, statements)
    // In the turn that has numbered them: messages come into their table in the order of their numbers
    if (statements.length > 0) await this.#components.store.write(statements)
    for (const { peer, queued } of outgoing) this.#components.onQueued(peer, queued)
    for (const [index, { done }] of units.entries()) done(seqs[index] ?? NONE)
  }

  /** @returns the messages of the units, by peer */
  #number(units: readonly Unit[], seqs: readonly number[][], statements: Statement[]): Outgoing[] {
    const now = this.#components.clock()
    const used = new Map<string, { pair: Pair; draft: Draft }>()
    const byPeer = new Map<string, Outgoing>()
    for (const [index, { drafts = [] }] of units.entries()) {
      for (const draft of drafts) {
        const key = `${draft.envelope.from} ${draft.envelope.to}`
        const pair = this.#pair(key, draft)
        // As decision 003: never again a seq of before a lost database
        pair.seq = Math.max(pair.seq + 1, now * 1_000)
        used.set(key, { pair, draft })
        const envelope = { ...draft.envelope, seq: pair.seq }
        seqs[index]?.push(pair.seq)
        const { peer } = draft
        const outgoing = byPeer.get(peer) ?? { peer, rows: [], queued: [] }
        byPeer.set(peer, outgoing)
        outgoing.rows.push({
          n: this.#nextMessage++,
          envelope,
          text: envelopeText(envelope, draft.body),
          pair: pair.id,
          peer
        })
      }
    }
    for (const { pair, draft } of used.values()) {
      const { from: sender, to: recipient } = draft.envelope
      statements.push(
        putPair({ id: pair.id, direction: 'out', peer: draft.peer, sender, recipient, seq: pair.seq, at: now })
      )
    }
    return [...byPeer.values()]
  }

  #sign({ rows, queued }: Outgoing, statements: Statement[]): void {
    const { identity } = this.#components
    for (let at = 0; at < rows.length; at += MAX_BATCH_MESSAGES) {
      const batch = rows.slice(at, at + MAX_BATCH_MESSAGES)
      const signature = this.#nextSignature++
      const signedText = signBatch(
        identity,
        batch.map(({ text }) => text)
      )
      statements.push(insertSignature(signature, signedText))
      for (const row of batch) {
        statements.push(...insertOut({ ...row, signature }))
        if (row.envelope.kind === 'request') statements.push(insertRequest(row.envelope))
        const { n, pair, text } = row
        const { id, seq, exp } = row.envelope
        queued.push({ n, id, pair, seq, exp, signature, signedText, text })
      }
    }
  }

  #pair(key: string, { envelope }: Draft): Pair {
    const known = this.#pairs.get(key)
    if (known !== undefined) return known
    const row = this.#components.store.get(
      "SELECT id, seq FROM message_pair WHERE direction = 'out' AND sender = ? AND recipient = ?",
      [envelope.from, envelope.to]
    )
    const pair =
      row === undefined ? { id: this.newPairId(), seq: 0 } : { id: number(row, 'id'), seq: number(row, 'seq') }
    this.#pairs.set(key, pair)
    return pair
  }
}

const NONE: number[] = []

function next(store: Store, sql: string): number {
  return Number(store.get(sql)?.['last'] ?? 0) + 1
}
