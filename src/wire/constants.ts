/** Largest control message (hello, records query). ARCHITECTURE: checked before allocation. */
export const MAX_CONTROL_BYTES = 64 * 1024

/** Largest message with a body (call, records answer), in bytes of JSON. */
export const MAX_MESSAGE_BYTES = 1024 * 1024

/** Deepest nesting of arrays and objects; JSON.parse takes a million levels, recursive code after it doesn't. */
export const MAX_JSON_DEPTH = 64

/**
 * Frames of a turn leave as one write of at most this size; 32 to 64 KiB measured best through noise and yamux.
 * A noise message carries 65,519 bytes: with yamux's header of 12, a byte more would cost a second, tiny one.
 */
export const MAX_BATCH_BYTES = 65_507

/** Whoever feeds a stream should wait when this much is queued for a peer that doesn't read, and goes on below the low mark. */
export const WRITE_HIGH_WATER_BYTES = 1024 * 1024
export const WRITE_LOW_WATER_BYTES = 256 * 1024

/** How long an orderly close may take until the stream is reset. */
export const CLOSE_TIMEOUT_MS = 5_000

/** Most bytes queued for a peer that doesn't read; beyond it the stream is aborted (LIBP2P: unbounded by default). */
export const MAX_WRITE_QUEUE_BYTES = 8 * 1024 * 1024

/** Bytes of a body that wait for their reader; beyond it the peer has to wait. A window of the stream may come on top. */
export const MAX_UNREAD_BYTES = 1024 * 1024
