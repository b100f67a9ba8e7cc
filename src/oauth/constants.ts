/** Logins of a node: each may cost a request to its issuer a minute. */
export const MAX_LOGINS = 32

/** Peers that a login may be presented to, resources that its tokens may be for, and scopes it may ask for. */
export const MAX_LOGIN_PEERS = 32
export const MAX_LOGIN_SCOPES = 32

/** Longest issuer, client id, resource or scope; as the `oauth` member of a hello allows. */
export const MAX_LOGIN_TEXT = 512

/** Tokens presented to one peer; other methods need room among MAX_CREDENTIALS, too. */
export const MAX_TOKENS_PER_PEER = 4

/** Longest token taken from an issuer: presented, it must fit a hello with three more of them, and no peer takes longer ones. */
export const MAX_ISSUED_TOKEN_LENGTH = 8_192

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

/** Longest token that is taken from a peer; those with many scopes take 2 KiB. */
export const MAX_TOKEN_BYTES = 8_192

/** Scopes of a token: as many as the answer of a hello may name. */
export const MAX_TOKEN_SCOPES = 64

/** For the clocks of issuers; of the end of a token nothing is forgiven. */
export const CLOCK_TOLERANCE_SECONDS = 5

/** For each request to an issuer of presented tokens: metadata, twice, and keys must fit a hello's 10 s. */
export const ISSUER_REQUEST_TIMEOUT_MS = 3_000

/** How long keys are used: a key that the issuer has withdrawn is accepted no longer than that. */
export const ISSUER_KEYS_TTL_MS = 600_000

/** How long the pages that an issuer names are believed. */
export const ISSUER_METADATA_TTL_MS = 3_600_000

/** Keys are not read anew within this, whatever tokens name: unknown ones cost the issuer nothing. */
export const ISSUER_COOLDOWN_MS = 30_000

/** An issuer that could not be asked is left alone for a while. */
export const ISSUER_RETRY_MS = 5_000

/** How long an answer about an opaque token is believed, and so how long one is used after its revocation. */
export const INTROSPECTION_TTL_MS = 60_000

/** Questions about tokens under way at a time. */
export const MAX_INTROSPECTIONS = 16

/** Tokens read, or asked about, that are kept: at most 8 KiB each. */
export const MAX_KEPT_TOKENS = 1_024

/** Thumbprints of peers' keys: some more than there are connections. */
export const MAX_KEPT_THUMBPRINTS = 1_024

/** A client secret that a file holds. */
export const MAX_CLIENT_SECRET_BYTES = 16_384

/** Tokens revoked here; with more, those that were listed first are forgotten. */
export const MAX_REVOKED_TOKENS = 65_536

/** How long a token stays revoked here: longer than access tokens live. */
export const REVOKED_TOKEN_TTL_MS = 90 * 86_400_000
