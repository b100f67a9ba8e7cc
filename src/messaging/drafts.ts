import ms, { type StringValue } from 'ms'
import { MeshError } from '../errors.ts'
import { agentId } from '../registry/messages.ts'
import { canonicalJson, readTraceparent } from '../wire/index.ts'
import {
  DEFAULT_EXPIRY_MS,
  MAX_BODY_BYTES,
  MAX_CORRELATION_LENGTH,
  MAX_EXPIRY_MS,
  MAX_HOPS,
  MIN_EXPIRY_MS
} from './constants.ts'
import type { MessageBudget, MessageInit } from './index.ts'
import type { Draft } from './journal.ts'
import { type Envelope, envelope, messageBudget } from './messages.ts'

export interface DraftInit {
  readonly id: string
  /** Agent id. */
  readonly from: string
  readonly now: number
  /** `traceparent` where the message has none. */
  readonly trace?: string | undefined
}

/**
 * Makes an envelope of what is to be sent.
 *
 * @throws {MeshError} INVALID_ARGUMENT, TOO_LARGE
 */
export function draftOf(message: MessageInit, { id, from, now, trace: inherited }: DraftInit): Draft {
  const { to, body, blob, type = 'application/json', correlationId, expectsReply = false, replyTo, budget } = message
  if (!agentId.safeParse(to).success) throw invalid('to', `${JSON.stringify(String(to).slice(0, 80))} is no agent id`)
  if (replyTo !== undefined && !agentId.safeParse(replyTo).success) throw invalid('replyTo', 'it is no agent id')
  if (correlationId !== undefined && !isText(correlationId, MAX_CORRELATION_LENGTH))
    throw invalid('correlationId', `it must have 1 to ${MAX_CORRELATION_LENGTH} characters`)
  if (!isText(type, 128)) throw invalid('type', 'it must have 1 to 128 characters')
  if (blob !== undefined && (body !== undefined || !envelope.shape.blob.safeParse(blob).success))
    throw invalid('blob', 'it must have sha256 in hex and size, and stands in place of a body')
  return {
    peer: to.slice(0, to.indexOf('/')),
    ...(blob === undefined ? { body: bodyJson(body) } : {}),
    envelope: {
      v: 1,
      id,
      from,
      to,
      kind: expectsReply ? 'request' : 'message',
      ...(correlationId === undefined ? {} : { corr: correlationId }),
      ...(replyTo === undefined ? {} : { replyTo }),
      sent: now,
      exp: now + expiry(message),
      type,
      ...(blob === undefined ? {} : { blob }),
      ...traceOf(message.trace ?? inherited),
      budget: { hops: MAX_HOPS, ...(budget !== undefined && checked(budget)) }
    }
  }
}

/** The answer to a message: it carries what budget that has left, and the last hop may be answered too. */
export function replyDraft(
  message: Envelope,
  reply: { readonly outcome: 'result' | 'error'; readonly body: unknown; readonly type?: string | undefined },
  { id, now }: Pick<DraftInit, 'id' | 'now'>
): Draft {
  if (message.kind === 'reply') throw new MeshError('INVALID_ARGUMENT', 'a reply is not replied to')
  const to = message.replyTo ?? message.from
  return {
    peer: to.slice(0, to.indexOf('/')),
    body: bodyJson(reply.body),
    envelope: {
      v: 1,
      id,
      from: message.to,
      to,
      kind: 'reply',
      corr: message.id,
      sent: now,
      exp: now + DEFAULT_EXPIRY_MS,
      type: reply.type ?? 'application/json',
      outcome: reply.outcome,
      ...traceOf(message.trace),
      budget: { ...message.budget, hops: Math.max(0, message.budget.hops - 1) }
    }
  }
}

function checked(budget: MessageBudget): Partial<Envelope['budget']> {
  const { success, data } = messageBudget.safeParse(budget)
  if (success) return data
  throw invalid('budget', `it has hops, 0 to ${MAX_HOPS}, calls and cost, which are whole numbers from 0`)
}

/** Sizes are those of its canonical JSON. */
function bodyJson(body: unknown): string {
  if (JSON_LESS.has(typeof body)) throw invalid('body', 'it has no JSON form')
  const json = canonicalJson(body)
  if (json.length > MAX_BODY_BYTES || Buffer.byteLength(json) > MAX_BODY_BYTES)
    throw new MeshError('TOO_LARGE', `the body is over the limit of ${MAX_BODY_BYTES} bytes`, {
      hint: 'keep it as content, and send a reference to it'
    })
  return json
}

const JSON_LESS: ReadonlySet<string> = new Set(['undefined', 'function', 'symbol'])

/** Half a surrogate pair has no JSON that all read alike. */
function isText(text: string, maxLength: number): boolean {
  return text !== '' && text.length <= maxLength && text.isWellFormed()
}

function expiry({ expiresIn = DEFAULT_EXPIRY_MS }: MessageInit): number {
  const expiryMs = typeof expiresIn === 'string' ? durationOf(expiresIn) : expiresIn
  if (Number.isInteger(expiryMs) && expiryMs >= MIN_EXPIRY_MS && expiryMs <= MAX_EXPIRY_MS) return expiryMs
  throw invalid('expiresIn', `it must be 1s to 30d: ${MIN_EXPIRY_MS} to ${MAX_EXPIRY_MS} ms, or text such as 10m`)
}

/** The parser takes 1 to 100 characters, and isn't a number for what is no duration. */
function durationOf(text: string): number {
  return /\d/.test(text) && text.length <= 100 ? Math.ceil(ms(text as StringValue)) : Number.NaN
}

function traceOf(trace: string | undefined): Pick<Envelope, 'trace'> {
  if (trace === undefined) return {}
  if (readTraceparent(trace) === undefined) throw invalid('trace', 'it is no traceparent')
  return { trace }
}

function invalid(what: string, why: string): MeshError {
  return new MeshError('INVALID_ARGUMENT', `${what} of a message: ${why}`)
}
