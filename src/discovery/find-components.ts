import type { TrustLevel } from '../auth/index.ts'
import type { HealthState } from '../health/index.ts'
import type { Network } from '../network/index.ts'
import type { RecordCache } from './cache.ts'
import type { DhtSource } from './dht-source.ts'
import type { FindCounts } from './find-counts.ts'
import type { Hints } from './hints.ts'
import type { Missing, Pinned } from './index.ts'
import type { LocalRecords } from './local.ts'
import type { Hint } from './messages.ts'
import type { Peers } from './peers.ts'
import type { Refusals } from './refusals.ts'

/** What a find is given. */
export interface FindComponents {
  /** This node's PeerId. */
  readonly peer: string
  readonly network: Network
  readonly local: LocalRecords
  readonly cache: RecordCache
  readonly hints: Hints
  readonly peers: Peers
  readonly dht: DhtSource
  readonly refusals: Refusals
  readonly counts: FindCounts
  /** How an agent is, by its id. */
  readonly healthOf: (agentId: string) => HealthState
  readonly trustOf: (peer: string) => TrustLevel
  /** What was called before. */
  readonly pinned: () => Iterable<Pinned>
  /** Told what a find that covered everything did not bring. */
  readonly onMissing: (missing: readonly Missing[]) => void
  readonly now: () => number
  /** Milliseconds to wait yet for the first peers of a young node. */
  readonly settleMs: () => number
  /** True when this node has no peer yet and may still get one. */
  readonly isYoung: () => boolean
  /** Whether the mesh is so small that the catalogue tells everybody what there is. */
  readonly isSmall: () => boolean
  /** Tells of each new hint. @returns how to stop listening */
  readonly onHint: (listener: (hint: Hint) => void) => () => void
  /** Aborted when the node stops. */
  readonly stopping: AbortSignal
}
