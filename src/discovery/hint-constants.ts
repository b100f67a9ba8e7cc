/** Stream protocol that puts, gets and withdraws signed hints at those who hold a key. */
export const HINTS_PROTOCOL = '/pryx-mesh/hints/1.0.0'

/** Signed before a hint's bytes, so that no other statement passes as one. */
export const HINT_DOMAIN = 'pryx-mesh-hint/1'

/** A hint with its signature: 60 holders keep one for each key of each node. */
export const MAX_DHT_HINT_BYTES = 200

/** Versions in a hint; 59 bytes are left for them. */
export const MAX_HINT_VERSIONS = 8

/** The longest life of a hint: published every 6 h, so one missed time does no harm. */
export const MAX_HINT_LIFETIME_MS = 14 * 60 * 60_000

/** Hints in one put, and keys in one withdrawal: what a publisher may put in a minute. */
export const MAX_PUT_HINTS = 16
export const MAX_WITHDRAWN_KEYS = 64

/** Nodes nearer to the key in an answer, and addresses of each. */
export const MAX_CLOSER_PEERS = 20
export const MAX_CLOSER_ADDRESSES = 8

/** Addresses of each provider in an answer: whoever asks has to dial it, and 200 signed bytes leave no room for them. */
export const MAX_PROVIDER_ADDRESSES = 4

/** Characters of an address; the longest with a host name that DNS allows are longer, and rare. */
export const MAX_ADDRESS_LENGTH = 128

/** Time for one holder to answer, dialling included: the floor that a WAN needs, and some. */
export const HINTS_TIMEOUT_MS = 2000
