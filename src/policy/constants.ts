/** What can be asked of a policy. A rule whose `act` fits none of them is refused: it could only be a typing error. */
export const ACTIONS = [
  'tool.call',
  'skill.call',
  'model.call',
  'record.read',
  'permission.request',
  'message.send'
] as const

/** Rules in one file; an uncached decision looks at each of them (about 10 ns a rule). */
export const MAX_RULES = 1_000

/** Entries of a `who`, `act` or `res` list. */
export const MAX_ALTERNATIVES = 256

/** Text of an alias, scope or issuer in a `who`. */
export const MAX_WHO_LENGTH = 512

/** Scopes told to a caller who lacks them; more would be a list of what the owner's rules are about. */
export const MAX_MISSING_SCOPES = 16

/** Answers kept of one question whose rules look at the moment, one for each set of rules that spoke. */
export const MAX_CACHED_MOMENTS = 64

/** How long the owner has to answer, unless a rule says otherwise. */
export const DEFAULT_ASK_TTL_MS = 600_000

/** Windows of limits, from a second to a year. Those of a minute and more outlive the process. */
export const MIN_WINDOW_MS = 1_000
export const MAX_WINDOW_MS = 366 * 86_400_000
export const LASTING_WINDOW_MS = 60_000

/** Counters of limits, about 200 bytes each; callers beyond it are refused, since passing them would be no limit. */
export const MAX_COUNTERS = 100_000

/** When to come back if no time is known: a concurrent call may end at any moment. */
export const CONCURRENCY_RETRY_MS = 1_000

/** Expired counters are looked for no more often than this when all places are taken. */
export const COUNTER_SWEEP_MS = 1_000

export const MAX_RULE_ID_LENGTH = 128

/** A resource is `<kind>:<agent>/<capability>`, at most 200 characters long; the rest is room for later kinds. */
export const MAX_PATTERN_LENGTH = 512

/** Verdicts kept per caller; past it the caller's are forgotten and decided anew. About 0.5 KiB each. */
export const MAX_CACHED_VERDICTS = 1_024

/** Longer actions and resources are no names of ours: decided, never cached, and cut in reasons and audit rows. */
export const MAX_SHOWN_LENGTH = 256

/** Writers that don't replace a file need a moment to be done with it. */
export const WATCH_SETTLE_MS = 50
/** How soon a change is seen that the system doesn't tell of. */
export const WATCH_POLL_MS = 2_000

/** How long an audit row waits for others to be written with. A killed process loses no more than this. */
export const AUDIT_BATCH_MS = 100
export const AUDIT_BATCH_BYTES = 256 * 1024

/** The log moves to a new file at this size; about 300,000 decisions. */
export const AUDIT_FILE_BYTES = 64 * 1024 * 1024
/** Full files kept beside the current one. */
export const AUDIT_FILES = 8

/** Rows waiting for a disk that doesn't take them; later ones are counted and dropped, because a call can't wait for a disk. */
export const AUDIT_QUEUE_BYTES = 64 * 1024 * 1024

/** Time between attempts on a disk that refused a batch. */
export const AUDIT_RETRY_MS = 1_000
