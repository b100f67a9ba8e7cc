import type { Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'

/** `pair/1.0.0`. */
export const PAIR: Protocol = {
  id: '/pryx-mesh/pair/1.0.0',
  maxFrameBytes: MAX_CONTROL_BYTES,
  timeoutMs: 10_000,
  maxInFlight: 2
}

const MINUTE_MS = 60_000
const DAY_MS = 86_400_000

export const DEFAULT_INVITE_MS = 10 * MINUTE_MS
export const MIN_INVITE_MS = 1_000
/** An invite lies in mail and chats for as long as it lives. */
export const MAX_INVITE_MS = 7 * DAY_MS

/** Invites that wait to be redeemed; nobody can keep an eye on more. */
export const MAX_INVITES = 100

/** An expired invite is remembered so long, to tell who has it that it has expired. */
export const KEEP_INVITE_MS = DAY_MS

/** Wrong proofs after which an invite is burned. Its id is as secret as itself, so these aren't honest mistakes. */
export const MAX_BAD_PROOFS = 3

/** Requests of one peer within {@link REDEEM_WINDOW_MS}; each costs a decryption. Honest ones need one, or a few after crashes. */
export const MAX_REDEEMS = 10
export const REDEEM_WINDOW_MS = MINUTE_MS

/** Peers whose requests are counted. */
export const MAX_COUNTED_PEERS = 1_024

/** Addresses in a token; with more it would no longer fit into a message or a QR code. */
export const MAX_INVITE_ADDRESSES = 8
export const MAX_ADDRESS_LENGTH = 256

/** Characters: 8 addresses of full length in base64url. */
export const MAX_TOKEN_LENGTH = 4_096

/** For one address of a token; the next may be the right one. */
export const DIAL_TIMEOUT_MS = 5_000
/** For all of them, and the redeeming. */
export const JOIN_TIMEOUT_MS = 60_000

/** Pairs at a time: each costs a row and a key in memory, and somebody who looks after it. */
export const MAX_PAIRS = 1_000
/** Ended pairs that are remembered, newest first, to tell their peers so. */
export const MAX_ENDED_PAIRS = 250

/** How long a secret derived from a pair is in use, and how long the one before is accepted after it. */
export const EPOCH_MS = 30 * DAY_MS
export const EPOCH_OVERLAP_MS = DAY_MS

/** How far the time in a proof may be from the verifier's clock, either way. */
export const PROOF_WINDOW_MS = MINUTE_MS
/** Nonces of accepted proofs that are remembered; each pair needs one for each connection in two minutes. */
export const MAX_NONCES = 4_096

/** JWS `typ` of an owner's statement. */
export const OWNER_TYPE = 'mesh-owner+jws'
export const MAX_STATEMENT_BYTES = 1_024
export const STATEMENT_MS = 365 * DAY_MS
/** How far ahead of the verifier's clock a statement may have been made. */
export const MAX_STATEMENT_SKEW_MS = 10 * MINUTE_MS
/** Statements that a node presents, newest first: a hello has room for 8 credentials of all kinds. */
export const MAX_STATEMENTS = 4
