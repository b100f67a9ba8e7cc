import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import type { Row, Statement, Store } from '../store/index.ts'
import type { AgentState } from './agent-state.ts'
import { type Attempt, attempt } from './attempt.ts'
import {
  DELIVERED_AFTER_MS,
  HANDLER_RETRY_MAX_MS,
  HANDLER_RETRY_MIN_MS,
  MAX_BATCH_MESSAGES,
  MAX_HANDLERS,
  MAX_HANDLERS_PER_AGENT,
  MAX_TRIES,
  RETRY_MIN_MS
} from './constants.ts'
import { replyDraft } from './drafts.ts'
import type { MessageHandler, Receiver } from './index.ts'
import type { Draft, Journal, Latest } from './journal.ts'
import type { Envelope, Receipt } from './messages.ts'
import type { InPair, Pairs } from './pairs.ts'
import { type Content, fetchAgainAt, fetched } from './references.ts'
import { endIn, insertEvent, number, putReceipt } from './rows.ts'
import { readWaiting, type Waiting } from './waiting.ts'

export interface HandlingComponents {
  readonly self: string
  readonly store: Store
  readonly blobs?: Content | undefined
  readonly journal: Journal
  readonly pairs: Pairs
  readonly state: AgentState
  readonly receiver: (agent: string) => Receiver
  readonly callerOf: (peer: string) => Caller
  readonly emit: Emit
  readonly newId: () => string
  readonly clock: () => number
  readonly random: () => number
  readonly timeoutMs: number
  readonly mayQueue: (peer: string) => boolean
  /** There are receipts for it to be pushed. */
  readonly onReceipt: (peer: string) => void
  readonly log: (text: string) => void
}

/** A turn of a pair. */
interface Run {
  /** Of the journal, when it began. */
  readonly generation: number
  /** What is being written. */
  readonly ends: Promise<void>[]
}

/** What comes of a message beside its end. */
interface Effects {
  readonly statements?: readonly Statement[]
  readonly latest?: readonly Latest[]
  readonly drafts?: readonly Draft[]
  readonly isAnswered?: boolean
  readonly isDead?: boolean
  readonly written?: () => void
}

interface End {
  readonly state: 'processed' | 'failed' | 'expired'
  readonly code?: string | undefined
  readonly reason?: string | undefined
}

/** Gives messages to their handlers: one of a pair at a time, in order, again after a failure. */
export class Handling {
  readonly #components: HandlingComponents
  readonly #stopping = new AbortController()
  readonly #running = new Map<string, number>()
  readonly #drains = new Set<Promise<void>>()
  #runningTotal = 0

  constructor(components: HandlingComponents) {
    this.#components = components
  }

