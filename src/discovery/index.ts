/**
 * Advertise and find: cache, records of connected peers, gossip topics, DHT providers. Hints come from anywhere; what is
 * yielded has been signed by its owner.
 *
 * Spec: protocols/records/1.0.0/README.md, protocols/topics/1/README.md
 *
 * @packageDocumentation
 * @example
 * const discovery = createDiscovery({ identity, registry, network, rpc, policy, emit, on })
 * await discovery.start()
 * await registry.publish('fs', description)
 * await discovery.announce('fs')
 * const results = discovery.find({ kind: 'tool', name: 'db.*', version: '^2' })
 * for await (const { agent, capability } of results) console.log(agent, capability.name)
 * const { complete } = await results.summary
 */
import type { TrustLevel } from '../auth/index.ts'
import type { Emit, MeshEventName, MeshEvents } from '../events.ts'
import type { HealthState } from '../health/index.ts'
import type { Identity } from '../identity/index.ts'
import type { Network } from '../network/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Registry } from '../registry/index.ts'
import type { Capability, CapabilityKind, Query, RecordRef, SignedRecord } from '../registry/messages.ts'
import type { Rpc } from '../rpc/index.ts'
import { MeshDiscovery } from './discovery.ts'
import type { FindStep } from './explain.ts'

export type { FindStep, Step } from './explain.ts'
export { recordsProtocol } from './records.ts'

/** Where a result came from: known already, asked of a connected peer, told by a topic, named by the DHT. */
export type FindSource = 'cache' | 'peer' | 'topic' | 'dht'

/** One capability that matches, of one agent. */
export interface Found {
  /** `<PeerId>/<name>` */
  readonly agent: string
  readonly peer: string
  readonly capability: Capability
  readonly source: FindSource
  readonly record: RecordRef
  /** RFC 3339, when its owner last gave the record; now for an agent of this node. */
  readonly verifiedAt: string
}

export interface Change extends Found {
  readonly change: 'added' | 'changed' | 'gone'
}

export interface FindOptions extends Query {
  /** Default 5,000. */
  readonly timeoutMs?: number
  /** Stops after this many; default none. */
  readonly limit?: number
  readonly signal?: AbortSignal
  /** Told of each step as it is taken; must not throw. Default nobody, and then steps cost nothing. */
  readonly onStep?: (step: FindStep) => void
}

/** What this node has called before, and a find that covered everything did not bring. */
export interface Missing {
  /** `<PeerId>/<name>` */
  readonly agent: string
  readonly kind: CapabilityKind
  readonly name: string
  /** `gone`: nobody offers it; `another-key`: the agent it was of is not there, and others offer it by the same names. */
  readonly reason: 'gone' | 'another-key'
  /** Ids of those others; at most 8. They were not called before. */
  readonly others: readonly string[]
}

export interface FindSummary {
  /** True when every source was asked to its end within the time: nothing reachable is missing. */
  readonly complete: boolean
  readonly count: number
  /** How many agents probably offer a match, those that were found included. */
  readonly estimate: number
  /** What was called before and should have been found; unset when there is nothing of the kind. */
  readonly missing?: readonly Missing[]
}

/** Results as they are found, best known first; each capability of an agent once. */
export interface FindResults extends AsyncIterable<Found> {
  /** Resolves when the iteration has ended. */
  readonly summary: Promise<FindSummary>
}

export interface Discovery {
  start(): Promise<void>
  /** Withdraws what was announced. */
  stop(): Promise<void>
  /** @throws {MeshError} INVALID_ARGUMENT at once for a bad range, glob or tag */
  find(options: FindOptions): FindResults
  /** What is there now as `added`, then every change until the signal. */
  watch(options: Query & { signal: AbortSignal }): AsyncIterable<Change>
  /** To be called after every change of a local record. */
  announce(name: string): Promise<void>
  retract(name: string): Promise<void>
  /** The verified, unexpired record of one agent, if this node has it already; the same object until it changes. */
  known(agentId: string): SignedRecord | undefined
  /**
   * The verified record of one agent, from the cache or its owner.
   *
   * @throws {MeshError} NOT_FOUND, UNREACHABLE, TIMEOUT, INVALID_RECORD
   */
  resolve(agentId: string, options: { signal: AbortSignal }): Promise<SignedRecord>
  /** Records known by an agent's short name, of any peer; from the cache, then from connected peers. */
  named(name: string, options: { signal: AbortSignal }): Promise<readonly SignedRecord[]>
  /** Records of other nodes in the cache. */
  readonly size: number
  /** Records and hints that were refused since the start, by reason: `forged`, `expired`, `rolled-back`, … */
  refused(): Readonly<Record<string, number>>
  status(): DiscoveryStatus
}

/** What is in force, and what finding and publishing took since the start. */
export interface DiscoveryStatus {
  /** Whether everybody's hints are gossiped on one topic. */
  readonly catalogue: 'on' | 'off'
  /** How many nodes there are, as the walks of this one tell; unset before the first. */
  readonly nodes?: number
  readonly finds: number
  /** Finds that the DHT was walked for. */
  readonly walkedFinds: number
  /** Messages that finds sent to holders. */
  readonly messages: number
  /** Owners that finds asked for what somebody else had told. */
  readonly candidates: number
  /** Of those, the ones that confirmed nothing. */
  readonly falseCandidates: number
  /** Hints and provider records that holders took from this node. */
  readonly published: number
  /** What this node has called before and a whole find didn't bring. */
  readonly missed: number
}

/** A capability that this node has called before. */
export interface Pinned {
  /** `<PeerId>/<name>` */
  readonly agent: string
  readonly kind: CapabilityKind
  readonly name: string
}

export interface DiscoveryComponents {
  readonly identity: Identity
  readonly registry: Registry
  readonly network: Network
  readonly rpc: Rpc
  /** Decides `record.read` on `agent:<name>` for each caller; without it the audience alone decides. */
  readonly policy?: Policy
  /** Whether a peer may see more than what is announced: it is told when that changes. Default: none may. */
  readonly isKnown?: (peer: string) => boolean
  /** Told of a peer that broke a protocol; default nobody. */
  readonly onBroken?: (peer: string, reason: string) => void
  readonly emit: Emit
  /** How an agent is, by its id, for the order of results; default nobody knows. */
  readonly healthOf?: (agentId: string) => HealthState
  /** How far a peer is trusted, for the order of results; default nobody is known. */
  readonly trustOf?: (peer: string) => TrustLevel
  /** What this node has called before, which must not go missing unnoticed; default nothing. */
  readonly pinned?: () => Iterable<Pinned>
  /** 0 ≤ x < 1, for jitter and choice; default `Math.random`. */
  readonly random?: () => number
  /** Tells of `peer:join` and `peer:leave`. @returns how to stop listening */
  readonly on: <K extends MeshEventName>(event: K, listener: (detail: MeshEvents[K]) => void) => () => void
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly clock?: () => number
}

export interface DiscoveryInit {
  /** How long after its start a node that has no answer yet waits for its first peers, milliseconds; default 1,500. */
  readonly settleMs?: number
  /** Nodes up to which everybody's hints are gossiped on one topic, which is left above a third more; 0 for never. Default 1,500. */
  readonly catalogueNodes?: number
}

/** Makes the discovery of a node; it does nothing before `start`. */
export function createDiscovery(components: DiscoveryComponents, init: DiscoveryInit = {}): Discovery {
  return new MeshDiscovery(components, init)
}
