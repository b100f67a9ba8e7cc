import type { Protocol } from '../../rpc/index.ts'
import { MAX_MESSAGE_BYTES } from '../../wire/index.ts'

/** `mailbox/1.0.0`. A depositor and a collector each wait for one answer at a time; the rest is room for questions. */
export const MAILBOX: Protocol = {
  id: '/pryx-mesh/mailbox/1.0.0',
  maxFrameBytes: MAX_MESSAGE_BYTES,
  timeoutMs: 30_000,
  maxInFlight: 4
}

export const MAILBOXES_TYPE = 'mesh-mailboxes+jws'
export const SEALED_TYPE = 'mesh-sealed+jwe'

/** Mailboxes of one node: each gets all of it, so that one of them may be away or lie. */
export const MAX_MAILBOXES = 3
export const MAX_MAILBOX_ADDRESSES = 8
export const MAX_ADDRESS_LENGTH = 256
/** Three mailboxes of eight addresses, in base64url. */
export const MAX_STATEMENT_BYTES = 12_288
/** A statement is good for so long, and made anew when half of it is over: a node may be away for two weeks. */
export const STATEMENT_LIFETIME_MS = 30 * 86_400_000
/** Statements of others that are remembered, about 1 KiB each; the oldest go first. */
export const MAX_STATEMENTS = 10_000
/** How old a statement may be before its author is asked again when it is met. */
export const STATEMENT_FRESH_MS = 3_600_000
/** Peers of whom it is known when they were asked. */
export const MAX_ASKED = 10_000
/** Connected peers that are asked for the mailboxes of one that isn't there, and how often. */
export const MAX_ASKED_FOR_ANOTHER = 8
export const ASK_OTHERS_MS = 60_000

/** JSON that is sealed: base64url makes 933 KiB of it, and the frame has 1 MiB. The largest single message has 530 KiB. */
export const MAX_PLAIN_BYTES = 700 * 1024
export const MAX_SEALED_BYTES = 960 * 1024
/** Sealed texts in one answer to `collect`; the first may be as large as it is. */
export const MAX_COLLECT_BYTES = 960 * 1024
export const MAX_COLLECT_ITEMS = 256

/** What a mailbox keeps: bytes for one recipient unless its owner says otherwise, and in all. */
export const MAX_KEPT_BYTES_PER_RECIPIENT = 16 * 1024 * 1024
export const MAX_KEPT_BYTES = 256 * 1024 * 1024
/** Of one depositor, over all recipients: none fills a mailbox alone. */
export const MAX_KEPT_BYTES_PER_DEPOSITOR = 8 * 1024 * 1024
/** Small ones cost too: rows are summed up for each deposit, 50 ns a row. */
export const MAX_KEPT_ITEMS_PER_DEPOSITOR = 4_096
export const MAX_KEPT_ITEMS = 65_536
/** Nodes that a mailbox is kept for. */
export const MAX_SERVED = 1_024
/** Longest that anything is kept. */
export const MAX_KEPT_MS = 7 * 86_400_000

/** Undelivered for so long, a message is deposited though nothing says that its recipient can't be reached. */
export const DEPOSIT_AFTER_MS = 60_000
/** Peers looked at in one tick, 60 µs each: of a thousand that are away, each has its turn within 16 s. */
export const MAX_LOOKS_PER_TICK = 64
/** Between two deposits for one recipient: what is sent meanwhile is sealed together. */
export const DEPOSIT_GATHER_MS = 2_000
/** After a failure, full jitter; what the other side refuses is not soon different. */
export const DEPOSIT_RETRY_MIN_MS = 1_000
export const DEPOSIT_RETRY_MAX_MS = 5 * 60_000
export const DEPOSIT_REFUSED_MS = 10 * 60_000

/** How often mailboxes are looked into while they are connected; a deposit is told at once. */
export const COLLECT_INTERVAL_MS = 5 * 60_000
/** What could not be taken yet is looked at again after this. */
export const COLLECT_AGAIN_MS = 10_000
/** Answers read in one go: a mailbox that never ends is left for a while. */
export const MAX_COLLECT_ANSWERS = 1_024
/** Over what has come out of order. */
export const MAX_COLLECT_PASSES = 4

export const MAILBOX_TICK_MS = 1_000
export const MAILBOX_SWEEP_MS = 60_000
/** A peer says where it listens soon after it has joined. */
export const MAILBOX_SETTLE_MS = 5_000
