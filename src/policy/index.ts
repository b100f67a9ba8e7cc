/**
 * May they: the owner's rules, deny over allow, default deny, and the audit of every decision.
 *
 * @packageDocumentation
 * @example
 * const policy = await openPolicy({ path: join(home, 'policy.json') })
 * const decision = policy.decide({ caller, action: 'tool.call', resource: 'tool:fs/read_file' })
 */
import type { Caller } from '../auth/index.ts'

/** One question to the policy. The caller must be the same object for the same connection: verdicts are cached on it. */
export interface PolicyRequest {
  readonly caller: Caller
  /** What is to be done: `tool.call`, `skill.call`, `model.call`, `record.read`. */
  readonly action: string
  /** What it is done to: `tool:<agent>/<capability>`, `agent:<agent>`. */
  readonly resource: string
}

export type Effect = 'allow' | 'deny'

export interface Decision {
  readonly effect: Effect
  /** Ids of the rules that made it; empty when no rule matched, which denies. */
  readonly rules: readonly string[]
  /** One sentence, fit for the remote caller too: which rule denied, or that none allows. */
  readonly reason: string
}

export interface Rule {
  readonly id: string
  readonly effect: Effect
  /** `*`, a PeerId, or `level:<trust level>`; a list means any of them. */
  readonly who: string | readonly string[]
  /** Glob over actions; `*` stands for any run of characters, nothing else is special. */
  readonly act: string | readonly string[]
  /** Glob over resources. */
  readonly res: string | readonly string[]
}

export interface PolicyDocument {
  readonly v: 1
  readonly rules: readonly Rule[]
}

export interface Policy {
  readonly document: PolicyDocument
  /** Decides and audits; at most a microsecond once the caller has asked the same before. Never throws. */
  decide(request: PolicyRequest): Decision
  /**
   * Writes rules into the policy file, replacing those of the same id, and applies them at once.
   *
   * @throws {MeshError} INVALID_CONFIG when the file on disk has been broken meanwhile; nothing changes then
   */
  put(rules: readonly Rule[]): Promise<void>
  /** Removes rules by id; ids that don't exist are ignored. */
  remove(ids: readonly string[]): Promise<void>
}

/** Where decisions go: an append-only, hash-chained log. */
export interface AuditLog {
  /** Queues one row; returns at once, written in batches off the path. `row` is JSON text without the time, `{"peer":…}`. */
  append(row: string): void
  /** Writes what is queued and closes the file. */
  close(): Promise<void>
}
