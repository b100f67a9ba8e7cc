import { z } from 'zod'
import { MAX_BEST_PER_KEY, MAX_ENTRIES_PER_ANSWER, MAX_SAMPLED_PER_KEY } from '../network/holder-constants.ts'
import {
  MAX_ADDRESS_LENGTH,
  MAX_CLOSER_ADDRESSES,
  MAX_CLOSER_PEERS,
  MAX_DHT_HINT_BYTES,
  MAX_PROVIDER_ADDRESSES,
  MAX_PUT_HINTS,
  MAX_WITHDRAWN_KEYS
} from './hint-constants.ts'

/** base64url of a key's SHA-256 digest. */
const key = z.string().regex(/^[A-Za-z0-9_-]{43}$/)
/** base64url of a signed hint. */
const signedHint = z
  .string()
  .max(Math.ceil((MAX_DHT_HINT_BYTES * 4) / 3))
  .regex(/^[A-Za-z0-9_-]+$/)
const PEER_ID = /^12D3KooW[1-9A-HJ-NP-Za-km-z]{44}$/
const peerId = z.string().regex(PEER_ID)
/** A multiaddr without `/p2p/…`; of characters that JSON doesn't lengthen, so that no answer outgrows its frame. */
const ADDRESS = /^\/[!#-[\]-~]+$/
const address = z.string().max(MAX_ADDRESS_LENGTH).regex(ADDRESS)
const providerAddresses = z.array(address).max(MAX_PROVIDER_ADDRESSES)
const total = z.int().min(0)

/** The body of a `hints/1.0.0` request. */
export const hintsRequest = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('put'),
    hints: z.array(signedHint).min(1).max(MAX_PUT_HINTS),
    /** Where the provider listens. */
    addresses: providerAddresses.optional()
  }),
  z.object({
    op: z.literal('get'),
    key,
    /** Entries from this one on, in the order in which they came; without it some at random. */
    offset: z
      .int()
      .min(0)
      .max(MAX_SAMPLED_PER_KEY + MAX_BEST_PER_KEY)
      .optional(),
    /** Those that claim the highest versions, highest first. */
    best: z.literal(true).optional()
  }),
  z.object({
    op: z.literal('withdraw'),
    hints: z
      .array(z.object({ key, seq: z.int().min(0) }))
      .min(1)
      .max(MAX_WITHDRAWN_KEYS)
  })
])
export type HintsRequest = z.infer<typeof hintsRequest>

/** The answer to `put`: what became of each, in order. */
export const hintsPutAnswer = z.object({
  results: z
    .array(
      z.object({
        /** `kept`, `dropped` (the key has enough others), or why it was refused. */
        result: z.string().max(32),
        /** How many providers the key has, as the holder sees it. */
        total
      })
    )
    .max(MAX_PUT_HINTS)
})
export type HintsPutAnswer = z.infer<typeof hintsPutAnswer>

/** The answer to `get`. */
export const hintsGetAnswer = z.object({
  hints: z.array(signedHint).max(MAX_ENTRIES_PER_ANSWER),
  /** Providers that gave a provider record and no hint. */
  providers: z.array(peerId).max(MAX_ENTRIES_PER_ANSWER),
  /** Where the providers of the hints said that they listen, as far as the holder knows; by hearsay. */
  where: z
    .array(z.object({ id: peerId, addresses: providerAddresses }))
    .max(MAX_ENTRIES_PER_ANSWER)
    .optional(),
  total,
  /** Entries that the holder has, and `offset` goes over. */
  held: z
    .int()
    .min(0)
    .max(MAX_SAMPLED_PER_KEY + MAX_BEST_PER_KEY),
  /** Nodes that may be nearer to the key. */
  closer: z.array(z.object({ id: peerId, addresses: z.array(address).max(MAX_CLOSER_ADDRESSES) })).max(MAX_CLOSER_PEERS)
})
export type HintsGetAnswer = z.infer<typeof hintsGetAnswer>

/** Whether an answer may carry it. */
export const isAddress = (text: string): boolean => text.length <= MAX_ADDRESS_LENGTH && ADDRESS.test(text)
export const isPeerId = (text: string): boolean => PEER_ID.test(text)

/** The answer to `withdraw`. */
export const hintsWithdrawAnswer = z.object({
  /** How many were there to end. */
  withdrawn: z.int().min(0).max(MAX_WITHDRAWN_KEYS)
})
