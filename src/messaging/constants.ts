import type { Protocol } from '../rpc/index.ts'
import { MAX_MESSAGE_BYTES } from '../wire/index.ts'

/** `message/1.0.0`. A sender keeps MAX_BATCHES_IN_FLIGHT under way and receipts beside them. */
export const MESSAGE: Protocol = {
  id: '/pryx-mesh/message/1.0.0',
  maxFrameBytes: MAX_MESSAGE_BYTES,
  timeoutMs: 30_000,
  maxInFlight: 8
}

/** `queued` is ours alone; the others are also said by receipts. The last four are ends. */
export const MESSAGE_STATES = [
  'queued',
  'accepted',
  'delivered',
  'processed',
  'failed',
  'expired',
  'cancelled'
] as const
export type MessageState = (typeof MESSAGE_STATES)[number]

/** Of every node, and nobody's to take. */
export const OWNER_AGENT = 'owner'

/** What is signed begins with one of these and a line feed. */
export const MESSAGES_DOMAIN = 'pryx-mesh-messages/1'
export const RECEIPTS_DOMAIN = 'pryx-mesh-receipts/1'

/** Messages under one signature, and in one request to deliver: to sign and to check them takes 160 and 220 µs, so 6 µs a message. */
export const MAX_BATCH_MESSAGES = 64
/** Envelopes and signatures in one request: as text within JSON they at most double, and so fit a frame of 1 MiB. */
export const MAX_BATCH_BYTES = 480 * 1024
/** Larger things go as a blob. */
export const MAX_BODY_BYTES = 256 * 1024
/** Body and everything around it. */
export const MAX_ENVELOPE_BYTES = MAX_BODY_BYTES + 4_096
/** 64 digests of 32 bytes as base64url, the signature and a did:key, with room. */
export const MAX_SIGNATURE_BYTES = 3_072
/** As many receipts as go under one signature. */
export const MAX_RECEIPTS = 256
export const MAX_RECEIPTS_BYTES = 256 * 1024
export const MAX_REASON_LENGTH = 500
export const MAX_CORRELATION_LENGTH = 128

/** Requests to one peer under way: the next batch is on its way while the one before is written there. */
export const MAX_BATCHES_IN_FLIGHT = 4

/** How long a message is tried. */
export const DEFAULT_EXPIRY_MS = 24 * 3_600_000
export const MIN_EXPIRY_MS = 1_000
export const MAX_EXPIRY_MS = 30 * 24 * 3_600_000
/** How far a sender's clock may be ahead. */
export const MAX_SKEW_MS = 10 * 60_000
/** How often a chain of messages may be passed on. */
export const MAX_HOPS = 8

/**
 * The outbox: per peer, so that one absent peer does not fill it for all, and in all. What waits is on disk, of memory it takes two
 * numbers per peer: so a peer may be gone for a day of a message a second, and four such before others are made to wait.
 */
export const MAX_QUEUED_PER_PEER = 100_000
export const MAX_QUEUED_BYTES_PER_PEER = 256 * 1024 * 1024
export const MAX_QUEUED = 400_000
export const MAX_QUEUED_BYTES = 1024 * 1024 * 1024
/** Sends that wait for room: each is a body in memory. */
export const MAX_WAITING_SENDS = 10_000
/** How long a send waits for room. */
export const SEND_TIMEOUT_MS = 30_000

/** The inbox: what waits to be handled or read. */
export const MAX_UNHANDLED_PER_PEER = 1_000
export const MAX_UNHANDLED_BYTES_PER_PEER = 16 * 1024 * 1024
export const MAX_UNHANDLED = 100_000
export const MAX_UNHANDLED_BYTES = 256 * 1024 * 1024
/** Pairs a peer may have here: each costs a row for good, and a peer may make up names of agents. */
export const MAX_PAIRS_PER_PEER = 1_000
/** Pairs kept in memory; others are read again. */
export const MAX_PAIRS_IN_MEMORY = 10_000

/** Attempts to reach a peer, full jitter. */
export const RETRY_MIN_MS = 1_000
export const RETRY_MAX_MS = 5 * 60_000
/** What a full receiver says. */
export const BUSY_RETRY_MS = 1_000
/** How long the owner's answer is waited for before the same is asked again. */
export const PENDING_RETRY_MS = 30_000
/** Undelivered for so long, a message is told about, once. */
export const DELAY_NOTICE_MS = 60_000

/** Attempts of a handler, between them full jitter. */
export const MAX_TRIES = 5
export const HANDLER_RETRY_MIN_MS = 1_000
export const HANDLER_RETRY_MAX_MS = 60_000
export const HANDLER_TIMEOUT_MS = 60_000
/** A handler that is done by then is committed together with the message it handled. */
export const FAST_HANDLER_MS = 10
/** A handler that takes longer makes a receipt `delivered`. */
export const DELIVERED_AFTER_MS = 1_000
/** Handlers running at once, per agent and in all: a slow agent doesn't hold up the others. */
export const MAX_HANDLERS_PER_AGENT = 16
export const MAX_HANDLERS = 256

/** Durable state of handlers. */
export const MAX_STATE_KEY_LENGTH = 512
export const MAX_STATE_BYTES = 256 * 1024
/** What one handler may send while it handles one message. */
export const MAX_SENDS_PER_MESSAGE = 64

/** How long a message is kept after its end; beyond MAX_KEPT the oldest go sooner. */
export const MESSAGE_KEPT_MS = 7 * 24 * 3_600_000
export const MAX_KEPT = 200_000
/** Rows removed at once: a commit of some milliseconds. */
export const SWEEP_ROWS = 1_000
export const SWEEP_INTERVAL_MS = 10_000
/** Entries of one message's story. */
export const MAX_EVENTS_PER_MESSAGE = 32

export const MAX_PAGE = 1_000
export const DEFAULT_PAGE = 100
export const TICK_MS = 200
/** Verified signatures kept, so that what is sent again is not checked again. */
export const MAX_KEPT_SIGNATURES = 256
/** How often what is rare is looked for: expired messages, delays. */
export const LOOK_INTERVAL_MS = 1_000
