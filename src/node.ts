import type { Discovery, FindOptions, FindResults, Change } from './discovery/index.ts'
import type { AgentState, Driver } from './drivers/index.ts'
import type { MeshEventName, MeshEvents } from './events.ts'
import type { Caller } from './auth/index.ts'
import type { NetworkStatus, PeerInfo } from './network/index.ts'
import type { AgentDefinition, CapabilityDefinition } from './registry/index.ts'
import type { CapabilityKind, Query, SignedRecord } from './registry/messages.ts'

/** Answers a call: returns a value, a promise of one, or yields items. */
export type Handler = (input: unknown, context: { caller: Caller; signal: AbortSignal }) => unknown

/** A capability that is a function of this process. */
export interface FunctionCapability extends Omit<CapabilityDefinition, 'kind' | 'version'> {
  /** Default `tool`. */
  readonly kind?: CapabilityKind
  /** Default: the agent's version. */
  readonly version?: string
  readonly handler: Handler
}

export interface AgentInit {
  readonly name: string
  readonly description?: string
  /** Semver; default `1.0.0`. Drivers that ask their agent ignore it. */
  readonly version?: string
  readonly tags?: readonly string[]
  /** Who may see the record: everybody (default), or paired peers only. */
  readonly audience?: AgentDefinition['audience']
  /** Who may call it: writes a policy rule. Default nobody but the owner. */
  readonly allow?: 'any' | readonly string[]
  /** Functions of this process; then `driver` is `function`. */
  readonly capabilities?: readonly FunctionCapability[]
  /** The driver's kind, with its `config`, for everything else. */
  readonly driver?: string
  readonly config?: unknown
}

/** What to change; absent fields stay. */
export type AgentPatch = Partial<Omit<AgentInit, 'name' | 'version'>>

/** An agent of this node, as its owner sees it. */
export interface LocalAgent {
  /** `<PeerId>/<name>` */
  readonly id: string
  readonly definition: AgentDefinition
  readonly state: AgentState
  /** Why it is down. */
  readonly reason?: string
  /** Its current record; unset while it has never been up. */
  readonly record?: SignedRecord
}

export interface Agents {
  /** In order of their names; `query` narrows it. @throws {MeshError} INVALID_ARGUMENT */
  list(query?: Query): readonly LocalAgent[]
  /** By name, `@name` or id; undefined when this node has no such agent. */
  get(name: string): LocalAgent | undefined
  /**
   * Adds an agent, connects it and advertises it. Kept across restarts, functions excepted.
   *
   * @returns the agent, up
   * @throws {MeshError} ALREADY_EXISTS, INVALID_ARGUMENT, INVALID_SCHEMA, AGENT_UNAVAILABLE; nothing is kept then
   */
  add(init: AgentInit): Promise<LocalAgent>
  /** @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT, AGENT_UNAVAILABLE; the agent is as before then */
  update(name: string, patch: AgentPatch): Promise<LocalAgent>
  /** Stops it, withdraws its record and its `allow` rule. @throws {MeshError} NOT_FOUND */
  remove(name: string): Promise<void>
}

export interface CallOptions {
  readonly signal?: AbortSignal
  /** Default 30,000. */
  readonly timeoutMs?: number
  /** When the agent has several of the name. */
  readonly kind?: CapabilityKind
  /** Semver range that the capability must be in. */
  readonly version?: string
}

export interface NodeStatus extends NetworkStatus {
  readonly peerId: string
  readonly did: string
  readonly name: string
  readonly home?: string
  /** Of the package. */
  readonly version: string
  /** RFC 3339. */
  readonly startedAt: string
  readonly peers: number
  readonly agents: number
  /** Records of other nodes in the cache. */
  readonly records: number
  /** What was refused since the start, by reason. */
  readonly refused: Readonly<Record<string, number>>
}

/** Called with each event as it happens; must not throw. */
export type MeshListener<K extends MeshEventName> = (detail: MeshEvents[K], event: K) => void

/** One node of the mesh. */
export interface Node {
  /** PeerId as text. */
  readonly id: string
  readonly did: string
  readonly name: string
  readonly home: string | undefined
  /** Where others reach it, each with `/p2p/<PeerId>`. Empty until started. */
  readonly addresses: readonly string[]
  readonly agents: Agents
  start(): Promise<void>
  /** Withdraws records, ends calls and agents, writes what is queued. */
  stop(): Promise<void>
  status(): NodeStatus
  peers(): readonly PeerInfo[]
  /** Dials a multiaddr and keeps that peer. @returns its PeerId @throws {MeshError} INVALID_ARGUMENT, UNREACHABLE, TIMEOUT */
  connect(address: string, options?: { signal?: AbortSignal }): Promise<string>
  find(options?: FindOptions): FindResults
  watch(options: Query & { signal: AbortSignal }): AsyncIterable<Change>
  /** The verified record of any agent. @param target as in {@link call} @throws {MeshError} NOT_FOUND, AMBIGUOUS, UNREACHABLE */
  resolve(target: string, options?: { signal?: AbortSignal }): Promise<SignedRecord>
  /**
   * Calls a capability and waits for its result; the items of one that streams come as an array.
   *
   * @param target agent id, `@name` or `@name@peer`
   * @throws {MeshError} FORBIDDEN, NOT_FOUND, AMBIGUOUS, INVALID_INPUT, INVALID_OUTPUT, AGENT_ERROR, AGENT_UNAVAILABLE, UNREACHABLE, CONNECTION_LOST, TIMEOUT, CANCELLED
   */
  call(target: string, capability: string, input?: unknown, options?: CallOptions): Promise<unknown>
  /** As {@link call}, yielding items as they come; leaving the loop cancels. A plain result is the only item. */
  stream(target: string, capability: string, input?: unknown, options?: CallOptions): AsyncIterable<unknown>
  /** Listens to one kind of event, or to all with `*`. @returns how to stop listening */
  on<K extends MeshEventName>(event: K | '*', listener: MeshListener<K>): () => void
}

export interface NodeInit {
  /** Where the node keeps its key, database and policy. Without one it is a new node each time and keeps nothing. */
  readonly home?: string
  /** What it calls itself; default the host's name. 1 to 64 characters. */
  readonly name?: string
  /** Multiaddrs; default every interface, TCP and WebSocket, a free port (kept across restarts). Only loopback when `lan` is false. */
  readonly listen?: readonly string[]
  /** Peers to join by, redialled for ever. */
  readonly bootstrap?: readonly string[]
  /** Find and be found on the local network by mDNS; default true. */
  readonly lan?: boolean
  /** The owner's own drivers, beside the built-in ones. */
  readonly drivers?: readonly Driver[]
}

export type { Discovery }
