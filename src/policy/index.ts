/**
 * May they: the owner's rules, deny over allow, default deny, and the audit of every decision.
 *
 * A verdict is reached once per caller, action and resource and kept until the rules change; a caller is one object per
 * connection, so a call costs a look-up and an audit row.
 *
 * @packageDocumentation
 * @example
 * const audit = await openAuditLog({ path: join(home, 'audit.log') })
 * const policy = await openPolicy({ path: join(home, 'policy.json'), audit })
 * const decision = policy.decide({ caller, action: 'tool.call', resource: 'tool:fs/read_file' })
 * if (decision.effect === 'deny') throw new MeshError('FORBIDDEN', decision.reason)
 */
import type { Caller } from '../auth/index.ts'
import type { MeshError } from '../errors.ts'
import type { Effect, PolicyDocument, Rule } from './messages.ts'

export { openAuditLog } from './audit.ts'
export { verifyAuditLog } from './audit-verify.ts'
export { ACTIONS } from './constants.ts'
export { compileGlob } from './glob.ts'
export { type Effect, type PolicyDocument, policyDocument, type Rule } from './messages.ts'
export { openPolicy } from './policy.ts'

/** One question to the policy. The caller must be the same object for the same connection: verdicts are cached on it. */
export interface PolicyRequest {
  readonly caller: Caller
  /** What is to be done: `tool.call`, `skill.call`, `model.call`, `record.read`. */
  readonly action: string
  /** What it is done to: `tool:<agent>/<capability>`, `agent:<agent>`. */
  readonly resource: string
}

/** The same object for the same question until the rules change. */
export interface Decision {
  readonly effect: Effect
  /** Ids of all rules that made it, in their alphabetical order; empty when no rule matched, which denies. */
  readonly rules: readonly string[]
  /**
   * One sentence, fit for the remote caller too: which rule denied, or that none allows and by which command the owner
   * would allow it. Printable ASCII, bounded.
   */
  readonly reason: string
}

export interface Policy {
  readonly document: PolicyDocument
  /** Decides and audits; at most a microsecond once the caller has asked the same before. Never throws. */
  decide(request: PolicyRequest): Decision
  /**
   * Writes rules into the policy file, replacing those of the same id, and applies them at once, together with what the
   * owner has edited meanwhile.
   *
   * @throws {MeshError} INVALID_ARGUMENT for a rule that isn't one, INVALID_CONFIG when the file on disk has been broken
   *   meanwhile, IO when it can't be written; nothing changes then
   */
  put(rules: readonly Rule[]): Promise<void>
  /** Removes rules by id; ids that don't exist are ignored. @throws {MeshError} INVALID_CONFIG, IO as {@link put} */
  remove(ids: readonly string[]): Promise<void>
}

export interface PolicyInit {
  /**
   * `policy.json`; made when missing, with two rules: the owner may do everything, everybody may read records. Without a
   * path the same rules are kept in memory.
   */
  readonly path?: string
  /** Gets a row for each decision; default none. */
  readonly audit?: AuditLog
}

/** Where decisions go: an append-only, hash-chained log. */
export interface AuditLog {
  /**
   * Queues one row; returns at once, never throws. Written within about 100 ms, off the path; dropped, and counted in the
   * log, when the disk has not kept up for 64 MiB.
   *
   * @param row JSON text of an object without the time, `{"peer":…}`, no line breaks
   */
  append(row: string): void
  /** Writes what is queued and closes the file; gives up on a disk that refuses. */
  close(): Promise<void>
}

export interface AuditLogInit {
  /** The current file; full ones lie beside it as `<path>.000001`, … in order. Without a path nothing is kept. */
  readonly path?: string
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** Called once when the disk refuses, and again only after it has worked in between; must not throw. */
  readonly onError?: (err: MeshError) => void
  /** The log moves to a new file at this size, in bytes; default 64 MiB. */
  readonly maxFileBytes?: number
}

/** What {@link verifyAuditLog} found. */
export interface AuditReport {
  /** True when every row fits the chain. */
  readonly ok: boolean
  /** Rows vouched for by the chain, up to the first break. */
  readonly rows: number
  /** The chain's last value; keep it elsewhere to notice later that the log's end was cut off or all of it rewritten. */
  readonly chain: string
  /** The first chain row that doesn't fit: something before it, since the one before that, was changed. */
  readonly brokenAt?: { readonly file: string; readonly line: number }
  /** Bytes after the last chain row: a batch that was being written when the process was killed, or is just now. */
  readonly tornBytes: number
}
