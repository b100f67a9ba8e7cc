import { z } from 'zod'
import { MAX_RECORD_BYTES } from '../registry/constants.ts'
import { agentId, agentName, capabilityName, query } from '../registry/messages.ts'
import { MAX_HINT_ADDRESS_LENGTH, MAX_HINT_ADDRESSES, MAX_PAGE_RECORDS, MAX_SNAPSHOT_HINTS } from './constants.ts'

/** A signed record as compact JWS. */
const signedRecord = z.string().max(MAX_RECORD_BYTES)
const page = z.array(signedRecord).max(MAX_PAGE_RECORDS)

/** The body of a `records/1.0.0` request. */
export const recordsRequest = z.discriminatedUnion('op', [
  z.object({
    op: z.literal('query'),
    query,
    /** Records in the answer; default and most 64. */
    limit: z.int().min(1).max(MAX_PAGE_RECORDS).optional(),
    /** From the answer before; the records after it, in the order of their agents' names. */
    cursor: agentName.optional()
  }),
  z.object({ op: z.literal('watch'), query }),
  z.object({
    op: z.literal('hints'),
    /** Hints in the answer; default and most 1,000. */
    limit: z.int().min(1).max(MAX_SNAPSHOT_HINTS).optional()
  }),
  z.object({ op: z.literal('changed') })
])

/** The answer to `query`. */
export const queryAnswer = z.object({
  records: page,
  /** Whether there are records after `cursor`. */
  more: z.boolean(),
  /** The last agent's name in `records`; there when `more` is true. */
  cursor: agentName.optional()
})
export type QueryAnswer = z.infer<typeof queryAnswer>

/** One item of the answer to `watch`: pages of what matches now, until `more` is false, then changes. */
export const watchItem = z.union([
  z.object({ records: page, more: z.boolean() }),
  z.object({ changed: signedRecord }),
  /** The agent is not offered any more, does not match any more, or may not be seen any more. */
  z.object({ withdrawn: agentId, seq: z.int().min(1) })
])
export type WatchItem = z.infer<typeof watchItem>

const hintFields = {
  /** Of the agent's record. */
  seq: z.int().min(1),
  /** When the record expires, Unix time in seconds. */
  exp: z.int().min(0),
  /** base64url SHA-256 of the record's compact JWS. */
  digest: z.string().regex(/^[A-Za-z0-9_-]{43}$/),
  /** Names of the capabilities by `<kind>@<version>`. */
  caps: z.record(z.string().regex(/^(?:tool|skill|model)@[0-9A-Za-z.+-]{5,64}$/), z.array(capabilityName)),
  /** The agent has capabilities that did not fit. */
  more: z.literal(true).optional(),
  /** Multiaddrs of the agent's node, without `/p2p/…`. */
  addrs: z.array(z.string().max(MAX_HINT_ADDRESS_LENGTH)).max(MAX_HINT_ADDRESSES).optional()
}

/** A gossiped hint that its author has a record: on the catalogue topic and the topics of its capabilities. */
const announce = z.object({ v: z.literal(1), t: z.literal('announce'), agent: agentName, ...hintFields })
export type Announce = z.infer<typeof announce>

/** Its author does not offer the agent any more. */
const withdraw = z.object({ v: z.literal(1), t: z.literal('withdraw'), agent: agentName, seq: z.int().min(1) })
export type Withdraw = z.infer<typeof withdraw>

/** What travels on the topics. The author is who signed the gossip message; the agent's id is `<author>/<agent>`. */
export const topicMessage = z.discriminatedUnion('t', [announce, withdraw])

/** A hint as one node tells it of others, unsigned: worth asking its owner, no more. */
const hint = z.object({ id: agentId, ...hintFields })
export type Hint = z.infer<typeof hint>

/** The answer to `hints`. */
export const hintsAnswer = z.object({ hints: z.array(hint).max(MAX_SNAPSHOT_HINTS) })
export type HintsAnswer = z.infer<typeof hintsAnswer>
