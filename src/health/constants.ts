import type { Protocol } from '../rpc/index.ts'

/** `status/1.0.0`. A ping is small; one peer has no reason to have many under way. */
export const STATUS: Protocol = {
  id: '/pryx-mesh/status/1.0.0',
  maxFrameBytes: 4_096,
  timeoutMs: 5_000,
  maxInFlight: 4
}

/** Requests of one peer: a burst, then so many a second. Honest probes come every few seconds at most. */
export const STATUS_BURST = 20
export const STATUS_PER_SECOND = 2
/** Peers whose requests are counted; more than may be connected. */
export const MAX_COUNTED_PEERS = 1_024

/** Time between two probes of one agent or peer: at first and after each change, and at last when nothing changes. */
export const MIN_PROBE_INTERVAL_MS = 5_000
export const MAX_PROBE_INTERVAL_MS = 60_000
/** Full jitter could make it nothing. */
export const MIN_PROBE_GAP_MS = 500
/** How soon a call that failed or was slow has its agent looked at. */
export const HASTE_MS = 1_000
export const PROBE_TIMEOUT_MS = 5_000
/** Probes under way at once: each may be a request of its own. */
export const MAX_PROBES = 8
/** The one timer of all probes goes off no more often than this. */
export const TICK_MS = 100

/** Of so many probes … */
export const PROBES_JUDGED = 3
/** … so many failed ones make down; all of them good make up again. */
export const FAILURES_FOR_DOWN = 2

/** Each fall weighs 1 and half of that a minute later; above 1, which only repeated falls reach, coming up has to wait. */
export const FLAP_HALF_LIFE_MS = 60_000
/** The longest wait: 2⁵ halves to 1 in five minutes. */
export const MAX_FLAP_PENALTY = 32

/** Calls of the last five minutes count. */
export const WINDOW_SLICE_MS = 30_000
export const WINDOW_SLICES = 10
/** Fewer calls than this say nothing about a share of failures or a percentile. */
export const MIN_CALLS = 10
/** Degraded above the first, well again below the second: it doesn't go to and fro at one value. */
export const DEGRADED_ERROR_RATE = 0.1
export const WELL_ERROR_RATE = 0.05
export const DEGRADED_SLOWNESS = 3
export const WELL_SLOWNESS = 2
/** What is usually faster than this counts as this: nobody minds 6 ms in place of 2. */
export const MIN_BASELINE_MS = 10
/** How far the usual time follows the present one, with each slice; hardly at all while it is slow. */
export const BASELINE_STEP = 0.2
export const SLOW_BASELINE_STEP = 0.02

/** Peers that are looked at: those connected, and those whose agents were used. A probe costs each side about a call. */
export const MAX_PEERS = 64
/** How long after its last call a peer that isn't connected is still looked at. */
export const PEER_USED_MS = 3_600_000
/** Agents of one peer whose calls are counted, the latest used; 2.7 KB each. */
export const MAX_AGENTS_PER_PEER = 16

/** Text of a reason. */
export const MAX_REASON_LENGTH = 256
/** Characters of a nonce. */
export const MAX_NONCE_LENGTH = 64
