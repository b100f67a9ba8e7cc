import type { Blobs } from '../blobs/index.ts'
import { abortError, MeshError } from '../errors.ts'
import { HANDLER_RETRY_MAX_MS } from './constants.ts'
import type { MessageInit } from './index.ts'
import type { Draft } from './journal.ts'
import type { Envelope } from './messages.ts'

/** Where large bodies lie. */
export type Content = Pick<Blobs, 'put' | 'has' | 'allow' | 'fetch'>

interface Referring {
  readonly self: string
  readonly signal?: AbortSignal | undefined
}

/** Makes a draft of a message; its body goes by reference if it is bytes, too large, or lies with the node already. @throws {MeshError} */
export async function drafted(
  message: MessageInit,
  make: (message: MessageInit) => Draft,
  content: Content | undefined,
  referring: Referring
): Promise<Draft> {
  const isReferenced = message.blob !== undefined || message.body instanceof Uint8Array
  if (isReferenced) return make(await byReference(message, content, referring))
  try {
    return make(message)
  } catch (err) {
    if (MeshError.from(err).code !== 'TOO_LARGE' || content === undefined) throw err
    return make(await byReference(message, content, referring))
  }
}

/**
 * Puts a body where the recipient can fetch it.
 *
 * @returns the message with a reference in place of the body
 * @throws {MeshError} INVALID_ARGUMENT, TOO_LARGE, LIMIT_EXCEEDED, IO, NOT_FOUND when the node doesn't have what is referred to
 */
async function byReference(
  message: MessageInit,
  content: Content | undefined,
  { self, signal }: Referring
): Promise<MessageInit> {
  const { body, ...rest } = message
  if (message.blob !== undefined && body !== undefined)
    throw new MeshError('INVALID_ARGUMENT', 'blob of a message: it stands in place of a body')
  if (content === undefined)
    throw new MeshError('TOO_LARGE', 'this node keeps no content that a message could refer to')
  const isBytes = body instanceof Uint8Array
  const bytes = isBytes ? body : Buffer.from(JSON.stringify(body) ?? '')
  const blob = message.blob ?? (await content.put(bytes, signal && { signal }))
  if (!content.has(blob.sha256))
    throw new MeshError('NOT_FOUND', `this node does not have the content ${blob.sha256.slice(0, 64)}`)
  const peer = message.to.slice(0, message.to.indexOf('/'))
  if (peer !== self) await content.allow(blob.sha256, peer)
  const type = message.type ?? (isBytes || message.blob !== undefined ? 'application/octet-stream' : 'application/json')
  return { ...rest, blob: { sha256: blob.sha256, size: blob.size }, type }
}

/** Why content is not here yet. */
export interface Missing {
  readonly code: string
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