  /** Handles what waits in the pair, unless that is under way or not yet due. */
  drain(pair: InPair): void {
    if (pair.isRunning) {
      pair.isWanted = true
      return
    }
    if (pair.waiting === 0 || this.#stopping.signal.aborted) return
    if (!this.hasSlot(pair.agent)) return
    pair.isRunning = true
    this.#occupy(pair.agent, 1)
    const drained = this.#drain(pair)
      .catch((err: unknown) => {
        pair.dueAt = this.#components.clock() + RETRY_MIN_MS
        this.#components.log(`messages of ${pair.sender}: ${String(err)}`)
      })
      .finally(() => {
        this.#drains.delete(drained)
        this.#left(pair)
      })
    this.#drains.add(drained)
  }

  /** Whatever is due now; called by the clock, and when an agent has come up. */
  drainAll(): void {
    const now = this.#components.clock()
    for (const pair of this.#components.pairs.waiting()) if (pair.dueAt <= now) this.drain(pair)
  }

  hasSlot(agent: string): boolean {
    return this.#runningTotal < MAX_HANDLERS && (this.#running.get(agent) ?? 0) < MAX_HANDLERS_PER_AGENT
  }

  /** Runs the handler of a message that is not written yet. */
  run(pair: InPair, handler: MessageHandler, message: Envelope, tries = 0): Attempt | Promise<Attempt> {
    const { callerOf, state, timeoutMs, newId, clock, mayQueue } = this.#components
    return attempt({
      message,
      agent: pair.agent,
      caller: callerOf(pair.peer),
      tries,
      handler,
      state,
      timeoutMs,
      stopping: this.#stopping.signal,
      newId,
      clock,
      mayQueue
    })
  }

  /** Takes over a run that was begun before its message was written, and goes on with the pair. */
  adopt(pair: InPair, waiting: Waiting, running: Promise<Attempt>, generation: number): void {
    this.#occupy(pair.agent, 1)
    const drained = running
      .then(async (result) => {
        const ends: Promise<void>[] = []
        const goesOn = await this.#finish(pair, waiting, result, { generation, ends })
        await Promise.all(ends)
        if (goesOn) await this.#drain(pair)
      })
      .catch((err: unknown) => {
        pair.dueAt = this.#components.clock() + RETRY_MIN_MS
        this.#components.log(`messages of ${pair.sender}: ${String(err)}`)
      })
      .finally(() => {
        this.#drains.delete(drained)
        this.#left(pair)
      })
    this.#drains.add(drained)
  }

  async stop(): Promise<void> {
    this.#stopping.abort(new MeshError('CANCELLED', 'the node is stopping'))
    await Promise.allSettled(this.#drains)
  }

  /** What ends a try of a message that was not written yet, or was: the time of the next. */
  retryAt(tries: number): number {
    const { clock, random } = this.#components
    return clock() + random() * Math.min(HANDLER_RETRY_MAX_MS, HANDLER_RETRY_MIN_MS * 2 ** (tries - 1))
  }

  #left(pair: InPair): void {
    pair.isRunning = false
    this.#occupy(pair.agent, -1)
    if (!pair.isWanted) return
    pair.isWanted = false
    if (pair.dueAt <= this.#components.clock()) this.drain(pair)
  }

  #occupy(agent: string, slots: number): void {
    const count = (this.#running.get(agent) ?? 0) + slots
    this.#runningTotal += slots
    if (count <= 0) this.#running.delete(agent)
    else this.#running.set(agent, count)
  }

  async #drain(pair: InPair): Promise<void> {
    while (pair.waiting > 0 && !this.#stopping.signal.aborted) {
      if (pair.dueAt > this.#components.clock()) return
      if (!(await this.#some(pair))) return
    }
  }

  /**
   * Handles the oldest of a pair. The next is begun while the one before is being written: the journal keeps their order, and
   * with one that isn't kept those after it aren't either.
   *
   * @returns whether there may be more to do at once
   */
  async #some(pair: InPair): Promise<boolean> {
    const rows = this.#components.store.all(
      `SELECT n, envelope, bytes, tries, exp FROM message_in WHERE pair = ? AND state IN ('accepted', 'delivered') ORDER BY n LIMIT ?`,
      [pair.id, pair.suspectUntil > 0 ? 1 : MAX_BATCH_MESSAGES]
    )
    if (rows.length === 0) {
      pair.waiting = 0
      return false
    }
    const ends: Promise<void>[] = []
    let goesOn = true
    try {
      for (const row of rows) {
        if (this.#stopping.signal.aborted) goesOn = false
        const generation = this.#components.journal.generation
        goesOn &&= await this.#next(pair, row, { ends, generation })
        if (!goesOn) break
      }
    } finally {
      await Promise.all(ends)
    }
    return goesOn
  }

  /** @returns whether to go on with the next */
  async #next(pair: InPair, row: Row, run: Run): Promise<boolean> {
    const { clock, receiver } = this.#components
    const waiting = readWaiting(row)
    if (number(row, 'exp') <= clock())
      return this.#end(pair, waiting, { state: 'expired', reason: 'not handled in time' }, run)
    const handler = receiver(pair.agent)
    if (handler === 'down') return false
    if (typeof handler === 'string') {
      const reason = handler === 'unknown' ? 'there is no such agent any more' : 'the agent takes no messages'
      return this.#end(pair, waiting, { state: 'failed', code: 'NOT_FOUND', reason }, run)
    }
    const tried = this.#isSuspect(pair, number(row, 'n')) ? await this.#suspect(pair, waiting, run) : waiting
    if (tried === undefined) return true
    if (tried.message.blob !== undefined) {
      const missing = await this.#missing(pair, tried, run)
      if (missing !== undefined) return missing
    }
    const running = this.run(pair, handler, tried.message, tried.tries)
    const result = running instanceof Promise ? await this.#awaited(pair, tried, running) : running
    return this.#finish(pair, tried, result, run)
  }

  /** Fetches what a message refers to. @returns undefined when it is here, else whether to go on with the next */
  async #missing(pair: InPair, waiting: Waiting, run: Run): Promise<boolean | undefined> {
    const { self, blobs, clock, random } = this.#components
    const missing = await fetched(waiting.message, blobs, { self, now: clock(), signal: this.#stopping.signal })
    if (missing === undefined) return undefined
    const { code, reason, isPassing } = missing
    // As if its handler had failed; but it may take its time until the other node is there
    if (!isPassing) return this.#again(pair, waiting, { ...FAILED, code, reason, detail: reason }, run)
    pair.dueAt = fetchAgainAt(clock(), random)
    return false
  }

  /** Whether the last crash has yet to be counted for a message. */
  #isSuspect(pair: InPair, n: number): boolean {
    if (n > pair.suspectUntil) {
      pair.suspectUntil = 0
      return false
    }
    if (n === pair.suspected) return false
    pair.suspected = n
    return true
  }

  /** The node ended without having stopped, perhaps by this very handler: that counts, and is written before the next attempt. */
  async #suspect(pair: InPair, waiting: Waiting, run: Run): Promise<Waiting | undefined> {
    const { journal, clock } = this.#components
    const tries = waiting.tries + 1
    const { id } = waiting.message
    if (tries >= MAX_TRIES) {
      await this.#bury(pair, { ...waiting, tries }, 'the node ended during its attempts', { run })
      return undefined
    }
    await journal.write([
      { sql: 'UPDATE message_in SET tries = ? WHERE id = ? AND peer = ?', params: [tries, id, pair.peer] },
      insertEvent({ message: id, at: clock(), what: 'attempt', reason: 'the node ended during it' })
    ])
    return { ...waiting, tries }
  }

  /** A handler that takes its time has at least been given the message. */
  async #awaited(pair: InPair, { message }: Waiting, running: Promise<Attempt>): Promise<Attempt> {
    const timer = setTimeout(() => {
      const at = this.#components.clock()
      const receipt: Receipt = { id: message.id, state: 'delivered', at }
      this.#components.journal
        .write([
          {
            sql: "UPDATE message_in SET state = 'delivered', delivered_at = ? WHERE id = ? AND peer = ? AND state = 'accepted'",
            params: [at, message.id, pair.peer]
          },
          putReceipt(pair.peer, receipt)
        ])
        .then(
          () => this.#components.onReceipt(pair.peer),
          () => {
            // only a notice; the end will be told
          }
        )
    }, DELIVERED_AFTER_MS)
    try {
      return await running
    } finally {
      clearTimeout(timer)
    }
  }

  async #finish(pair: InPair, waiting: Waiting, result: Attempt, run: Run): Promise<boolean> {
    const { journal, state, clock } = this.#components
    if (result.end === 'again') return this.#again(pair, waiting, result, run)
    if (run.generation !== journal.generation) {
      // It may have read what was not kept: as if it had not run
      pair.dueAt = clock() + RETRY_MIN_MS
      return false
    }
    const { latest, written } = state.publish(pair.agent, result.changes)
    const { drafts, isAnswered } = result
    return this.#end(pair, waiting, { ...result, state: result.end, latest, drafts, isAnswered, written }, run)
  }

