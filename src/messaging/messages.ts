import { z } from 'zod'
import { agentId } from '../registry/messages.ts'
import { TRACEPARENT } from '../wire/index.ts'
import {
  MAX_BATCH_MESSAGES,
  MAX_CORRELATION_LENGTH,
  MAX_ENVELOPE_BYTES,
  MAX_HOPS,
  MAX_REASON_LENGTH,
  MAX_RECEIPTS,
  MAX_RECEIPTS_BYTES,
  MAX_SIGNATURE_BYTES
} from './constants.ts'

/** Base 32 of Crockford; the first digit holds three bits. */
const messageId = z.string().regex(/^[0-7][0-9A-HJKMNP-TV-Z]{25}$/)
const count = z.int().min(0)
const time = z.int().min(0)
/** As protocols/blob has it. */
const contentDigest = z.string().regex(/^[0-9a-f]{64}$/)
const code = z.string().regex(/^[A-Z][A-Z0-9_]{0,63}$/)
const reason = z.string().max(MAX_REASON_LENGTH)

const budget = z.object({
  /** How often what comes of it may still be passed on. */
  hops: z.int().min(0).max(MAX_HOPS),
  /** How many messages may still come of it; none: any number. */
  calls: count.optional(),
  /** What may still be spent for it, in units of the application's. */
  cost: count.optional()
})

/** What a sender says of it. */
export const messageBudget = z.strictObject({
  hops: budget.shape.hops.exactOptional(),
  calls: count.exactOptional(),
  cost: count.exactOptional()
})

/** A message; its canonical JSON is what is signed and kept. */
export const envelope = z.object({
  v: z.literal(1),
  /** ULID. */
  id: messageId,
  from: agentId,
  to: agentId,
  kind: z.enum(['message', 'request', 'reply']),
  /** Of a reply: the id of what it answers; else the application's own. */
  corr: z.string().min(1).max(MAX_CORRELATION_LENGTH).optional(),
  replyTo: agentId.optional(),
  /** Rises within (from, to). */
  seq: z.int().min(1),
  /** Milliseconds since 1970. */
  sent: time,
  exp: time,
  /** Content type of the body. */
  type: z.string().min(1).max(128),
  body: z.unknown().optional(),
  /** In place of a body. */
  blob: z.object({ sha256: contentDigest, size: count }).optional(),
  /** Of a reply. */
  outcome: z.enum(['result', 'error', 'expired']).optional(),
  trace: z.string().regex(TRACEPARENT).optional(),
  budget
})
export type Envelope = z.infer<typeof envelope>

const deliverRequest = z.object({
  op: z.literal('deliver'),
  signatures: z.array(z.string().max(MAX_SIGNATURE_BYTES)).min(1).max(MAX_BATCH_MESSAGES),
  messages: z
    .array(
      z.object({
        /** The text of an envelope, as it was signed. */
        envelope: z.string().max(MAX_ENVELOPE_BYTES),
        /** Index of its signature. */
        sig: count,
        /** seq of the message before it in the pair that has no receipt yet, else 0. */
        after: count
      })
    )
    .min(1)
    .max(MAX_BATCH_MESSAGES)
})
export type DeliverRequest = z.infer<typeof deliverRequest>

const receiptsRequest = z.object({
  op: z.literal('receipts'),
  receipts: z.string().max(MAX_RECEIPTS_BYTES)
})

/** Request of `message/1.0.0`. */
export const messageRequest = z.discriminatedUnion('op', [deliverRequest, receiptsRequest])

const deliverResult = z.object({
  /**
   * `kept`: a receipt says how it stands. `gap`: one before it hasn't come. `busy`, `pending`: the same again later.
   * `refused`: for good.
   */
  state: z.enum(['kept', 'gap', 'busy', 'pending', 'refused']),
  code: code.optional(),
  reason: reason.optional(),
  retryAfterMs: count.optional()
})
export type DeliverResult = z.infer<typeof deliverResult>

/** Answer to `deliver`: a result for each message, in their order. */
export const deliverAnswer = z.object({
  results: z.array(deliverResult).max(MAX_BATCH_MESSAGES),
  /** Receipts of those that are `kept`. */
  receipts: z.string().max(MAX_RECEIPTS_BYTES).optional()
})
export type DeliverAnswer = z.infer<typeof deliverAnswer>

const receipt = z.object({
  id: messageId,
  state: z.enum(['accepted', 'delivered', 'processed', 'failed', 'expired']),
  /** Milliseconds since 1970. */
  at: time,
  code: code.optional(),
  reason: reason.optional()
})
export type Receipt = z.infer<typeof receipt>

/** What is signed of receipts, as JSON. */
export const receipts = z.array(receipt).min(1).max(MAX_RECEIPTS)
