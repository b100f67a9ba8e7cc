import type { Protocol } from '../rpc/index.ts'
import { MAX_CONTROL_BYTES } from '../wire/index.ts'

/** `permission/1.0.0`. Waiting for an answer keeps a request running, so there may be some for each open question. */
export const PERMISSION: Protocol = {
  id: '/pryx-mesh/permission/1.0.0',
  maxFrameBytes: MAX_CONTROL_BYTES,
  timeoutMs: 10_000,
  maxInFlight: 16
}

/** Requests that one peer may have open: the owner's attention is the scarcest thing here. */
export const MAX_OPEN_PER_PEER = 5
/** Requests open in all; nobody answers more than that. */
export const MAX_OPEN = 10_000
/** Answered requests that can still be looked up. */
export const MAX_KEPT = 1_000
/** Of an input; its digest covers all of it. */
export const MAX_SHOWN_INPUT_BYTES = 16_384
/** Definitions kept to say later what has changed, one for each peer and capability. */
export const MAX_ALLOWED_DEFINITIONS = 1_000

/** How long the owner has when no rule says so, as in policy. */
export const DEFAULT_TTL_MS = 600_000
/** How long the owner's no is not asked again. */
export const DENIAL_HOLDS_MS = 600_000
/** How long a call that was allowed once may take to come. */
export const ONCE_MS = 86_400_000
/** Of a right for a time. */
export const MIN_GRANT_MS = 1_000
export const MAX_GRANT_MS = 366 * 86_400_000

/** Why somebody asks, and why it was denied. */
export const MAX_REASON_LENGTH = 512

/** A wait is answered with what is known after this, at the latest; less than the deadline of its request. */
export const MAX_WAIT_MS = 8_000
/** Waits of one peer at a time: half of what it may have running, so that it can still ask. */
export const MAX_WAITS_PER_PEER = 8
/** Who waits asks no sooner than this again, whatever the answer was. */
export const MIN_WAIT_STEP_MS = 1_000
/** Longest pause of who waits for an owner that can't be reached. */
export const MAX_WAIT_STEP_MS = 10_000

/** About two minutes of pauses: without a first answer nobody knows the deadline. */
export const MAX_FIRST_FAILURES = 15

/** Changes that a reader of the watch may be behind. */
export const MAX_WATCH_QUEUE = 20_000
/** Requests of this node at others whose answers it listens to. */
export const MAX_EXPECTED = 1_000

/** What decides in the owner's place has this long. */
export const APPROVER_TIMEOUT_MS = 30_000
/** Of them run at a time; a command is a process. */
export const MAX_APPROVERS = 4
/** What an approver command may print. */
export const MAX_APPROVER_OUTPUT_BYTES = 65_536

/** Node's timers take no more than 2^31 − 1 ms. */
export const MAX_TIMER_MS = 86_400_000
