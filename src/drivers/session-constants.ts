/** Time from the opening of the socket to the agent's hello. */
export const HELLO_TIMEOUT_MS = 10_000

/** Calls and messages at the same time; as many as one peer may have under way on a channel. */
export const MAX_PENDING = 64

/** A frame carries at most a message of the mesh, in an envelope of its own. */
export const MAX_FRAME_BYTES = 1024 * 1024 + 4096

export const MAX_ITEM_BYTES = 256 * 1024

/** Items of a call that an agent may send ahead of whoever reads them. */
export const ITEM_CREDIT = 64

/** Items that wait for their reader; above it the whole socket is paused. One item more would be 256 KiB. */
export const MAX_QUEUED_BYTES = 1024 * 1024

/**
 * How long one slow reader may keep the socket paused for everybody. Only an agent that heeds no credit, or sends large
 * items, comes to that.
 */
export const STALL_MS = 5_000

/** Bytes that wait to be sent; beyond it the agent is too slow for another call. */
export const MAX_BUFFERED_BYTES = 8 * 1024 * 1024

/** Default of `timeoutMs`. */
export const CALL_TIMEOUT_MS = 300_000

/** A connection that answers no ping for this long is dead. */
export const PING_INTERVAL_MS = 20_000
