/** What one caller, one address and one connection may take of the HTTP edge; a test or an owner may set others. */
export interface EdgeLimits {
  /** For the head of a request. */
  readonly headersTimeoutMs: number
  /** For head and body together; answers may take as long as the call does. */
  readonly requestTimeoutMs: number
  /** How often both are looked at. */
  readonly checkIntervalMs: number
  /** A body that comes slower than this is cut off, once {@link slowGraceMs} have passed. */
  readonly minBytesPerSecond: number
  readonly slowGraceMs: number
  /** How long an unused connection is kept. */
  readonly keepAliveMs: number
  readonly maxHeaderBytes: number
  readonly maxBodyBytes: number
  readonly maxConnections: number
  /** Of one address, unless it is this machine. */
  readonly maxConnectionsPerAddress: number
}

export const EDGE_LIMITS: EdgeLimits = {
  headersTimeoutMs: 10_000,
  requestTimeoutMs: 30_000,
  checkIntervalMs: 1_000,
  minBytesPerSecond: 100,
  slowGraceMs: 5_000,
  keepAliveMs: 30_000,
  maxHeaderBytes: 16_384,
  // What a message between peers may have
  maxBodyBytes: 1_048_576,
  // WebSockets are among them
  maxConnections: 3_072,
  maxConnectionsPerAddress: 64
}

/** How far the time of a signature or DPoP proof may be from this node's clock, either way. */
export const PROOF_WINDOW_MS = 60_000

/** Proofs remembered until they are too old: in all (about 100 bytes each), and of one key; beyond it a key must wait. */
export const MAX_PROOFS = 262_144
export const MAX_PROOFS_PER_KEY = 16_384
/** Of keys that nobody knows, at about 500 bytes each: anybody can make as many as he likes, and must not fill the others' place. */
export const MAX_PROOFS_OF_STRANGERS = 65_536

/** Of a nonce or `jti`. */
export const MAX_PROOF_ID_LENGTH = 128

/** Longest `Authorization` and DPoP proof: both fit into the headers beside others. */
export const MAX_CREDENTIAL_LENGTH = 8_192

/** Credentials of an address that are refused within a minute, before it has to wait; each may cost a signature check or a request to an issuer. */
export const MAX_REFUSED_PER_ADDRESS = 64
export const REFUSED_WINDOW_MS = 60_000
/** Addresses that are counted; the one refused longest ago is forgotten. */
export const MAX_COUNTED_ADDRESSES = 4_096

/** API keys that were good a moment ago, by their digests: as many as a node may have alive (MAX_KEYS), about 300 bytes each. */
export const MAX_KEPT_KEYS = 1_000
/** How long such a key is taken without looking it up; revoking it ends that at once. Use is noted once a minute, so that nothing is missed. */
export const KEPT_KEY_MS = 5_000

/** For everything that has to be asked to know who a caller is. */
export const AUTHENTICATE_TIMEOUT_MS = 10_000
