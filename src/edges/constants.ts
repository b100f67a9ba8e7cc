/** How long an answer is kept for whoever asks again with the same key. */
export const KEPT_ANSWER_MS = 86_400_000

/** Answers kept in all, and for one caller: at 64 KiB each no more than 256 MiB of the database. */
export const MAX_ANSWERS = 4_096
export const MAX_ANSWERS_PER_CALLER = 512

/** A larger answer is remembered as given, but not kept. */
export const MAX_KEPT_ANSWER_BYTES = 65_536

/** Requests that one caller has under way, over all its connections; each may hold a call and a mebibyte of input. */
export const MAX_RUNNING_PER_CALLER = 256

/** How long the name of an agent may take to be resolved. */
export const RESOLVE_TIMEOUT_MS = 10_000
