import type { BlobRef, Blobs } from '../blobs/index.ts'
import { abortError, type ErrorCode, MeshError } from '../errors.ts'
import type { Store } from '../store/index.ts'
import { HANDLER_RETRY_MAX_MS } from './constants.ts'
import type { MessageInit } from './index.ts'
import type { Draft } from './journal.ts'
import type { Envelope } from './messages.ts'
import { isEnd } from './rows.ts'
import type { Settled } from './settling.ts'

/** Where large bodies lie. */
export type Content = Pick<Blobs, 'put' | 'has' | 'hold' | 'release' | 'purposes' | 'fetch'>

/** What content is held for. */
const PURPOSE = 'message:'

/**
 * What messages of this node refer to: kept, and open to the recipient's node, until the message has come to its end. Content that
 * was put only to be sent goes then.
 */
export class References {
  readonly #content: Content | undefined
  readonly #self: string
  readonly #log: (text: string) => void
  /** Ids of messages with content. */
  readonly #held: Set<string>

  /** What is held for messages that have come to their end meanwhile, or were never written, is let go. */
  constructor({ blobs, store, log }: { blobs?: Content; store: Store; log: (text: string) => void }, self: string) {
    this.#content = blobs
    this.#self = self
    this.#log = log
    const held = (blobs?.purposes() ?? []).filter((purpose) => purpose.startsWith(PURPOSE))
    this.#held = new Set(held.map((purpose) => purpose.slice(PURPOSE.length)))
    this.ended([...this.#held].filter((id) => !isOpen(store, id)))
  }

  /** Makes a draft of a message; its body goes by reference if it is bytes, too large, or lies with the node already. @throws {MeshError} */
  async drafted(
    message: MessageInit,
    id: string,
    make: (message: MessageInit) => Draft,
    signal?: AbortSignal
  ): Promise<Draft> {
    if (message.blob === undefined && !(message.body instanceof Uint8Array)) {
      try {
        return make(message)
      } catch (err) {
        if (MeshError.from(err).code !== 'TOO_LARGE' || this.#content === undefined) throw err
      }
    }
    try {
      return make(await this.#byReference(message, id, signal))
    } catch (err) {
      this.ended([id])
      throw err
    }
  }

  /** Lets go of what these messages refer to. */
  ended(ids: readonly string[]): void {
    const held = ids.filter((id) => this.#held.delete(id))
    if (held.length === 0) return
    // The next start lets go of what stays held
    this.#content
      ?.release(held.map((id) => PURPOSE + id))
      .catch((err: unknown) => this.#log(`messages: ${String(err)}`))
  }

  settled(settled: readonly Settled[]): void {
    if (this.#held.size > 0) this.ended(settled.flatMap(({ id, state }) => (isEnd(state) ? [id] : [])))
  }

  /**
   * Puts a body where the recipient can fetch it.
   *
   * @returns the message with a reference in place of the body
   * @throws {MeshError} INVALID_ARGUMENT, TOO_LARGE, LIMIT_EXCEEDED, IO, NOT_FOUND when the node doesn't have what is referred to
   */
  async #byReference(message: MessageInit, id: string, signal: AbortSignal | undefined): Promise<MessageInit> {
    const { body, ...rest } = message
    if (message.blob !== undefined && body !== undefined)
      throw new MeshError('INVALID_ARGUMENT', 'blob of a message: it stands in place of a body')
    if (this.#content === undefined)
      throw new MeshError('TOO_LARGE', 'this node keeps no content that a message could refer to')
    const isBytes = body instanceof Uint8Array
    const isOctets = isBytes || message.blob !== undefined
    const bytes = isBytes ? body : Buffer.from(JSON.stringify(body) ?? '')
    const blob = await this.#kept(this.#content, message.blob ?? bytes, message.to, { id, signal })
    const type = message.type ?? (isOctets ? 'application/octet-stream' : 'application/json')
    return { ...rest, blob: { sha256: blob.sha256, size: blob.size }, type }
  }

  async #kept(
    content: Content,
    source: BlobRef | Uint8Array,
    to: string,
    { id, signal }: { readonly id: string; readonly signal: AbortSignal | undefined }
  ): Promise<BlobRef> {
    const peer = to.slice(0, to.indexOf('/'))
    const isOwn = peer === this.#self
    const hold = { purpose: PURPOSE + id, ...(!isOwn && { reader: peer }) }
    this.#held.add(id)
    const options = signal === undefined ? {} : { signal }
    // What this node sends to itself has no other copy, so it stays
    if (source instanceof Uint8Array) return content.put(source, isOwn ? options : { ...options, hold })
    if (!content.has(source.sha256))
      throw new MeshError('NOT_FOUND', `this node does not have the content ${source.sha256.slice(0, 64)}`)
    await content.hold(source.sha256, hold)
    return source
  }
}

function isOpen(store: Store, id: string): boolean {
  const sql = `SELECT 1 FROM message_out WHERE id = ? AND state IN ('queued', 'accepted', 'delivered')`
  return store.get(sql, [id]) !== undefined
}

/** Why content is not here yet. */
export interface Missing {
  readonly code: ErrorCode
  readonly reason: string
  /** Its node isn't there now, or busy: not the message's fault. */
  readonly isPassing: boolean
}

const PASSING = new Set(['UNREACHABLE', 'CONNECTION_LOST', 'TIMEOUT', 'BUSY', 'CANCELLED'])
/** Timers hold no more. */
const MAX_TIMER_MS = 2 ** 31 - 1

/** Fetches what a message refers to, going on with what came before; undefined when it is here. Never rejects. */
export async function fetched(
  { blob, from, exp }: Envelope,
  content: Content | undefined,
  { self, now, signal }: { readonly self: string; readonly now: number; readonly signal: AbortSignal }
): Promise<Missing | undefined> {
  if (blob === undefined) return undefined
  const peer = from.slice(0, from.indexOf('/'))
  const timer = AbortSignal.timeout(Math.min(MAX_TIMER_MS, Math.max(0, exp - now)))
  try {
    if (signal.aborted) throw abortError(signal)
    if (content === undefined) throw new MeshError('TOO_LARGE', 'this node fetches no content')
    if (peer === self || content.has(blob.sha256)) return undefined
    const { size } = await content.fetch(peer, blob.sha256, { signal: AbortSignal.any([signal, timer]) })
    if (size === blob.size) return undefined
    throw new MeshError('INVALID_MESSAGE', `the content has ${size} bytes, not the ${blob.size} of the message`)
  } catch (err) {
    const { code, message } = MeshError.from(err)
    return { code, reason: message, isPassing: PASSING.has(code) }
  }
}

/** When what could not be fetched is asked for again. */
export const fetchAgainAt = (now: number, random: () => number): number => now + random() * HANDLER_RETRY_MAX_MS
