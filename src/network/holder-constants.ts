const MINUTE = 60_000

/** Entries that one key may have: a uniform sample, by salted hash. 256 tell how many there are within 12 % at p95. */
export const MAX_SAMPLED_PER_KEY = 256

/** And those that claim the highest versions, so that who looks for the newest isn't lost in a crowd. */
export const MAX_BEST_PER_KEY = 32

/** Entries in one answer, chosen at random; 40,000 of them cost both ends 33 s of CPU, and the first in the list took all the load. */
export const MAX_ENTRIES_PER_ANSWER = 20

/** Entries of all keys: 40 MB at worst, when each has a key and a publisher of its own. The hottest node of a million holds 1,500. */
export const MAX_ENTRIES = 20_000

/** Of one publisher: 64 keys that a node may have, and a shard of each. More ids are needed to fill a holder, and each needs a connection. */
export const MAX_KEYS_PER_PUBLISHER = 128

/** Keys that one publisher may put within {@link QUOTA_WINDOW_MS}, and how often: each may come as a hint and as a provider record. */
export const MAX_KEYS_PER_WINDOW = 16
export const MAX_PUTS_PER_WINDOW = 32
export const QUOTA_WINDOW_MS = MINUTE

/** Publishers whose quota is counted: twenty times the connections. Each may have 16 keys of 43 characters. */
export const MAX_COUNTED_PUBLISHERS = 4_096

/** Entries of one key from one /24, or /48 of IPv6: addresses cost more than ids. Loopback and private ones are exempt. */
export const MAX_ENTRIES_PER_SUBNET = 8

/** Withdrawals that are remembered, until what they end would have expired. */
export const MAX_WITHDRAWALS = 4_096

/** Steps of what is known of entries that had to go; random ones need some 6. */
export const MAX_THRESHOLD_STEPS = 16
