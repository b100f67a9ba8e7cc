/** Logins of a node: each may cost a request to its issuer a minute. */
export const MAX_LOGINS = 32

/** Peers that a login may be presented to, resources that its tokens may be for, and scopes it may ask for. */
export const MAX_LOGIN_PEERS = 32
export const MAX_LOGIN_SCOPES = 32

/** Longest issuer, client id, resource or scope; as the `oauth` member of a hello allows. */
export const MAX_LOGIN_TEXT = 512

/** Tokens presented to one peer; other methods need room among MAX_CREDENTIALS, too. */
export const MAX_TOKENS_PER_PEER = 4

/** Longest token taken from an issuer: presented, it must fit a hello with three more of them. */
export const MAX_ISSUED_TOKEN_LENGTH = 12_288

/** Largest answer of an issuer; metadata and tokens take a few KiB. */
export const MAX_LOGIN_ANSWER_BYTES = 131_072

/** For each request to an issuer. */
export const LOGIN_REQUEST_TIMEOUT_MS = 10_000

/** How long the owner has to say yes in a browser. */
export const LOGIN_TIMEOUT_MS = 600_000

/** How long an issuer's metadata is believed; RFC 8414 leaves it open. */
export const LOGIN_METADATA_TTL_MS = 3_600_000

/** Lifetime of an access token whose issuer tells none (RFC 6749 §5.1 only recommends to). */
export const DEFAULT_TOKEN_TTL_SECONDS = 300

/** A token is renewed a minute before its end, or after 80 % of its life if that is sooner; ± 10 %, so that nodes don't ask in step. */
export const RENEW_BEFORE_MS = 60_000
export const RENEW_SHARE = 0.8
export const RENEW_JITTER = 0.1

/** Waits after failures of an issuer, doubled each time. */
export const MIN_LOGIN_BACKOFF_MS = 1_000
export const MAX_LOGIN_BACKOFF_MS = 60_000
