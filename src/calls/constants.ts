import { BURST_BYTES, type Protocol } from '../rpc/index.ts'
import { MAX_MESSAGE_BYTES } from '../wire/index.ts'

/** `call/1.0.0`. */
export const CALL: Protocol = {
  id: '/pryx-mesh/call/1.0.0',
  maxFrameBytes: MAX_MESSAGE_BYTES,
  timeoutMs: 30_000,
  // 64 in flight saturate a core; four times that leaves room for slow agents without letting one peer own the node
  maxInFlight: 256
}

/** Distinct capabilities that one caller's verdicts and validators are kept for. */
export const MAX_ROUTES = 512

/** How long a stream whose caller is gone goes on, and how long its end is kept: a node redials within a minute, and so does a phone that changes networks. */
export const DETACHED_MS = 60_000

/** Longest time that an owner may set for that: what nobody comes back for takes memory, and keeps agents at work. */
export const MAX_DETACHED_MS = 3_600_000

/** Delivered items that are kept, beside the newest: what may be on its way is a credit of 256 KiB and half of one that was read and not granted yet. */
export const KEPT_BYTES = 512 * 1024

/** Forgotten at once, so that it costs little for each item: up to so much more is kept. */
export const TRIM_BYTES = 64 * 1024

/** What an agent may be ahead of who reads: what is sent in one turn of the loop. */
export const READ_AHEAD_BYTES = BURST_BYTES

/** What an agent may go on to make while nobody reads. */
export const MAX_AHEAD_BYTES = 1024 * 1024

/** Streams of a peer that nobody reads just now, ended ones too; the oldest goes first. */
export const MAX_DETACHED_PER_PEER = 16

/** Kept items: of one peer, and of all. */
export const MAX_REPLAY_BYTES_PER_PEER = 16 * 1024 * 1024
export const MAX_REPLAY_BYTES = 64 * 1024 * 1024

/** What an item costs beside its text: in its frame, and about what it costs in memory. */
export const ITEM_FRAME_BYTES = 24
export const ITEM_MEMORY_BYTES = 128

/** Waits before a broken stream is asked for again: random, up to the first, doubled each time, up to the last (full jitter). */
export const RESUME_FIRST_WAIT_MS = 100
export const RESUME_LONGEST_WAIT_MS = 5_000
