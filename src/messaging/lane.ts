import { MeshError } from '../errors.ts'
import type { Row, Store } from '../store/index.ts'
import {
  BUSY_RETRY_MS,
  MAX_BATCH_BYTES,
  MAX_BATCH_MESSAGES,
  MAX_BATCHES_IN_FLIGHT,
  MAX_SIGNATURE_BYTES,
  PENDING_RETRY_MS,
  RETRY_MAX_MS,
  RETRY_MIN_MS
} from './constants.ts'
import type { Queued } from './journal.ts'
import type { DeliverAnswer, DeliverRequest, DeliverResult } from './messages.ts'
import { list, number, text } from './rows.ts'
import type { Settlement } from './settling.ts'
import { createKeys, verifyReceipts } from './signatures.ts'

export interface LaneComponents {
  readonly peer: string
  readonly did: string
  readonly store: Store
  readonly clock: () => number
  readonly random: () => number
  /** Puts it to the peer. @throws {MeshError} what it answers, or that it can't be reached */
  readonly deliver: (peer: string, request: DeliverRequest) => Promise<DeliverAnswer>
  readonly settle: (items: readonly Settlement[]) => Promise<void>
}

/** A message on its way; `after` is the seq of the one before it in its pair. */
type Sending = Queued & { readonly after: number }

interface Block {
  until: number
  attempt: number
}

/**
 * Brings what is queued for one peer there: in order, some batches at a time, again with backoff. Messages that come while it has
 * read all there were go on from memory, as many as fit a few batches; all others are read from their table.
 */
export class Lane {
  readonly #components: LaneComponents
  /** Up to here it has been read. */
  #cursor = 0
  /** What follows the cursor; undefined while only the table has all of it. */
  #fresh: Queued[] | undefined
  #freshBytes = 0
  /** seq of the last that was read, by pair: what the next comes after. */
  readonly #last = new Map<number, number>()
  readonly #blocks = new Map<number, Block>()
  readonly #keyOf = createKeys()
  #inFlight = 0
  /** Answered, and being written. */
  #settling = 0
  #attempt = 0
  #dueAt = 0
  /** Goes back to the oldest when what is under way has come to its end. */
  #isRewinding = false
  #isStopped = false
  /** Why it stands still; undefined when it doesn't. */
  problem: MeshError | undefined

  constructor(components: LaneComponents) {
    this.#components = components
  }

