/** What one publisher says under one key: that it is there, or what a signed hint says. */
export interface Publication {
  /** 43 characters: base64url of the key's SHA-256 digest. */
  readonly key: string
  /** PeerId of the publisher, who has been authenticated. */
  readonly peer: string
  /** Milliseconds since 1970. */
  readonly expiresAt: number
  /** What counts as one network, by {@link subnetOf}; without one it isn't counted. */
  readonly subnet?: string | undefined
  /** Absent for a provider record, which carries nothing. */
  readonly hint?: HeldHint | undefined
}

export interface HeldHint {
  readonly bytes: Uint8Array
  /** Grows with every hint of the publisher under the key. */
  readonly seq: number
  /** The highest version that it claims. */
  readonly version?: string | undefined
}

/** One publisher under one key. */
export interface HeldEntry {
  readonly peer: string
  readonly expiresAt: number
  /** Absent when the publisher gave none, or only one that has expired. */
  readonly hint?: HeldHint | undefined
}

/**
 * - `kept`
 * - `dropped`: the key has enough others; nobody's fault
 * - `rolled-back`: older than what the publisher put or withdrew before, or another of the same seq
 * - `too-many`: of its publisher, of its subnet, or in all
 */
export type HoldVerdict = 'kept' | 'dropped' | 'rolled-back' | 'too-many'

/**
 * What this node keeps for others under keys that it is near to: provider records and signed hints alike. However much is put,
 * it stays bounded, fair and cheap to answer from.
 */
export interface Holder {
  /** Counts one put against the publisher's quota. @returns false when it has none left this minute */
  admit(peer: string, key: string): boolean
  put(publication: Publication): HoldVerdict
  /** Ends what the publisher put under the key up to this seq; what it had is refused from then on. @returns whether there was any */
  withdraw(key: string, peer: string, seq: number): boolean
  /** At most 20, chosen at random. */
  sample(key: string): readonly HeldEntry[]
  /** At most 20 of those that claim the highest versions, highest first. */
  best(key: string): readonly HeldEntry[]
  /** At most 20, from the `offset`th on, in the order in which they came: for who wants all. */
  page(key: string, offset: number): readonly HeldEntry[]
  /** Entries under the key here, at most 288. */
  count(key: string): number
  /** How many publishers the key has, by what is held and what had to go: (C − 1) / h once there are more than 256. */
  estimate(key: string): number
  /** Drops what has expired; reading does it for its own key. */
  expire(): void
  /** Entries in all. */
  readonly size: number
  status(): HolderStatus
}

export interface HolderStatus {
  readonly keys: number
  readonly entries: number
  readonly publishers: number
  /** Since the start. */
  readonly puts: Readonly<Record<HoldVerdict | 'over-budget', number>>
  readonly withdrawn: number
}

export interface HolderInit {
  /** Milliseconds since 1970. */
  readonly now: () => number
  /** 0 ≤ x < 1, for the choice of answers. */
  readonly random: () => number
  /** 32 random bytes that nobody else knows: by them no id can be made that is always in the sample. */
  readonly salt: Uint8Array
}
