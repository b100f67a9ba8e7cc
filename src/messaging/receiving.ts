import { type Caller, ownerCaller } from '../auth/index.ts'
import type { MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import type { Permissions } from '../permissions/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Statement, Store } from '../store/index.ts'
import { canonicalJson } from '../wire/index.ts'
import { type Admit, createAdmission } from './admission.ts'
import type { AgentState } from './agent-state.ts'
import type { Attempt } from './attempt.ts'
import {
  FAST_HANDLER_MS,
  MAX_EXPIRY_MS,
  MAX_SKEW_MS,
  MAX_UNHANDLED_BYTES,
  MAX_UNHANDLED_BYTES_PER_PEER,
  OWNER_AGENT
} from './constants.ts'
import type { Handling } from './handling.ts'
import type { Receiver } from './index.ts'
import type { Journal } from './journal.ts'
import type { DeliverResult, Envelope, Receipt } from './messages.ts'
import type { Outcomes } from './outcomes.ts'
import type { InPair, Pairs } from './pairs.ts'
import { insertEvent, insertIn, isEnd, list, putPair, text } from './rows.ts'
import { busy, type Kept, receiptOf, receiptOfRow, refused, type Taken } from './taken.ts'

/** A message whose signature has been checked. */
export interface Arrival {
  readonly envelope: Envelope
  readonly text: string
  readonly after: number
}

export interface TakenBatch {
  readonly taken: readonly Taken[]
  /** Never rejects: what the disk refused is `busy` by then. */
  readonly written: Promise<void>
}

export interface ReceivingComponents {
  readonly self: string
  readonly store: Store
  readonly journal: Journal
  readonly pairs: Pairs
  readonly handling: Handling
  readonly outcomes: Outcomes
  readonly state: AgentState
  readonly policy: Policy
  readonly permissions: Pick<Permissions, 'permit'>
  readonly receiver: (agent: string) => Receiver
  readonly refusal: () => MeshError | undefined
  readonly emit: Emit
  readonly clock: () => number
  readonly maxUnhandledPerPeer: number
  readonly maxUnhandled: number
  /** A request of ours has its outcome. */
  readonly onOutcome: (id: string) => void
}

/** One batch of one author while it is taken. */
interface Batch {
  readonly caller: Caller
  readonly generation: number
  /** Rows that are there already, by id. */
  readonly known: ReadonlyMap<string, Receipt>
  readonly now: number
  /** Handlers may run before their messages are written until then. */
  readonly fastUntil: number
  pending: number
  onWritten: (() => void) | undefined
}

const KEPT: DeliverResult = { state: 'kept' }

/** Takes messages of one author, in their order; the next batch of the same author is judged while this one is written. */
export class Receiving {
  readonly #components: ReceivingComponents
  readonly #admit: Admit
  readonly #turns = new Map<string, Promise<unknown>>()
  /** Batches that are being written, by author. */
  readonly #writing = new Map<string, Map<Promise<void>, ReadonlySet<string>>>()

  constructor(components: ReceivingComponents) {
    this.#components = components
    this.#admit = createAdmission(components)
  }

  /** @returns in the order of the messages, before it is written: until then a `kept` may still become `busy` */
  take(caller: Caller, arrivals: readonly Arrival[]): Promise<TakenBatch> {
    const { peer } = caller
    const turn = (this.#turns.get(peer) ?? Promise.resolve()).then(() => this.#take(caller, arrivals))
    const settled = turn.then(
      () => {},
      () => {
        // whoever waits for it is told
      }
    )
    this.#turns.set(peer, settled)
    void settled.then(() => {
      if (this.#turns.get(peer) === settled) this.#turns.delete(peer)
    })
    return turn
  }

  /** What came already and has no row yet: its receipt is not to be had before it has one. */
  async #settled(peer: string, arrivals: readonly Arrival[]): Promise<void> {
    const writing = this.#writing.get(peer)
    if (writing === undefined) return
    for (const [written, ids] of writing) if (arrivals.some(({ envelope }) => ids.has(envelope.id))) await written
  }

  #isWritten(peer: string, ids: ReadonlySet<string>, written: Promise<void>): void {
    const writing = this.#writing.get(peer) ?? new Map()
    this.#writing.set(peer, writing.set(written, ids))
    void written.then(() => {
      writing.delete(written)
      if (writing.size === 0 && this.#writing.get(peer) === writing) this.#writing.delete(peer)
    })
  }

  /** Gives an agent of ours a reply that this node made itself, and decides the request with it. @returns whether there is room */
  conclude(envelope: Envelope, now: number): boolean {
    const { self, pairs, journal } = this.#components
    // In the name of whom was asked, but in a pair of this node's own: the numbers of the other are not ours to give
    const pair = pairs.get(`${self}/${OWNER_AGENT}`, envelope.to)
    if (pair === undefined) return false
    const batch: Batch = {
      caller: ownerCaller(self),
      generation: journal.generation,
      known: new Map(),
      now,
      fastUntil: 0,
      pending: 0,
      onWritten: undefined
    }
    const arrival = { envelope: { ...envelope, seq: Math.max(1, pair.mark) }, text: '', after: 0 }
    this.#store(batch, { ...arrival, text: canonicalJson(arrival.envelope) }, pair, { state: 'accepted' })
    return true
  }

  async #take(caller: Caller, arrivals: readonly Arrival[]): Promise<TakenBatch> {
    const { journal, clock } = this.#components
    await this.#settled(caller.peer, arrivals)
    const batch: Batch = {
      caller,
      generation: journal.generation,
      known: this.#known(caller.peer, arrivals),
      now: clock(),
      fastUntil: performance.now() + MAX_FAST_BATCH_MS,
      pending: 0,
      onWritten: undefined
    }
    const taken: Taken[] = []
    const seen = new Set<string>()
    for (const arrival of arrivals) {
      const { id } = arrival.envelope
      // Twice in one batch is once; its state is the first one's to tell
      const one = seen.has(id) ? { result: { state: 'gap' } as const } : this.#one(batch, arrival)
      seen.add(id)
      taken.push(one instanceof Promise ? await one : one)
    }
    if (batch.pending === 0) return { taken, written: Promise.resolve() }
    const { promise: written, resolve } = Promise.withResolvers<void>()
    batch.onWritten = resolve
    this.#isWritten(caller.peer, seen, written)
    return { taken, written }
  }

  #known(peer: string, arrivals: readonly Arrival[]): Map<string, Receipt> {
    const rows = this.#components.store.all(
      `SELECT id, state, code, reason, coalesce(ended_at, delivered_at, accepted_at) AS at FROM message_in
       WHERE id IN (SELECT value FROM json_each(?)) AND peer = ?`,
      [list(arrivals.map(({ envelope }) => envelope.id)), peer]
    )
    return new Map(rows.map((row) => [text(row, 'id'), receiptOfRow(row)]))
  }

  /** Judges one message, cheap refusals first. */
  #one(batch: Batch, arrival: Arrival): Taken | Promise<Taken> {
    const { pairs } = this.#components
    const { envelope, after } = arrival
    const known = batch.known.get(envelope.id)
    if (known !== undefined) return { result: KEPT, receipt: known }
    const pair = pairs.get(envelope.from, envelope.to)
    if (pair === undefined) return refused('LIMIT_EXCEEDED', 'the node writes to too many agents under too many names')
    if (envelope.seq <= pair.mark) return refused('INVALID_MESSAGE', 'a later message of the pair has been taken')
    if (after > pair.mark) return { result: { state: 'gap' } }
    const unfit = this.#unfit(batch, envelope, arrival.text.length)
    if (unfit !== undefined) return unfit
    if (batch.caller.peer === this.#components.self) return this.#keep(batch, arrival, pair)
    const standing = this.#solicited(envelope)
    if (standing === 'forged') return refused('FORBIDDEN', 'it answers a request that was put to another')
    if (standing === 'solicited') return this.#keep(batch, arrival, pair)
    const bytes = arrival.text.length + (envelope.blob?.size ?? 0)
    const admitted = this.#admit(batch.caller, envelope, { agent: pair.agent, bytes })
    if (admitted === undefined) return this.#keep(batch, arrival, pair)
    return admitted.then((refusal) => {
      if (refusal !== undefined) return { result: refusal }
      // Others may have gone by while the owner's answer was looked for
      return this.#keep(batch, arrival, pair)
    })
  }

  #unfit({ now, caller }: Batch, envelope: Envelope, bytes: number): Taken | undefined {
    const { pairs, receiver, refusal, maxUnhandledPerPeer, maxUnhandled } = this.#components
    const { id, sent, exp, to } = envelope
    if (exp <= now) return { result: KEPT, receipt: { id, state: 'expired', at: now } }
    if (sent > now + MAX_SKEW_MS || exp > now + MAX_EXPIRY_MS + MAX_SKEW_MS)
      return refused('INVALID_MESSAGE', 'its times lie too far ahead')
    const agent = to.slice(to.indexOf('/') + 1)
    if (agent !== OWNER_AGENT) {
      const there = receiver(agent)
      if (there === 'unknown') return refused('NOT_FOUND', `there is no agent ${agent}`)
      if (there === 'unsupported') return refused('NOT_FOUND', `the agent ${agent} takes no messages`)
    }
    const load = pairs.load(caller.peer)
    const isFull =
      load.count >= maxUnhandledPerPeer ||
      load.bytes + bytes > MAX_UNHANDLED_BYTES_PER_PEER ||
      pairs.total.count >= maxUnhandled ||
      pairs.total.bytes + bytes > MAX_UNHANDLED_BYTES
    if (isFull) return busy('too many messages wait here to be handled')
    const no = refusal()
    return no === undefined ? undefined : busy(no.message)
  }

  /** A reply that was asked for needs no other permission. */
  #solicited({ kind, corr, from }: Envelope): 'solicited' | 'forged' | 'no' {
    if (kind !== 'reply' || corr === undefined) return 'no'
    const row = this.#components.store.get(
      'SELECT recipient FROM message_out JOIN message_pair ON message_pair.id = pair WHERE message_out.id = ?',
      [corr]
    )
    if (row === undefined) return 'no'
    return row['recipient'] === from ? 'solicited' : 'forged'
  }

  /** Nothing is in its way: handled at once where that can be, else stored. */
  #keep(batch: Batch, arrival: Arrival, pair: InPair): Taken | Promise<Taken> {
    const { receiver, handling, journal } = this.#components
    if (journal.generation !== batch.generation) return busy('the disk refuses')
    const late = this.#lateReply(batch, arrival, pair)
    if (late !== undefined) return late
    if (pair.agent === OWNER_AGENT) return this.#store(batch, arrival, pair, { state: 'delivered' })
    const isFree =
      arrival.envelope.blob === undefined && pair.isWarm && pair.waiting === 0 && pair.arriving === 0 && !pair.isRunning
    const handler = isFree ? receiver(pair.agent) : undefined
    if (typeof handler !== 'function' || performance.now() > batch.fastUntil || !handling.hasSlot(pair.agent))
      return this.#store(batch, arrival, pair, { state: 'accepted' })
    const running = handling.run(pair, handler, arrival.envelope)
    if (!(running instanceof Promise)) return this.#handled(batch, arrival, pair, running)
    pair.isRunning = true
    return this.#raced(batch, arrival, pair, running)
  }

  async #raced(batch: Batch, arrival: Arrival, pair: InPair, running: Promise<Attempt>): Promise<Taken> {
    const { journal, handling } = this.#components
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<undefined>((resolve) => {
      timer = setTimeout(resolve, FAST_HANDLER_MS, undefined)
    })
    const result = await Promise.race([running, late])
    clearTimeout(timer)
    if (journal.generation !== batch.generation) {
      pair.isRunning = false
      return busy('the disk refuses')
    }
    if (result !== undefined) {
      pair.isRunning = false
      return this.#handled(batch, arrival, pair, result)
    }
    const { generation } = batch
    const bytes = arrival.text.length
    const onWritten = (isKept: boolean): void => {
      if (isKept) handling.adopt(pair, { message: arrival.envelope, bytes, tries: 0 }, running, generation)
      else pair.isRunning = false
    }
    return this.#store(batch, arrival, pair, { state: 'accepted', onWritten })
  }

  #handled(batch: Batch, arrival: Arrival, pair: InPair, result: Attempt): Taken {
    const { state, handling } = this.#components
    if (result.end === 'again') {
      pair.dueAt = handling.retryAt(1)
      const { code, detail: reason } = result
      const event = insertEvent({ message: arrival.envelope.id, at: batch.now, what: 'attempt', code, reason })
      return this.#store(batch, arrival, pair, { state: 'accepted', tries: 1, statements: [event] })
    }
    const { latest, written: onWritten } = state.publish(pair.agent, result.changes)
    const { end, code, reason, drafts, isAnswered } = result
    return this.#store(batch, arrival, pair, { state: end, code, reason, drafts, isAnswered, latest, onWritten })
  }

  /** The request has its outcome already: this one is noted, and goes no further. */
  #lateReply(batch: Batch, arrival: Arrival, pair: InPair): Taken | undefined {
    const { kind, corr, from, outcome } = arrival.envelope
    if (kind !== 'reply' || corr === undefined || this.#components.outcomes.standing(corr) !== 'decided')
      return undefined
    const event = insertEvent({
      message: corr,
      at: batch.now,
      what: 'late-reply',
      reason: `${outcome ?? 'result'} of ${from}`
    })
    return this.#store(batch, arrival, pair, { state: 'processed', statements: [event], isLate: true })
  }

  /** Queues the row and everything that belongs to it; answered once it is on disk. */
  #store(batch: Batch, arrival: Arrival, pair: InPair, end: Kept): Taken {
    const { journal, pairs, outcomes } = this.#components
    const { envelope, text: json } = arrival
    const { id, seq } = envelope
    const { sender, recipient } = pair
    const { now } = batch
    const { state } = end
    const late = end.isLate === true ? [] : this.#outcome(envelope, now)
    const before = pair.mark
    const isUnhandled = !isEnd(state)
    pair.mark = Math.max(before, seq)
    if (state === 'accepted') pair.arriving += 1
    if (isUnhandled) pairs.count(pair.peer, 1, json.length)
    const taken: Taken = { result: KEPT, receipt: receiptOf(id, now, end) }
    const over = (isKept: boolean): void => {
      if (late.length > 0 && envelope.corr !== undefined) outcomes.release([envelope.corr])
      end.onWritten?.(isKept)
      batch.pending -= 1
      if (batch.pending === 0) batch.onWritten?.()
    }
    batch.pending += 1
    const mark = putPair({ id: pair.id, direction: 'in', peer: pair.peer, sender, recipient, seq, at: now })
    journal.add({
      ...(end.drafts === undefined ? {} : { drafts: end.drafts }),
      latest: [[`pair ${pair.id}`, mark], ...(end.latest ?? [])],
      statements: [
        insertIn({
          envelope,
          text: json,
          pair: pair.id,
          peer: pair.peer,
          agent: pair.agent,
          state,
          at: now,
          code: end.code,
          reason: end.reason,
          answered: end.isAnswered === true,
          tries: end.tries ?? 0
        }),
        ...late,
        ...(end.statements ?? [])
      ],
      done: () => {
        if (state === 'accepted') {
          pair.arriving -= 1
          pair.waiting += 1
        }
        this.#written(pair, envelope, { isOutcome: late.length > 0, isLate: end.isLate === true })
        over(true)
      },
      failed: (err) => {
        // What came after it fails with it, so the lowest mark is the true one
        pair.mark = Math.min(pair.mark, before)
        if (state === 'accepted') pair.arriving -= 1
        if (isUnhandled) pairs.count(pair.peer, -1, -json.length)
        Object.assign(taken, busy(err.message), { receipt: undefined })
        over(false)
      }
    })
    return taken
  }

  #written(pair: InPair, { id, from, to, kind, corr }: Envelope, { isOutcome, isLate }: Written): void {
    const { pairs, emit, handling, onOutcome } = this.#components
    if (pair.agent === OWNER_AGENT && !isLate) pairs.unread += 1
    emit('message:received', { id, from, to, kind })
    if (isOutcome && corr !== undefined) onOutcome(corr)
    if (pair.waiting > 0) handling.drain(pair)
  }

  #outcome({ kind, corr, outcome = 'result', body }: Envelope, now: number): Statement[] {
    const { outcomes } = this.#components
    if (kind !== 'reply' || corr === undefined || outcomes.standing(corr) !== 'open') return []
    return [outcomes.decide(corr, outcome, body, now)]
  }
}

/** Longest that a batch is held up by handlers. */
const MAX_FAST_BATCH_MS = 50

interface Written {
  readonly isOutcome: boolean
  readonly isLate: boolean
}
