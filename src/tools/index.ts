/**
 * Pins of remote capabilities: what was called once must stay what it was, or be approved again.
 *
 * @packageDocumentation
 * @example
 * const pins = await createPins({ store, emit })
 * await pins.check(`${peer}/files`, capability) // pins it the first time; throws DEFINITION_CHANGED when it is another one
 */
import type { Emit } from '../events.ts'
import type { Capability, CapabilityKind } from '../registry/messages.ts'
import type { Store } from '../store/index.ts'

export * from './constants.ts'
export { diffDefinitions } from './diff.ts'
export { createPins, pinsMigrations } from './pins.ts'

/** A remote capability as it was first used, or last approved. */
export interface Pin {
  /** `<PeerId>/<agent>` */
  readonly agent: string
  readonly kind: CapabilityKind
  readonly name: string
  readonly version: string
  /** Of the definition that may be called. */
  readonly digest: string
  /** RFC 3339 */
  readonly pinnedAt: string
  /** Set while its owner publishes another definition: calls are refused. */
  readonly suspended?: {
    readonly version: string
    readonly digest: string
    readonly since: string
    /** One line each, `- old` and `+ new`, by member of the definition; control characters escaped. */
    readonly diff: readonly string[]
  }
}

/** A short name, and the id of the agent that it meant when it was first used. */
export interface ShortName {
  readonly text: string
  readonly agent: string
}

export interface Pins {
  /**
   * Checks a capability that is about to be called; from memory unless something is new.
   *
   * @throws {MeshError} DEFINITION_CHANGED with `data: { agent, kind, name, diff }`, BUSY at MAX_PINS, IO
   */
  check(agent: string, capability: Capability): Promise<void> | undefined
  /**
   * Checks what a short name has been resolved to: the agent that it meant the first time, or of a changed key.
   *
   * @param text `@name` or `@name@peer`
   * @throws {MeshError} DEFINITION_CHANGED with `data: { name, was, is }`, IO
   */
  checkName(text: string, agent: string): Promise<void> | undefined
  /** What short names mean. */
  names(): readonly ShortName[]
  /** In no order, and without being sorted first. */
  all(): Iterable<Pin>
  /** In order of agent and name; suspended ones first. */
  list(agent?: string): readonly Pin[]
  /** Approves what suspended capabilities are now. @returns those approved @throws {MeshError} NOT_FOUND when none is suspended, IO */
  approve(agent: string, name?: string): Promise<readonly Pin[]>
  /** Forgets pins of an agent, with the short names that meant it, or of a capability: the next call pins anew. @returns how many pins */
  forget(agent: string, name?: string): Promise<number>
}

export interface PinsInit {
  readonly store: Store
  readonly emit: Emit
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
