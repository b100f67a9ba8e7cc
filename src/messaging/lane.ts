import { MeshError } from '../errors.ts'
import type { Row, Store } from '../store/index.ts'
import {
  BUSY_RETRY_MS,
  MAX_BATCH_BYTES,
  MAX_BATCH_MESSAGES,
  MAX_BATCHES_IN_FLIGHT,
  PENDING_RETRY_MS,
  RETRY_MAX_MS,
  RETRY_MIN_MS
} from './constants.ts'
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

/** A message as it is sent. */
interface Queued {
  readonly n: number
  readonly id: string
  readonly pair: number
  readonly seq: number
  readonly after: number
  readonly signature: number
  readonly envelope: string
}

interface Block {
  until: number
  attempt: number
}

/**
 * Brings what is queued for one peer there: in order, some batches at a time, again with backoff. Keeps no message in memory that
 * isn't on its way.
 */
export class Lane {
  readonly #components: LaneComponents
  /** Up to here it has been read. */
  #cursor = 0
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
    this.#last.clear()
    const again = this.#isRewinding
    this.#isRewinding = false
    if (again) this.wake()
  }

  #read(): Queued[] {
    const batch = this.#select(this.#cursor, this.#last)
    const last = batch.at(-1)
    if (last !== undefined) this.#cursor = last.n
    return batch
  }

  #select(cursor: number, last: Map<number, number>): Queued[] {
    const { peer, store, clock } = this.#components
    const blocked = [...this.#blocks].filter(([, { until }]) => until !== Number.POSITIVE_INFINITY)
    const rows = store.all(
      `SELECT n, id, pair, seq, signature, envelope FROM message_out
       WHERE peer = ? AND state = 'queued' AND n > ? AND pair NOT IN (SELECT value FROM json_each(?)) AND exp > ?
       ORDER BY n LIMIT ?`,
      [peer, cursor, list(blocked.map(([pair]) => pair)), clock(), MAX_BATCH_MESSAGES]
    )
    const batch: Queued[] = []
    const signatures = new Set<number>()
    let bytes = 0
    for (const row of rows) {
      const queued = readQueued(row, last)
      bytes += Buffer.byteLength(queued.envelope)
      if (!signatures.has(queued.signature)) bytes += SIGNATURE_BYTES
      if (batch.length > 0 && bytes > MAX_BATCH_BYTES) break
      signatures.add(queued.signature)
      last.set(queued.pair, queued.seq)
      batch.push(queued)
    }
    return batch
  }

  #request(batch: readonly Queued[]): DeliverRequest {
    const ids = [...new Set(batch.map(({ signature }) => signature))]
    const rows = this.#components.store.all(
      'SELECT id, jws FROM message_signature WHERE id IN (SELECT value FROM json_each(?))',
      [list(ids)]
    )
    const jws = new Map(rows.map((row) => [number(row, 'id'), text(row, 'jws')]))
    return {
      op: 'deliver',
      signatures: ids.map((id) => jws.get(id) ?? ''),
      messages: batch.map(({ envelope, signature, after }) => ({ envelope, sig: ids.indexOf(signature), after }))
    }
  }

  async #deliver(batch: readonly Queued[]): Promise<void> {
    try {
      const answer = await this.#components.deliver(this.#components.peer, this.#request(batch))
      this.problem = undefined
      void this.#settle(await this.#judge(batch, answer))
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
  async #judge(batch: readonly Queued[], { results, receipts }: DeliverAnswer): Promise<Settlement[]> {
    if (results.length !== batch.length)
      throw new MeshError('INVALID_MESSAGE', 'the answer is not about these messages')
    const settlements = receipts === undefined ? [] : await this.#receipts(receipts)
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

  async #receipts(jws: string): Promise<Settlement[]> {
    const { did, items } = await verifyReceipts(jws, this.#keyOf)
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
const SIGNATURE_BYTES = 4_400

function readQueued(row: Row, last: ReadonlyMap<number, number>): Queued {
  const pair = number(row, 'pair')
  return {
    n: number(row, 'n'),
    id: text(row, 'id'),
    pair,
    seq: number(row, 'seq'),
    after: last.get(pair) ?? 0,
    signature: number(row, 'signature'),
    envelope: text(row, 'envelope')
  }
}