  async #again(pair: InPair, waiting: Waiting, { code, reason, detail }: Attempt, run: Run): Promise<boolean> {
    const { journal, clock } = this.#components
    if (this.#stopping.signal.aborted) return false
    const { id } = waiting.message
    const tries = waiting.tries + 1
    const event = insertEvent({ message: id, at: clock(), what: 'attempt', code, reason: detail })
    if (tries >= MAX_TRIES) {
      await this.#bury(pair, { ...waiting, tries }, reason ?? '', { code, event, run })
      return true
    }
    await journal.write([
      {
        sql: 'UPDATE message_in SET tries = ?, code = ?, reason = ? WHERE id = ? AND peer = ?',
        params: [tries, code ?? null, detail ?? null, id, pair.peer]
      },
      event
    ])
    pair.dueAt = this.retryAt(tries)
    return false
  }

  /** It is the owner's now. */
  async #bury(
    pair: InPair,
    waiting: Waiting,
    reason: string,
    more: { readonly code?: string | undefined; readonly event?: Statement; readonly run: Run }
  ): Promise<void> {
    const { emit, newId, clock } = this.#components
    const { message, tries } = waiting
    const code = more.code ?? 'AGENT_ERROR'
    const body = { code, message: `given up after ${tries} attempts: ${reason}` }
    const drafts =
      message.kind === 'request' ? [replyDraft(message, { outcome: 'error', body }, { id: newId(), now: clock() })] : []
    const statements = more.event === undefined ? [] : [more.event]
    const effects = { statements, drafts, isAnswered: drafts.length > 0, isDead: true }
    this.#end(pair, waiting, { state: 'failed', code, reason: body.message, ...effects }, more.run)
    await Promise.all(more.run.ends)
    emit('message:dead', { id: message.id, agent: pair.recipient, reason: body.message })
  }

  /** Ends a message; it is written with what comes of it by the time that `run.ends` have resolved. @returns true */
  #end(pair: InPair, { message, bytes, tries }: Waiting, end: End & Effects, run: Run): boolean {
    const { journal, pairs, clock, onReceipt } = this.#components
    const at = clock()
    const { state, code, reason } = end
    const receipt: Receipt = {
      id: message.id,
      state,
      at,
      ...(code === undefined ? {} : { code }),
      ...(reason === undefined ? {} : { reason: reason.slice(0, MAX_RECEIPT_REASON) })
    }
    const { isAnswered: answered = false, isDead = false, statements = [], latest = [], drafts = [], written } = end
    const ending = journal.write(
      [
        ...statements,
        endIn({ peer: pair.peer, id: message.id }, { state, at, code, reason }, { answered, isDead, tries }),
        putReceipt(pair.peer, receipt)
      ],
      { drafts, latest }
    )
    const ended = ending
      .then(() => {
        pair.waiting = Math.max(0, pair.waiting - 1)
        pair.isWarm = true
        pair.dueAt = 0
        pairs.count(pair.peer, -1, -bytes)
        onReceipt(pair.peer)
      })
      .finally(written)
    // Whoever waits for all is told; until then nobody else may be
    ended.catch(() => {})
    run.ends.push(ended)
    return true
  }
}

const FAILED = { end: 'again', changes: new Map(), drafts: [], isAnswered: false } as const

/** 256 of them are one signature. */
const MAX_RECEIPT_REASON = 200