  /** There may be something to do. */
  wake(): void {
    if (this.#isStopped || this.#components.clock() < this.#dueAt) return
    this.#unblock()
    while (this.#inFlight < MAX_BATCHES_IN_FLIGHT && !this.#isRewinding) {
      const batch = this.#read()
      if (batch.length === 0) break
      this.#inFlight += 1
      void this.#deliver(batch)
    }
    if (this.isIdle) this.#rewind()
  }

  /** These are in the table now. */
  add(messages: readonly Queued[]): void {
    for (const message of messages) this.#addFresh(message)
    this.wake()
  }

  /** Reads the table before anything else is sent. */
  forget(): void {
    this.#fresh = undefined
    this.#freshBytes = 0
  }

  /** The peer is there: whatever was waited for is over. */
  wakeNow(): void {
    this.#attempt = 0
    this.#dueAt = 0
    for (const block of this.#blocks.values()) block.until = 0
    this.wake()
  }

  /** Nothing is on its way. */
  get isIdle(): boolean {
    return this.#inFlight + this.#settling === 0
  }

  stop(): void {
    this.#isStopped = true
  }

  #addFresh(message: Queued): void {
    // A read of the table may have been faster than the news of the commit
    if (this.#fresh === undefined || message.n <= this.#cursor) return
    this.#freshBytes += message.text.length
    if (this.#freshBytes > MAX_FRESH_BYTES || this.#fresh.length >= MAX_FRESH) this.forget()
    else this.#fresh.push(message)
  }

  #unblock(): void {
    const now = this.#components.clock()
    for (const block of this.#blocks.values()) {
      if (block.until === Number.POSITIVE_INFINITY || block.until > now) continue
      // Kept, for its count of attempts, until something of the pair gets through
      block.until = Number.POSITIVE_INFINITY
      this.#isRewinding = true
    }
    if (this.isIdle) this.#rewind()
  }

  #rewind(): void {
    this.#cursor = 0
    this.forget()
    this.#last.clear()
    const again = this.#isRewinding
    this.#isRewinding = false
    if (again) this.wake()
  }

  #read(): Sending[] {
    const isFresh = this.#fresh !== undefined
    const rows = this.#fresh ?? this.#select()
    const now = this.#components.clock()
    const batch: Sending[] = []
    const signatures = new Set<number>()
    let [taken, bytes] = [0, 0]
    for (const row of rows) {
      bytes += Buffer.byteLength(row.text) + (signatures.has(row.signature) ? 0 : SIGNATURE_BYTES)
      if (batch.length >= MAX_BATCH_MESSAGES || (batch.length > 0 && bytes > MAX_BATCH_BYTES)) break
      taken += 1
      this.#cursor = row.n
      if (isFresh) this.#freshBytes -= row.text.length
      if (row.exp <= now) continue
      signatures.add(row.signature)
      batch.push({ ...row, after: this.#last.get(row.pair) ?? 0 })
      this.#last.set(row.pair, row.seq)
    }
    if (isFresh) rows.splice(0, taken)
    else if (taken === rows.length && rows.length < MAX_BATCH_MESSAGES && this.#blocked.length === 0) this.#fresh = []
    return batch
  }

  get #blocked(): number[] {
    return [...this.#blocks].filter(([, { until }]) => until !== Number.POSITIVE_INFINITY).map(([pair]) => pair)
  }

  #select(): Queued[] {
    const { peer, store, clock } = this.#components
    const rows = store.all(
      `SELECT n, id, pair, seq, exp, signature, envelope FROM message_sent
       WHERE peer = ? AND state = 'queued' AND n > ? AND pair NOT IN (SELECT value FROM json_each(?)) AND exp > ?
       ORDER BY n LIMIT ?`,
      [peer, this.#cursor, list(this.#blocked), clock(), MAX_BATCH_MESSAGES]
    )
    return rows.map(readQueued)
  }

  #request(batch: readonly Sending[]): DeliverRequest {
    const signatures = new Map(batch.map(({ signature, signedText }) => [signature, signedText]))
    const ids = [...signatures.keys()]
    const missing = ids.filter((id) => signatures.get(id) === undefined)
    if (missing.length > 0) {
      const rows = this.#components.store.all(
        'SELECT id, signature FROM message_signature WHERE id IN (SELECT value FROM json_each(?))',
        [list(missing)]
      )
      for (const row of rows) signatures.set(number(row, 'id'), text(row, 'signature'))
    }
    const places = new Map(ids.map((id, index) => [id, index]))
    return {
      op: 'deliver',
      signatures: ids.map((id) => signatures.get(id) ?? ''),
      messages: batch.map(({ text: envelope, signature, after }) => ({
        envelope,
        sig: places.get(signature) ?? 0,
        after
      }))
    }
  }

  async #deliver(batch: readonly Sending[]): Promise<void> {
    try {
      const answer = await this.#components.deliver(this.#components.peer, this.#request(batch))
      this.problem = undefined
      void this.#settle(this.#judge(batch, answer))
    } catch (err) {
      this.#backOff(MeshError.from(err))
    }
    this.#inFlight -= 1
    this.#goOn()
  }

