/** What a provider says of itself under a key, signed. */
export interface DhtHint {
  /** 43 characters: base64url of the key's SHA-256 digest. */
  readonly key: string
  /** PeerId of the provider, who signed it. */
  readonly peer: string
  /** Grows with every hint of the provider under the key; Unix time in milliseconds will do. 0 to 2^48 − 1. */
  readonly seq: number
  /** Milliseconds since 1970, whole seconds. */
  readonly expiresAt: number
  /** Semver versions of what the provider offers under the key, the highest first; none under a key of a name space. */
  readonly versions: readonly string[]
  /** It offers versions that did not fit. */
  readonly hasMore: boolean
}
