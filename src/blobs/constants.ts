const MIB = 1024 * 1024
const DAY_MS = 86_400_000

/** `blob/1.0.0`: a stream for each transfer, so that nothing waits behind one. */
export const BLOB_PROTOCOL = '/pryx-mesh/blob/1.0.0'

/** Largest request and header. */
export const MAX_BLOB_FRAME_BYTES = 4_096

/** Largest blob; a transfer over a slow link of 10 Mbit/s takes a quarter of an hour. */
export const MAX_BLOB_BYTES = 1024 * MIB

/** What all blobs of a home may take on disk, unless its owner says otherwise. */
export const DEFAULT_QUOTA_BYTES = 4 * 1024 * MIB

/** Transfers that a peer may have from here at a time: more would only share the same connection. */
export const MAX_TRANSFERS_PER_PEER = 4

/** A transfer on which nothing moves for so long is given up; so is a download that doesn't get on for twice as long. */
export const IDLE_MS = 30_000
export const RESUME_MS = 60_000

/** Waits before a broken transfer is tried again: random, up to the first, doubled each time, up to the last (full jitter). */
export const FIRST_WAIT_MS = 100
export const LONGEST_WAIT_MS = 5_000

/** Read from the disk at once: whole pieces of what a stream takes at once (MAX_BATCH_BYTES), about half a mebibyte. */
export const READ_BYTES = 8 * 65_507

/**
 * Buffers that a transfer is read into in turns: a new one for each piece made the collector of garbage take as long as the
 * cipher. What of a stream isn't encrypted yet is a window of 1 MiB and a piece, so that four times that is never too little.
 */
export const READ_BUFFERS = 8

/** Written to the disk at once, and how many such buffers may wait: a disk that stops for a moment doesn't stop the network. */
export const WRITE_BYTES = MIB
export const WRITE_BUFFERS = 8

/** A long file is synced in the background this often, so that little is left to wait for at its end. */
export const SYNC_EVERY_BYTES = 32 * MIB

/** What is left of a broken download is kept for so long. */
export const PARTIAL_KEPT_MS = 7 * DAY_MS

/** Peers that one blob is shared with. */
export const MAX_READERS = 1_024
