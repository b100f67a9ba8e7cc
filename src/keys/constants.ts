/** Live API keys of a node: callers are counted in tens, and every one must be looked after by somebody. */
export const MAX_KEYS = 1_000

/** Revoked and expired keys that are kept for the list, newest first. */
export const MAX_DEAD_KEYS = 250

/** Peers that this node keeps a key for; each costs a row of some 400 bytes. */
export const MAX_HELD = 1_000

/** Scopes of a key, and characters of each: they travel in every caller and stand in rules. */
export const MAX_KEY_SCOPES = 32
export const MAX_SCOPE_LENGTH = 64

const DAY_MS = 86_400_000

/** A key that nobody renews is forgotten at last. */
export const DEFAULT_KEY_MS = 90 * DAY_MS
export const MIN_KEY_MS = 1_000
/** 10 years as the `ms` package counts them, so that `--for 10y` fits. */
export const MAX_KEY_MS = 3_652.5 * DAY_MS

/** How long the secret before a rotation is accepted. */
export const DEFAULT_OVERLAP_MS = DAY_MS
export const MAX_OVERLAP_MS = 30 * DAY_MS

/** `lastUsedAt` is for people; a key in constant use costs no more than a write a minute. */
export const LAST_USED_EVERY_MS = 60_000
