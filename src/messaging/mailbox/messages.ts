import { z } from 'zod'
import {
  MAX_ADDRESS_LENGTH,
  MAX_COLLECT_ITEMS,
  MAX_MAILBOX_ADDRESSES,
  MAX_MAILBOXES,
  MAX_SEALED_BYTES,
  MAX_STATEMENT_BYTES
} from './constants.ts'

export const peerId = z.string().regex(/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/)
const statementJws = z.string().max(MAX_STATEMENT_BYTES)
/** Compact JWE. */
const sealed = z
  .string()
  .max(MAX_SEALED_BYTES)
  .regex(/^[\w-]+\.[\w-]+\.[\w-]+\.[\w-]+\.[\w-]+$/)
const position = z.int().min(0)

/** Public X25519 key, RFC 8037. */
export const sealingKey = z.object({
  kty: z.literal('OKP'),
  crv: z.literal('X25519'),
  x: z.string().regex(/^[\w-]{43}$/)
})
export type SealingKey = z.infer<typeof sealingKey>

/** Payload of a `mesh-mailboxes+jws`: who keeps what is sent to a node while it is away. */
export const mailboxStatement = z.object({
  v: z.literal(1),
  /** did:key of the node whose mailboxes they are. */
  iss: z.string().max(128),
  /** What is deposited is encrypted to it. */
  key: sealingKey,
  /** None: there are no more. */
  mailboxes: z
    .array(
      z.object({
        peer: peerId,
        /** Multiaddrs without `/p2p`: hints. */
        addresses: z.array(z.string().max(MAX_ADDRESS_LENGTH)).max(MAX_MAILBOX_ADDRESSES)
      })
    )
    .max(MAX_MAILBOXES),
  /** Milliseconds since 1970; the higher one holds. */
  seq: z.int().min(1),
  /** Milliseconds since 1970. */
  exp: z.int().min(0)
})
export type MailboxStatement = z.infer<typeof mailboxStatement>

/** Request of `mailbox/1.0.0`. */
export const mailboxRequest = z.discriminatedUnion('op', [
  /** The statement of whoever is asked, or of a node that it keeps a mailbox for. */
  z.object({ op: z.literal('statement'), of: peerId.optional() }),
  /** By a recipient: this mailbox is named in its statement, or is not any more. */
  z.object({ op: z.literal('register'), jws: statementJws }),
  z.object({
    op: z.literal('deposit'),
    to: peerId,
    /** Milliseconds since 1970; a mailbox may forget it sooner. */
    exp: z.int().min(0),
    sealed
  }),
  /** By a recipient: what is kept for it, after this position. */
  z.object({ op: z.literal('collect'), after: position }),
  /** By a recipient: these are not needed any more. */
  z.object({ op: z.literal('collected'), ids: z.array(position).max(MAX_COLLECT_ITEMS) }),
  /** By a mailbox: there is something to collect. */
  z.object({ op: z.literal('waiting') })
])
export type MailboxRequest = z.infer<typeof mailboxRequest>

export const statementAnswer = z.object({ jws: statementJws.optional() })
export const registerAnswer = z.object({
  /** What it keeps for the recipient. */
  maxBytes: z.int().min(0)
})
export const collectAnswer = z.object({
  /** Oldest first; none: that is all. */
  items: z.array(z.object({ id: position, sealed })).max(MAX_COLLECT_ITEMS)
})
export type CollectAnswer = z.infer<typeof collectAnswer>
