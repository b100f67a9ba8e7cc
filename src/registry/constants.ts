/** JWS `typ` of a record. */
export const RECORD_TYPE = 'mesh-record+jws'

/** Largest signed record (compact JWS). An MCP server with 100 tools and their schemas measured 150 KiB. */
export const MAX_RECORD_BYTES = 256 * 1024

export const MAX_CAPABILITIES = 256
export const MAX_TAGS = 32
export const MAX_NAME_LENGTH = 128
/** SECURITY: text that others will read, and models with them, is bounded. */
export const MAX_DESCRIPTION_LENGTH = 4096

/** How long a record is valid; SCALE: renewed hourly, so one missed renewal does no harm. */
export const RECORD_TTL_MS = 150 * 60_000
export const RECORD_RENEW_MS = 60 * 60_000

/** The longest life a record may claim: a lost or stolen key's last record is gone within a day. */
export const MAX_RECORD_LIFETIME_MS = 24 * 60 * 60_000

/** How far another node's clock may be ahead of ours. */
export const MAX_CLOCK_SKEW_MS = 10 * 60_000

/** Agents that a node's owner has configured. */
export const MAX_AGENTS = 256

/** Names that agents which dial in may have, those that are away too: by default as many as an edge has connections. */
export const MAX_DIALLED_IN = 2_000

/** Records of one node, which others bear: what the two may be at most. At 1.5 KiB, as small agents have, 6 MiB. */
export const MAX_PEER_RECORDS = 4_096

/** Records signed anew and announced in one go, one a minute: so 3,840 an hour, and no herd each hour after many agents came at once. */
export const MAX_RENEWALS = 64

/** The driver of agents that dial in; stored under this name. */
export const DIALLED_IN = 'inbound'

/** Windows of one agent: one for each day of the week, and some. */
export const MAX_WINDOWS = 16
