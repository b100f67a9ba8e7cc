/** What a peer did that says something about it. */
export const EVIDENCE = [
  'call:completed',
  'schema:violated',
  'limit:breached',
  'signature:bad',
  'protocol:broken',
  'handoff:failed'
] as const
export type EvidenceKind = (typeof EVIDENCE)[number]

/** Changes of level kept for `trust why`. */
export const MAX_CHANGES_PER_PEER = 20

/** Peers remembered, about 1 KB each in memory; beyond it, those with the least evidence and no owner's word are forgotten. */
export const MAX_PEERS = 10_000

/** Forgotten at once when there are too many, so that a flood of strangers sorts them rarely. */
export const FORGET_SHARE = 0.1

/** Evidence waits this long for the disk, so that a busy peer costs one write a second. */
export const FLUSH_DELAY_MS = 1_000

export const DAY_MS = 86_400_000

/** After this long evidence weighs half: a peer that was replaced or mended shows its new self within weeks. */
export const HALF_LIFE_MS = 7 * DAY_MS

/** Good interactions counted per peer and UTC day: nobody buys a good name in an afternoon. */
export const MAX_GOOD_PER_DAY = 20

/** Good interactions before a stranger is known. */
export const KNOWN_MIN_INTERACTIONS = 20

/** Between the first and the last of them. */
export const KNOWN_MIN_AGE_MS = 3 * DAY_MS

/** Lower bound of the share of good interactions from which a stranger is known. */
export const KNOWN_SCORE = 0.8

/** Below it a peer falls; far below {@link KNOWN_SCORE}, so that no peer goes up and down by one call. */
export const FALL_SCORE = 0.5

/** Bad weight that a fall needs: silence alone, or a single broken schema, takes nobody's level. */
export const FALL_MIN_BAD_WEIGHT = 5

/** Characters of a reason. */
export const MAX_REASON_LENGTH = 256

/** What one observation weighs; what can't be an accident weighs more. */
export const WEIGHTS: Readonly<Record<EvidenceKind, number>> = {
  'call:completed': 1,
  // Versions drift apart without ill will
  'schema:violated': 1,
  // Often mere haste; the limit has already protected the node
  'limit:breached': 1,
  // Nobody makes one by accident
  'signature:bad': 5,
  // A defective peer, or one that probes
  'protocol:broken': 3,
  // Others relied on it and were let down
  'handoff:failed': 3
}
