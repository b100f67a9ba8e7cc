import type { ZodType } from 'zod'
import { MeshError } from '../errors.ts'
import { MAX_PEER_RECORDS } from '../registry/constants.ts'
import { readRecord } from '../registry/index.ts'
import type { Query, SignedRecord } from '../registry/messages.ts'
import type { Rpc } from '../rpc/index.ts'
import { parseJson } from '../wire/index.ts'
import { createBudget } from './budget.ts'
import { peerOf, type RecordCache } from './cache.ts'
import { PUSH_BURST, PUSH_INTERVAL_MS, WATCH_REQUEST_MS } from './constants.ts'
import type { FindSource } from './index.ts'
import { type Hint, hintsAnswer, queryAnswer, watchItem } from './messages.ts'
import { recordsProtocol } from './records.ts'
import type { Refusal, Refusals } from './refusals.ts'

/** Asks owners for their records, and lets into the cache what holds. */
export interface Puller {
  /**
   * Takes over the records that match, page by page.
   *
   * @throws {MeshError} whatever the request fails with, TIMEOUT after `timeoutMs` for all pages together
   */
  pull(peer: string, query: Query, options: PullOptions): Promise<void>
  /** Takes over what matches and what changes, until the signal or the peer ends it. @throws {MeshError} as {@link pull} */
  follow(peer: string, query: Query, options: { signal: AbortSignal }): Promise<void>
  /** What the peer knows of others. @throws {MeshError} as {@link pull} */
  hints(peer: string, options: { signal: AbortSignal; limit: number }): Promise<readonly Hint[]>
}

interface PullOptions {
  readonly signal: AbortSignal
  readonly timeoutMs: number
  readonly source: FindSource
  /** Called with each verified record that came, new or not. */
  readonly onRecord?: ((signed: SignedRecord) => void) | undefined
  /** Called with why a record was not taken. */
  readonly onRefusal?: ((reason: Refusal) => void) | undefined
}

interface Known {
  /** The peer's records that are here, by their text. */
  readonly known: ReadonlyMap<string, SignedRecord> | undefined
}

export interface PullerComponents {
  readonly rpc: Rpc
  readonly cache: RecordCache
  readonly refusals: Refusals
  readonly now: () => number
}

export function createPuller(components: PullerComponents): Puller {
  return new RecordsPuller(components)
}

class RecordsPuller implements Puller {
  readonly #components: PullerComponents

  constructor(components: PullerComponents) {
    this.#components = components
  }

  async pull(peer: string, query: Query, options: PullOptions): Promise<void> {
    const endsAt = performance.now() + options.timeoutMs
    let cursor = ''
    for (let count = 0; ; ) {
      const timeoutMs = Math.ceil(endsAt - performance.now())
      if (timeoutMs <= 0) throw new MeshError('TIMEOUT', 'the peer did not send its records in time')
      const body = { op: 'query', query, ...(cursor !== '' && { cursor }) }
      const { signal } = options
      const answer = await this.#blaming(peer, queryAnswer, () =>
        this.#components.rpc.request(peer, recordsProtocol, body, { signal, timeoutMs })
      )
      count += answer.records.length
      if (count > MAX_PEER_RECORDS) throw this.#refused(peer, 'too-many')
      const known = this.#knownOf(peer)
      for (const jws of answer.records) await this.#take(peer, jws, { ...options, known })
      if (!answer.more) return
      // Names only go up, and each page has one at least: so pages come to an end.
      if (answer.cursor === undefined || answer.cursor <= cursor || answer.records.length === 0) {
        throw this.#refused(peer, 'malformed')
      }
      cursor = answer.cursor
    }
  }

  async follow(peer: string, query: Query, { signal }: { signal: AbortSignal }): Promise<void> {
    const { cache, now, rpc } = this.#components
    const budget = createBudget({ burst: PUSH_BURST, intervalMs: PUSH_INTERVAL_MS, now })
    const body = { op: 'watch', query }
    for await (const sent of rpc.stream(peer, recordsProtocol, body, { signal, timeoutMs: WATCH_REQUEST_MS })) {
      const item = await this.#blaming(peer, watchItem, () => Promise.resolve(sent))
      if ('withdrawn' in item) {
        if (!budget.take(peer)) throw this.#refused(peer, 'over-budget')
        if (peerOf(item.withdrawn) === peer) cache.withdraw(item.withdrawn, item.seq)
        else this.#refused(peer, 'wrong-owner')
        continue
      }
      // One change is news; of whole pages most may be known
      const known = 'changed' in item ? undefined : this.#knownOf(peer)
      for (const jws of 'changed' in item ? [item.changed] : item.records) {
        if (!budget.take(peer)) throw this.#refused(peer, 'over-budget')
        await this.#take(peer, jws, { source: 'peer', known })
      }
    }
  }

  async hints(peer: string, { signal, limit }: { signal: AbortSignal; limit: number }): Promise<readonly Hint[]> {
    const answer = await this.#blaming(peer, hintsAnswer, () =>
      this.#components.rpc.request(peer, recordsProtocol, { op: 'hints', limit }, { signal })
    )
    return answer.hints.slice(0, limit)
  }

  #knownOf(peer: string): Known['known'] {
    return new Map(this.#components.cache.ofPeer(peer).map((signed) => [signed.jws, signed]))
  }

  /** The one way into the cache. */
  async #take(
    peer: string,
    jws: string,
    options: Pick<PullOptions, 'source' | 'onRecord' | 'onRefusal'> & Partial<Known>
  ): Promise<void> {
    const { cache, now, refusals } = this.#components
    let taken: SignedRecord | Refusal
    try {
      // Reading a large record takes milliseconds; the same one again has been read.
      const known = options.known?.get(jws)
      taken = cache.accept(peer, known ?? (await readRecord(jws, { now: now() })), options.source)
    } catch (err) {
      taken = reasonOf(err, jws, now())
    }
    if (typeof taken !== 'string') return options.onRecord?.(taken)
    refusals.add(peer, taken)
    options.onRefusal?.(taken)
  }

  /** Parses an answer; one that the wire or its schema refuses counts against the peer. */
  async #blaming<T>(peer: string, schema: ZodType<T>, ask: () => Promise<unknown>): Promise<T> {
    let answer: unknown
    try {
      answer = await ask()
    } catch (err) {
      if (MeshError.from(err).code === 'TOO_LARGE') this.#refused(peer, 'oversize')
      throw err
    }
    const { success, data, error } = schema.safeParse(answer)
    if (success) return data
    throw this.#refused(peer, error.issues.some(({ code }) => code === 'too_big') ? 'oversize' : 'malformed')
  }

  #refused(peer: string, reason: Refusal): MeshError {
    this.#components.refusals.add(peer, reason)
    return new MeshError('INVALID_RECORD', `what the peer sent was refused: ${reason}`)
  }
}

/** Sorts what readRecord refused; it gives the reason in words only. */
function reasonOf(err: unknown, jws: string, now: number): Refusal {
  const { cause } = MeshError.from(err)
  const code = cause instanceof MeshError ? cause.code : 'INVALID_MESSAGE'
  if (code === 'TOO_LARGE') return 'oversize'
  if (code !== 'INVALID_RECORD') return 'malformed'
  return isExpired(jws, now) ? 'expired' : 'forged'
}

function isExpired(jws: string, now: number): boolean {
  try {
    const payload = parseJson(Buffer.from(jws.split('.')[1] ?? '', 'base64url'))
    const { expiresAt } = payload as { expiresAt?: unknown }
    return typeof expiresAt === 'string' && Date.parse(expiresAt) <= now
  } catch {
    return false
  }
}
