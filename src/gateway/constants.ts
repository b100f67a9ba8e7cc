/** Largest request body: an input of one mebibyte, the limit of a message between peers, and what wraps it. */
export const MAX_BODY_BYTES = 1_114_112

/** A local client sends its headers at once; slower is a stuck one. */
export const HEADERS_TIMEOUT_MS = 5_000

/** For headers and body together; answers may take as long as the call does. */
export const REQUEST_TIMEOUT_MS = 30_000

/** Requests under way at once, each on a connection of its own. */
export const MAX_CONNECTIONS = 256

/** Events kept for a listener that reads slowly; then its stream ends with BUSY. */
export const MAX_QUEUED_EVENTS = 1_024

/** What a call may take at most, a day: timers of Node wrap at 24.8 days. */
export const MAX_TIMEOUT_MS = 86_400_000

/** Of a call that names none. */
export const DEFAULT_CALL_TIMEOUT_MS = 30_000

/** Steps of a find that are explained: its messages and candidates are some 400, in a large mesh with shards ten times as many. */
export const MAX_STEPS = 5_000
