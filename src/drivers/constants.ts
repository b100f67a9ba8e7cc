/** Time for an agent to come up and say what it offers; `npx` may have to install the server first. */
export const CONNECT_TIMEOUT_MS = 60_000

/**
 * How long a silent stdio server is taken for slow (`npx` at work), before it is taken for one that doesn't know
 * `server/discover`. A server of 2026 that is slower than that comes up at the next attempt only.
 */
export const PROBE_TIMEOUT_MS = 20_000

/** Time for an agent to say again what it offers. */
export const DESCRIBE_TIMEOUT_MS = 30_000

/** Changes that come closer together are asked for once. */
export const DESCRIBE_DELAY_MS = 100

export const HEALTH_INTERVAL_MS = 30_000
export const HEALTH_TIMEOUT_MS = 15_000

/** Full jitter between nothing and min(60 s, 0.5 s × 2ⁿ). */
export const RECONNECT_MIN_MS = 500
export const RECONNECT_MAX_MS = 60_000

/** An agent that stayed up this long starts its backoff anew; one that dies at once does not. */
export const STABLE_AFTER_MS = 60_000

/** Agents brought up at the same time when the node starts: each may be a process of its own. */
export const MAX_STARTING = 8

/** From SIGTERM to SIGKILL; also the time for an HTTP server to end our session. */
export const CLOSE_GRACE_MS = 2_000

/** The most that a driver may take to close, whoever wrote it. */
export const CLOSE_TIMEOUT_MS = 10_000

/** After its process has ended, for what is left in the pipes. */
export const DRAIN_MS = 500

export const STDERR_TAIL_BYTES = 4096

/** Four times what a call may carry; a page of a tool list must fit too. */
export const MAX_MCP_MESSAGE_BYTES = 4 * 1024 * 1024

/** A tool's own words in an error. */
export const MAX_ERROR_TEXT_BYTES = 4096

/** As deep as a frame may be (protocols/README.md#frames). */
export const MAX_SCHEMA_DEPTH = 64

/** The caller's signal ends a call; this is only the most that a timer can hold. */
export const NO_TIMEOUT_MS = 2 ** 31 - 1

/** How often a subscription that its server ended is opened again, at most. */
export const RELISTEN_MS = 1_000

/** A tool list is asked for again no sooner, whatever time to live its server gives. */
export const MIN_LIST_TTL_MS = 30_000
