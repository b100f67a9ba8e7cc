/**
 * The agents of this node and their signed records: create, read, update, delete, query, sign, verify.
 *
 * Spec: protocols/records/1.0.0/README.md
 *
 * @packageDocumentation
 */
import type { AgentRecord, Capability, CapabilityKind, Query, SignedRecord } from './messages.ts'

export * from './constants.ts'

/** A local agent as its owner defined it; what `agents add` stores. */
export interface AgentDefinition {
  /** One path segment: lower-case letters, digits, `.`, `_`, `-`; 1 to 64 characters. */
  readonly name: string
  /** The kind of driver: `function`, `module`, `mcp-stdio`, `mcp-http`, or one given to `createNode`. */
  readonly driver: string
  /** What the driver needs to connect; JSON. */
  readonly config: unknown
  readonly description?: string
  readonly tags: readonly string[]
  readonly audience: AgentRecord['audience']
}

/** What a driver says of a connected agent. */
export interface AgentDescription {
  readonly description?: string
  /** Semver. */
  readonly version: string
  readonly capabilities: readonly CapabilityDefinition[]
}

/** A capability without what the registry adds. */
export interface CapabilityDefinition {
  readonly kind: CapabilityKind
  readonly name: string
  readonly version: string
  readonly description?: string
  readonly input?: Capability['input']
  readonly output?: Capability['output']
  /** Default false. */
  readonly streaming?: boolean
  /** Default `external`: nothing is known. */
  readonly effects?: Capability['effects']
  readonly tags?: readonly string[]
}

export interface Registry {
  /** Definitions in order of their names. */
  definitions(): readonly AgentDefinition[]
  definition(name: string): AgentDefinition | undefined
  /**
   * Stores a definition, new or changed. Not stored for the `function` driver: functions don't outlive the process.
   *
   * @throws {MeshError} INVALID_ARGUMENT when a name, tag or audience is not valid, BUSY at MAX_AGENTS
   */
  define(definition: AgentDefinition): Promise<void>
  /** Deletes the definition and its record; undefined when there was none. */
  remove(name: string): Promise<AgentDefinition | undefined>
  /**
   * Signs a record of what the agent offers now. The same offer again keeps the record, unless it is due for renewal.
   *
   * @throws {MeshError} INVALID_ARGUMENT or INVALID_SCHEMA when the description can't be published
   */
  publish(name: string, description: AgentDescription): Promise<SignedRecord>
  /** The agent is not offered now; its seq is kept for the next {@link publish}. */
  withdraw(name: string): void
  /** The current record of a local agent, if it is offered. */
  record(name: string): SignedRecord | undefined
  /** Current records with at least one match. Audience is the caller's business. */
  records(query: Query): readonly SignedRecord[]
  /** Signs again what is due; the node calls it on a timer. Returns the names renewed. */
  renew(): Promise<readonly string[]>
}
