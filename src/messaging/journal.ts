import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import type { Statement, Store } from '../store/index.ts'
import { canonicalJson } from '../wire/index.ts'
import { MAX_BATCH_MESSAGES, MAX_PAIRS_IN_MEMORY } from './constants.ts'
import type { Envelope } from './messages.ts'
import { insertOut, insertRequest, insertSignature, number, type OutRow, type PairRow, putPair } from './rows.ts'
import { signBatch } from './signatures.ts'

/** An envelope without what only its place in the row of commits tells. */
export interface Draft {
  readonly peer: string
  readonly envelope: Omit<Envelope, 'seq'>
}

/** What is to be written together, or not at all. */
export interface Unit {
  readonly drafts?: readonly Draft[]
  readonly statements?: readonly Statement[]
  /** The pair of a message that came; of several in a transaction the last is written. */
  readonly pair?: PairRow
  /** On disk. Called in the order of the units. */
  readonly done: (seqs: readonly number[]) => void
  readonly failed: (err: MeshError) => void
}

interface Pair {
  readonly id: number
  seq: number
}

/** Units in one transaction; more than senders have in flight, so that a commit takes all that came during the last. */
const MAX_UNITS = 256

export interface JournalComponents {
  readonly store: Store
  readonly identity: Identity
  readonly clock: () => number
  /** Messages are on disk, by peer. */
  readonly onQueued: (peer: string, count: number, bytes: number) => void
  /** What was being written isn't kept. */
  readonly onFailure: (err: MeshError) => void
}

/**
 * Writes messages and what handlers did, one transaction after the other: so seq, order in the table and order of handling are one,
 * and whatever one decides from rows has all that was decided before it.
 *
 * When a transaction fails, what was waiting behind it fails too: it may have been made from what wasn't kept.
 */
export class Journal {
  readonly #components: JournalComponents
  readonly #pairs = new Map<string, Pair>()
  #nextPair: number
  #nextSignature: number
  #units: Unit[] = []
  #isWriting = false
  #scheduled = false
  #onIdle: (() => void)[] = []
  /** Raised by each failure. */
  generation = 0

  constructor(components: JournalComponents) {
    this.#components = components
    const { store } = components
    this.#nextPair = next(store, 'SELECT max(id) AS last FROM message_pair')
    this.#nextSignature = next(store, 'SELECT max(id) AS last FROM message_signature')
  }

  get pending(): number {
    return this.#units.length
  }

  add(unit: Unit): void {
    this.#units.push(unit)
    if (this.#isWriting || this.#scheduled) return
    this.#scheduled = true
    // The end of the turn: what is sent in one turn is signed once
    queueMicrotask(() => {
      this.#scheduled = false
      void this.#run()
    })
  }

  /** Statements alone. @throws {MeshError} */
  write(statements: readonly Statement[], drafts: readonly Draft[] = []): Promise<readonly number[]> {
    return new Promise((resolve, reject) => {
      this.add({ statements, drafts, done: resolve, failed: reject })
    })
  }

  newPairId(): number {
    return this.#nextPair++
  }

  /** Resolves when nothing is waiting or being written. */
  idle(): Promise<void> {
    if (!this.#isWriting && this.#units.length === 0) return Promise.resolve()
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
    for (const resolve of this.#onIdle.splice(0)) resolve()
  }

  #fail(units: readonly Unit[], error: MeshError): void {
    this.generation += 1
    this.#pairs.clear()
    this.#components.onFailure(error)
    const waiting = this.#units.splice(0)
    for (const { failed } of [...units, ...waiting]) failed(error)
  }

  async #write(units: readonly Unit[]): Promise<void> {
    const statements: Statement[] = []
    const seqs = units.map(({ drafts }) => (drafts === undefined || drafts.length === 0 ? NONE : new Array<number>()))
    if (seqs.some((each) => each !== NONE)) await this.#addMessages(units, seqs, statements)
    const pairs = new Map<number, PairRow>()
    for (const unit of units) {
      if (unit.pair !== undefined) pairs.set(unit.pair.id, unit.pair)
      if (unit.statements !== undefined) statements.push(...unit.statements)
    }
    for (const pair of pairs.values()) statements.push(putPair(pair))
    if (statements.length > 0) await this.#components.store.write(statements)
    this.#announce(units)
    for (const [index, { done }] of units.entries()) done(seqs[index] ?? NONE)
  }

  #announce(units: readonly Unit[]): void {
    const peers = new Map<string, { count: number; bytes: number }>()
    for (const { drafts = [] } of units) {
      for (const draft of drafts) {
        const of = peers.get(draft.peer) ?? { count: 0, bytes: 0 }
        of.count += 1
        of.bytes += this.#sizes.get(draft) ?? 0
        peers.set(draft.peer, of)
      }
    }
    for (const [peer, { count, bytes }] of peers) this.#components.onQueued(peer, count, bytes)
  }

  readonly #sizes = new WeakMap<Draft, number>()

  async #addMessages(units: readonly Unit[], seqs: readonly number[][], statements: Statement[]): Promise<void> {
    const now = this.#components.clock()
    // Read again when they have been dropped from memory: their rows are as good
    if (this.#pairs.size >= MAX_PAIRS_IN_MEMORY) this.#pairs.clear()
    const used = new Map<string, { pair: Pair; draft: Draft }>()
    const byPeer = new Map<string, Omit<OutRow, 'signature'>[]>()
    for (const [index, { drafts = [] }] of units.entries()) {
      for (const draft of drafts) {
        const key = `${draft.envelope.from} ${draft.envelope.to}`
        const pair = this.#pair(key, draft)
        // As decision 003: never again a seq of before a lost database
        pair.seq = Math.max(pair.seq + 1, now * 1_000)
        used.set(key, { pair, draft })
        const envelope: Envelope = { ...draft.envelope, seq: pair.seq }
        const text = canonicalJson(envelope)
        this.#sizes.set(draft, text.length)
        seqs[index]?.push(pair.seq)
        const rows = byPeer.get(draft.peer) ?? []
        if (rows.length === 0) byPeer.set(draft.peer, rows)
        rows.push({ envelope, text, pair: pair.id, peer: draft.peer })
      }
    }
    for (const { pair, draft } of used.values()) {
      const { from: sender, to: recipient } = draft.envelope
      statements.push(
        putPair({ id: pair.id, direction: 'out', peer: draft.peer, sender, recipient, seq: pair.seq, at: now })
      )
    }
    await Promise.all([...byPeer.values()].map((rows) => this.#sign(rows, statements)))
  }

  async #sign(rows: readonly Omit<OutRow, 'signature'>[], statements: Statement[]): Promise<void> {
    const { identity } = this.#components
    for (let at = 0; at < rows.length; at += MAX_BATCH_MESSAGES) {
      const batch = rows.slice(at, at + MAX_BATCH_MESSAGES)
      const signature = this.#nextSignature++
      const jws = await signBatch(
        identity,
        batch.map(({ text }) => text)
      )
      statements.push(insertSignature(signature, jws))
      for (const row of batch) {
        statements.push(insertOut({ ...row, signature }))
        if (row.envelope.kind === 'request') statements.push(insertRequest(row.envelope))
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
