/**
 * How the agents of this node and its peers are: by probes, by the calls that go their way, and by the hours they keep.
 *
 * Agents that are down are withdrawn from discovery, and found again when they are up. Nobody waits for a probe.
 *
 * Spec: protocols/status/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const health = createHealth({ self, registry, host, rpc, policy, network, emit, on, announce, version })
 * await health.start()
 * health.of('calculator') // { state: 'degraded', reason: '12 % of the last 40 calls failed', … }
 */
import type { Host } from '../drivers/index.ts'
import type { Emit, Events } from '../events.ts'
import type { Network } from '../network/index.ts'
import type { Policy } from '../policy/index.ts'
import type { AvailabilityWindow, Registry } from '../registry/index.ts'
import type { RequestOptions, Rpc } from '../rpc/index.ts'
import type { StatusInfo } from './messages.ts'

export * from './constants.ts'
export { createHealth } from './health.ts'
export type { StatusInfo } from './messages.ts'

/** `sleeping`: outside of the hours in which the agent is there. `unknown`: not asked yet. */
export const HEALTH_STATES = ['up', 'degraded', 'down', 'sleeping', 'unknown'] as const
export type HealthState = (typeof HEALTH_STATES)[number]

/** How an agent or a peer is. */
export interface HealthReport {
  readonly kind: 'agent' | 'peer'
  /** `<PeerId>/<name>`, or PeerId. */
  readonly id: string
  readonly state: HealthState
  /** RFC 3339, when the state began. */
  readonly since: string
  /** Why it isn't up, for the owner: of an agent that is down it may quote what its process printed. */
  readonly reason?: string
  /** The last time it was asked, and how long the answer took. */
  readonly lastProbe?: { readonly at: string; readonly ms: number; readonly ok: boolean }
  /** Share of failed ones among the calls of the last five minutes, 0 to 1. */
  readonly errorRate: number
  /** Milliseconds that half of these calls took at most, and 95 of 100; of a peer: that answers to a ping took. */
  readonly p50?: number
  readonly p95?: number
  /** How many calls that were. */
  readonly calls: number
  /** The hours it keeps, if it keeps any. */
  readonly availability?: {
    readonly windows: readonly AvailabilityWindow[]
    readonly isOpen: boolean
    /** RFC 3339, when it wakes; unset while it is open. */
    readonly opensAt?: string
  }
}

export interface Health {
  /** Serves `status/1.0.0`, and probes from now on. */
  start(): Promise<void>
  stop(): void
  /** Agents of this node by name, then peers, then agents of peers that were called; reports as of now. */
  list(): readonly HealthReport[]
  /** @param id a local agent's name, `@name`, any agent's id, or a PeerId; undefined when nothing is known of it */
  of(id: string): HealthReport | undefined
  /** For ranking: the state of any agent, by its id. */
  stateOf(agentId: string): HealthState
  /** Told each time a state has changed. @returns how to stop listening */
  onChange(listener: (report: HealthReport) => void): () => void
  /** Asks a peer how it is. @throws {MeshError} FORBIDDEN, BUSY, UNREACHABLE, TIMEOUT, UNSUPPORTED_VERSION, INVALID_MESSAGE */
  info(peer: string, options?: RequestOptions): Promise<StatusInfo>
  /** Takes note of calls. */
  readonly calls: CallNotes
  /** When a sleeping local agent wakes, milliseconds since 1970; undefined when it is awake. */
  readonly asleepUntil: (agent: string) => number | undefined
  /** False while an agent has to show first that it stays up: then it isn't announced. */
  readonly mayAnnounce: (agent: string) => boolean
  /** Passes on what happens, except that an agent which came back is told of once it may be announced. */
  readonly relay: Emit
}

/** Passive evidence: at most a microsecond a call, without allocation. */
export interface CallNotes {
  /** A call of a local agent begins. @returns what {@link served} wants to know of it */
  enter(): number
  /** It is over. @param failure what it ended with, if it failed */
  served(agent: string, entered: number, failure?: unknown): void
  /** In place of {@link served} when it streams: nobody knows whether its items will be read. */
  opened(): void
  /** Of one that streams: its first item has come, or its end. @param failure as of {@link served} */
  answered(agent: string, entered: number, failure?: unknown): void
  /** A call of a peer's agent begins. */
  begin(): number
  /** It is over; of one that streams: its first item has come, or its end. @param failure as of {@link served} */
  called(peer: string, agent: string, begun: number, failure?: unknown): void
}

export interface HealthComponents {
  /** This node's PeerId. */
  readonly self: string
  /** Of the software. */
  readonly version: string
  readonly registry: Pick<Registry, 'definition' | 'definitions'>
  readonly host: Pick<Host, 'status' | 'probe' | 'lose'>
  readonly network: Pick<Network, 'isConnected' | 'peers'>
  readonly rpc: Pick<Rpc, 'handle' | 'request'>
  readonly policy: Pick<Policy, 'decide'>
  readonly emit: Emit
  readonly on: Events['on']
  /** Makes a record known. */
  readonly announce: (agent: string) => Promise<void>
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** Milliseconds of a clock that doesn't go back; default `performance.now`. */
  readonly now?: () => number
  /** Uniform in [0, 1); default `Math.random`. */
  readonly random?: () => number
}
