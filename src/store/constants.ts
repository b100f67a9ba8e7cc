/** Transactions that share one commit. Measured: 256 gave 19 k durable writes a second with 6 ms of lag. */
export const MAX_COMMIT_WRITES = 256

/** Transactions waiting for the disk; beyond it a write fails with BUSY. About a second's work. */
export const MAX_QUEUED_WRITES = 16_384

/** How long a patient write waits for another to share its commit: less than anybody notices, more than two that follow each other are apart. */
export const PATIENCE_MS = 10

/** Prepared statements kept per connection. The code has far fewer texts; the bound is for lists of `?`. */
export const MAX_CACHED_STATEMENTS = 256

/** How long a connection waits for another program that holds the file, such as a backup. */
export const BUSY_TIMEOUT_MS = 5_000

/** The write-ahead log is cut back to this when it has grown beyond it. */
export const JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024

/** Entries that a datastore query reads at once; writes in between are seen by the next page. */
export const DATASTORE_PAGE = 256