  /** The next batch needs not wait for it; only going back does, for it reads what is queued still. */
  async #settle(settlements: readonly Settlement[]): Promise<void> {
    this.#settling += 1
    try {
      await this.#components.settle(settlements)
      this.#attempt = 0
    } catch (err) {
      this.#backOff(MeshError.from(err))
    }
    this.#settling -= 1
    this.#goOn()
  }

  #goOn(): void {
    this.wake()
    if (this.isIdle && this.#isRewinding) this.#rewind()
  }

  /** What the answer says of each message; whatever isn't on the other disk stops the batch after it. */
  #judge(batch: readonly Sending[], { results, receipts }: DeliverAnswer): Settlement[] {
    if (results.length !== batch.length)
      throw new MeshError('INVALID_MESSAGE', 'the answer is not about these messages')
    const settlements = receipts === undefined ? [] : this.#receipts(receipts)
    const receipted = new Set(settlements.map(({ id }) => id))
    for (const [index, result] of results.entries()) {
      const queued = batch[index]
      if (queued === undefined) continue
      if (result.state === 'kept' && !receipted.has(queued.id))
        throw new MeshError('INVALID_MESSAGE', 'a message was taken without a receipt')
      const failed = this.#take(queued, result)
      if (failed !== undefined) settlements.push(failed)
    }
    // The oldest is sent first, so one that gets nowhere but gaps has met a receiver that errs: no reason to hurry
    if (results.every(({ state }) => state === 'gap'))
      throw new MeshError('BUSY', 'the other side waits for what it has')
    return settlements
  }

  #take({ id, pair }: Queued, { state, code, reason, retryAfterMs }: DeliverResult): Settlement | undefined {
    switch (state) {
      case 'kept':
        this.#blocks.delete(pair)
        return undefined
      case 'gap':
        this.#isRewinding = true
        return undefined
      case 'refused':
        return { id, peer: undefined, state: 'failed', at: this.#components.clock(), code, reason }
      case 'busy':
        this.#block(pair, retryAfterMs ?? BUSY_RETRY_MS)
        this.problem = new MeshError('BUSY', reason ?? 'the other side has no room')
        return undefined
      case 'pending':
        this.#block(pair, retryAfterMs ?? PENDING_RETRY_MS)
        return undefined
    }
  }

  #block(pair: number, retryMs: number): void {
    const attempt = this.#blocks.get(pair)?.attempt ?? 0
    const waitMs = Math.min(RETRY_MAX_MS, retryMs * 2 ** attempt) * (0.5 + this.#components.random() / 2)
    this.#blocks.set(pair, { until: this.#components.clock() + waitMs, attempt: attempt + 1 })
    this.#isRewinding = true
  }

  #receipts(signedText: string): Settlement[] {
    const { did, items } = verifyReceipts(signedText, this.#keyOf)
    if (did !== this.#components.did) throw new MeshError('INVALID_RECORD', 'receipts by another node')
    return items.map((item) => ({ ...item, peer: this.#components.peer }))
  }

  #backOff(problem: MeshError): void {
    const { clock, random } = this.#components
    this.problem = problem
    this.#isRewinding = true
    // Full jitter: peers that lost the same node don't come back to it together
    this.#dueAt = clock() + random() * Math.min(RETRY_MAX_MS, RETRY_MIN_MS * 2 ** this.#attempt)
    this.#attempt += 1
  }
}

/** What one is reckoned at; most are smaller. */
const SIGNATURE_BYTES = MAX_SIGNATURE_BYTES

/** What is kept in memory of what follows: the batches that may be under way, as one of each goes out. */
const MAX_FRESH = MAX_BATCHES_IN_FLIGHT * MAX_BATCH_MESSAGES
const MAX_FRESH_BYTES = MAX_BATCHES_IN_FLIGHT * MAX_BATCH_BYTES

function readQueued(row: Row): Queued {
  return {
    n: number(row, 'n'),
    id: text(row, 'id'),
    pair: number(row, 'pair'),
    seq: number(row, 'seq'),
    exp: number(row, 'exp'),
    signature: number(row, 'signature'),
    text: text(row, 'envelope')
  }
}
