/** Longest deadline of a request: a day. */
export const MAX_TIMEOUT_MS = 86_400_000

/** Credit of a streamed answer at its start, and so what a reader that stops may leave lying on its side; yamux's first window. */
export const INITIAL_CREDIT_BYTES = 256 * 1024

/** How much is read before it is granted again: half, as yamux does. What is left keeps a sender busy over a round trip, and each grant is a write. */
export const CREDIT_STEP_BYTES = INITIAL_CREDIT_BYTES / 2

/** Most bytes of items that `request` collects; beyond it `stream` is the way. */
export const MAX_COLLECTED_BYTES = 16 * 1024 * 1024

/** How exact deadlines are: they are looked at together, by one timer per channel. */
export const DEADLINE_RESOLUTION_MS = 50

/** How long opening a channel may take, dialling included; libp2p gives a dial 10 s. */
export const OPEN_TIMEOUT_MS = 12_000

/** A silent channel with requests pending is pinged at the first beat and given up at the third: 15 s (LIBP2P: connectionMonitor is off). */
export const HEARTBEAT_MS = 5_000
export const MAX_SILENT_BEATS = 3

/** Beats without a request after which a channel is closed: five minutes. */
export const MAX_IDLE_BEATS = 60

/** Channels of one protocol that a peer may have here: one, and those of connections that aren't known to be dead yet. The oldest goes first. */
export const MAX_CHANNELS_PER_PEER = 4

/**
 * Items are sent this far in one turn of the loop. Then other requests get theirs, and the reader begins while the next
 * ones are made. With their length prefixes just below MAX_BATCH_BYTES: more would leave in two writes, a large and a tiny one.
 */
export const BURST_BYTES = 60 * 1024

/** Breaches of the protocol that a connection survives, less one: an honest peer makes none, one of another version a few. */
export const MAX_VIOLATIONS = 8
