/** The JWS `typ` of a grant. */
export const GRANT_TYPE = 'mesh-grant+jws'

/** The JWS `typ` of a list of revoked grants. */
export const REVOCATIONS_TYPE = 'mesh-revocations+jws'

/** How often a grant may be passed on. */
export const MAX_DEPTH = 4
/** Links of a chain: the owner's grant and each that was passed on. */
export const MAX_CHAIN = MAX_DEPTH + 1

/** One link as text; two globs, two digests and three keys take under 2 KiB. */
export const MAX_GRANT_BYTES = 4_096

/** Characters of a glob, as in a policy rule. */
export const MAX_GLOB_LENGTH = 512

/** Characters of a grant's id; this node's own have 32. */
export const MAX_GRANT_ID_LENGTH = 64

/** Calls that a grant can allow in all. */
export const MAX_USES = 1_000_000_000

/** How far ahead of this node's clock the issuer's may be. */
export const MAX_CLOCK_SKEW_MS = 10 * 60_000

/** A grant without expiry ends when nobody used it for this long. */
export const UNUSED_AFTER_MS = 30 * 86_400_000

/** Uses of a grant without limit are counted in memory and written this often at most: the count only informs. */
export const WRITE_USE_EVERY_MS = 60 * 60_000

/** Grants issued here that have not ended, or whose revocation must still be told: about 1 KiB each in memory. */
export const MAX_GRANTS = 5_000

/** Of one holder: {@link Grants.find} looks at each of them, at well under a microsecond each. */
export const MAX_GRANTS_PER_HOLDER = 256

/** Ended grants that are kept to be shown; older ones are forgotten. */
export const MAX_ENDED_GRANTS = 500

/** Chains that other nodes gave to this one: up to 20 KiB each. */
export const MAX_HELD = 500

/** Chains that a caller has presented on one connection. */
export const MAX_PRESENTED = 16

/** Grants that last as long as one connection, on each. */
export const MAX_SESSION_GRANTS = 64

/** Passed-on grants with a limit of their own, counted for each grant that they came from. */
export const MAX_COUNTED_PER_GRANT = 256

/** Issuers whose revocations are remembered; beyond it, those go first that nothing here came from. */
export const MAX_REVOKING_ISSUERS = 1_000

/** A list of revocations, which has to fit into a control message. */
export const MAX_REVOCATIONS_BYTES = 60 * 1_024

/** Ids in a list: with 32 characters each they make 56 KB. */
export const MAX_REVOKED_IDS = 1_200

/** Held grants that were passed on and have not expired: should all be revoked, the list must still have them all. */
export const MAX_PASSED_ON = 1_000
