/**
 * The agents of this node and their signed records: create, read, update, delete, query, sign, verify.
 *
 * Spec: protocols/records/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const registry = createRegistry({ store, identity, checkSchema })
 * await registry.define({ name: 'fs', driver: 'mcp-stdio', config: { command }, tags: [], audience: 'public' })
 * const { jws } = await registry.publish('fs', { version: '1.0.0', capabilities })
 * const { record } = await readRecord(jws, { now: Date.now() })
 * const matches = matchRecord(record, compileQuery({ kind: 'tool', version: '^1.0.0' }))
 */
import type { MeshError } from '../errors.ts'
import type { AvailabilityWindow } from './availability.ts'
import type { AgentRecord, Capability, CapabilityKind, Query, SignedRecord } from './messages.ts'

export { type Availability, type AvailabilityWindow, compileAvailability } from './availability.ts'
export * from './constants.ts'
export type { CheckSchema } from './offer.ts'
export { compileQuery, matchRecord } from './query.ts'
export { capabilityDigest, readRecord } from './record.ts'
export { createRegistry, type RegistryInit, registryMigrations } from './registry.ts'

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
  /** When it is there; default, and with no window, always. Outside of it the agent sleeps: it isn't called, and its messages wait. */
  readonly availability?: readonly AvailabilityWindow[]
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

/** A capability that its agent offers and its record leaves out. */
export interface RefusedCapability {
  readonly kind: CapabilityKind
  readonly name: string
  /** INVALID_ARGUMENT, INVALID_MESSAGE, INVALID_SCHEMA, or TOO_LARGE beyond MAX_CAPABILITIES. */
  readonly error: MeshError
}

export interface Registry {
  /** Definitions in order of their names. */
  definitions(): readonly AgentDefinition[]
  definition(name: string): AgentDefinition | undefined
  /**
   * Stores a definition, new or changed. Not stored for the `function` driver: functions don't outlive the process.
   *
   * @throws {MeshError} INVALID_ARGUMENT when a name, tag or audience is not valid, BUSY at MAX_AGENTS, or as many that dial in as may, IO
   */
  define(definition: AgentDefinition): Promise<void>
  /** Deletes the definition and its record; undefined when there was none. @throws {MeshError} IO */
  remove(name: string): Promise<AgentDefinition | undefined>
  /**
   * Signs a record of what the agent offers now. The same offer again keeps the record, unless it is due for renewal.
   *
   * Descriptions lose the characters that can't be seen (controls, zero-width, direction marks, tags) and what is beyond
   * MAX_DESCRIPTION_LENGTH. A capability that can't be published, or that comes twice, is left out: see {@link refused}.
   *
   * @throws {MeshError} NOT_FOUND when it isn't defined, INVALID_ARGUMENT when its version is not semver, TOO_LARGE when the
   * record would be larger than MAX_RECORD_BYTES, IO; the record is as before then
   */
  publish(name: string, description: AgentDescription): Promise<SignedRecord>
  /** What the current record leaves out of what the agent offers, and why. */
  refused(name: string): readonly RefusedCapability[]
  /** The agent is not offered now; its seq is kept for the next {@link publish}. */
  withdraw(name: string): void
  /** The current record of a local agent, if it is offered. */
  record(name: string): SignedRecord | undefined
  /** Current records with at least one match, in order of their names. Audience is the caller's business. @throws {MeshError} INVALID_ARGUMENT */
  records(query: Query): readonly SignedRecord[]
  /** Signs again what is due; the node calls it on a timer. Returns the names renewed. @throws {MeshError} IO */
  renew(): Promise<readonly string[]>
}
