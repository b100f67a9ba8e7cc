import { z } from 'zod'
import { helloMessage } from '../auth/messages.ts'
import { MAX_ADDRESS_LENGTH, MAX_INVITE_ADDRESSES, MAX_STATEMENT_BYTES } from './constants.ts'

/** Base64url of 8, 16 and 32 bytes. */
const inviteId = z.string().regex(/^[\w-]{11}$/)
const bytes16 = z.string().regex(/^[\w-]{22}$/)
const bytes32 = z.string().regex(/^[\w-]{43}$/)
const peerId = z.string().regex(/^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/)
const level = z.enum(['known', 'trusted', 'owner'])
const seconds = z.number().int().min(0).max(253_402_300_799)

/** What a token holds. */
export const inviteBody = z.object({
  v: z.literal(1),
  /** The inviter. */
  peer: peerId,
  /** Multiaddrs of the inviter without `/p2p/…`. */
  addresses: z
    .array(
      z
        .string()
        .regex(/^\/\S+$/)
        .max(MAX_ADDRESS_LENGTH)
    )
    .max(MAX_INVITE_ADDRESSES),
  id: inviteId,
  secret: bytes16,
  /** Unix time; for people: the inviter's own clock decides. */
  exp: seconds,
  level
})
export type InviteBody = z.infer<typeof inviteBody>

/** Request of `pair/1.0.0`. */
export const redeemRequest = z.object({
  op: z.literal('redeem'),
  invite: inviteId,
  nonce: bytes16,
  /** HMAC-SHA-256 by the invite's secret. */
  mac: bytes32,
  /** What the invitee calls itself. */
  name: helloMessage.shape.name
})
export type RedeemRequest = z.infer<typeof redeemRequest>

/** What the inviter says of a pair. */
const redeemTerms = z.object({
  /** What the invitee is at the inviter's now. */
  level,
  /** What the inviter calls itself. */
  name: helloMessage.shape.name,
  /** The inviter's clock; keys of the pair are counted from here. */
  pairedAt: z.iso.datetime({ precision: 3 }),
  /** With `level: owner`: the inviter's statement that the invitee is its owner's node. */
  statement: z.string().max(MAX_STATEMENT_BYTES).optional()
})
export type RedeemTerms = z.infer<typeof redeemTerms>

/** Its answer; `mac` is over the other members. */
export const redeemAnswer = redeemTerms.extend({ mac: bytes32 })

/** Payload of a `mesh-owner+jws`. */
export const ownerStatement = z.object({
  v: z.literal(1),
  /** did:key of the owner, who signs. */
  iss: z.string().max(64),
  /** did:key of the node that is the owner's. */
  sub: z.string().max(64),
  /** Unix time. */
  iat: seconds,
  exp: seconds
})

/** What a peer presents in a hello. */
export const secretProof = z.object({
  method: z.literal('shared-secret'),
  /** `<invite id>.<n>` */
  keyId: z.string().regex(/^[\w-]{11}\.(0|[1-9]\d{0,5})$/),
  time: z.iso.datetime({ precision: 3 }),
  nonce: bytes16,
  mac: bytes32
})
export type SecretProof = z.infer<typeof secretProof>

/** What a peer presents in a hello. */
export const ownerProof = z.object({ method: z.literal('owner'), jws: z.string().max(MAX_STATEMENT_BYTES) })
