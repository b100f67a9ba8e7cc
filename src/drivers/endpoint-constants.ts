/** Failures in a row after which an endpoint is left alone. */
export const BREAKER_THRESHOLD = 5

/** Full jitter between nothing and min(60 s, 1 s × 2ⁿ). */
export const BREAKER_MIN_MS = 1_000
export const BREAKER_MAX_MS = 60_000

/** The longest pause that an endpoint may ask for with `Retry-After`. */
export const MAX_RETRY_AFTER_MS = 300_000

/** A pause asked for is waited out within a call when it is no longer than this. */
export const MAX_WAIT_MS = 5_000

/** After the first attempt, and only when nothing can have been done twice. */
export const MAX_RETRIES = 2
export const RETRY_MIN_MS = 250

/** Calls of one endpoint at the same time. */
export const MAX_CALLS = 64

/** A result; as large as a message of the mesh. */
export const MAX_ANSWER_BYTES = 1024 * 1024

/** What an endpoint says it offers: four times a record, as what doesn't fit that is left out there. */
export const MAX_DESCRIPTION_BYTES = 1024 * 1024

/** What is read of a refusal. */
export const MAX_PROBLEM_BYTES = 16 * 1024

/** An answer of an authorization server. */
export const MAX_TOKEN_ANSWER_BYTES = 64 * 1024

export const CONNECT_MS = 10_000

/** A body that has begun must go on: an event, or at least a comment. */
export const PROGRESS_MS = 30_000

/** Default of `timeoutMs`: to the headers of the answer, and to the end of one that isn't a stream. */
export const ANSWER_TIMEOUT_MS = 60_000

export const MAX_REDIRECTS = 3

/** Unused connections are closed before Node's own server would, 5 s: a request isn't sent into one that is closing. */
export const IDLE_CONNECTION_MS = 4_000

/** Longer than any key or token; a wrong file isn't read to its end. */
export const MAX_SECRET_BYTES = 16_384

/** A token is renewed this long before it expires, so that it doesn't on the way. */
export const TOKEN_MARGIN_MS = 30_000

/** Of a token that doesn't say how long it lives. */
export const TOKEN_LIFE_MS = 60_000
