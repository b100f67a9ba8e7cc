/**
 * May they: the owner's rules (deny over ask over allow, default deny), their limits, and the audit of every decision.
 *
 * What rules say of a caller, action and resource is worked out once and kept until the rules or the caller change; what
 * depends on the moment (time windows, sizes, expiry) is looked at each time.
 *
 * Spec: protocols/policy/README.md
 *
 * @packageDocumentation
 * @example
 * const audit = await openAuditLog({ path: join(home, 'audit.log') })
 * const policy = await openPolicy({ path: join(home, 'policy.json'), store, audit })
 * const request = { caller, action: 'tool.call', resource: 'tool:fs/read_file', facts: { effects: 'read', tags: [] } }
 * const decision = policy.decide(request)
 * if (decision.effect === 'deny') throw new MeshError('FORBIDDEN', decision.reason)
 * const reservation = await policy.reserve(decision, request)
 * reservation?.settle({ bytes: 812 })
 */
import type { Caller } from '../auth/index.ts'
import type { MeshError } from '../errors.ts'
import type { Store } from '../store/index.ts'
import type { Effect, PolicyDocument, Remember, Rule } from './messages.ts'

export { openAuditLog } from './audit.ts'
export { type AuditRow, readAuditLog } from './audit-read.ts'
export { verifyAuditLog } from './audit-verify.ts'
export { ACTIONS } from './constants.ts'
export { compileGlob } from './glob.ts'
export { policyMigrations } from './limits.ts'
export {
  type Conditions,
  type Effect,
  type Limit,
  type PolicyDocument,
  policyDocument,
  type Remember,
  type Rule,
  type TimeWindow
} from './messages.ts'
export { openPolicy } from './policy.ts'
export { checkPolicy, type PolicyTestResult, type PolicyTests, readPolicyTests, testPolicy } from './testing.ts'

/** One question to the policy. The caller must be the same object for the same standing: verdicts are kept by it. */
export interface PolicyRequest {
  readonly caller: Caller
  /** What is to be done, one of those in protocols/policy/README.md. */
  readonly action: string
  /** What it is done to: `<kind>:<agent>/<capability>`, `agent:<agent>`. */
  readonly resource: string
  readonly facts?: Facts
}

/** What rules may ask about a request, beyond who, what and when. A condition on a missing fact fails closed. */
export interface Facts {
  readonly effects?: 'none' | 'read' | 'write' | 'external'
  readonly tags?: readonly string[]
  /** Size of the input as JSON; asked for only when a rule that fits has to know. */
  readonly bytes?: () => number
}

/** The answer. */
export interface Decision {
  readonly effect: Effect
  /** Ids of all rules that made it, in their alphabetical order; empty when no rule matched, which denies. */
  readonly rules: readonly string[]
  /**
   * One sentence, fit for the remote caller too: which rule denied, or that none allows and by which command the owner
   * would allow it. Printable ASCII, bounded.
   */
  readonly reason: string
  /** The allowing or asking rules with limits, for {@link Policy.reserve}; unset when there are none. */
  readonly limited?: readonly Rule[]
  /** Of `ask`: how the request is to be made, the shortest ttl of the asking rules and what all of them let be remembered. */
  readonly ask?: { readonly ttlMs: number; readonly remember: readonly Remember[] }
  /** Scopes that would have let a rule allow it, of a denied or asking decision; at most 16. */
  readonly missingScopes?: readonly string[]
}

/** What a call has taken from limits; to be settled once it is over. */
export interface Reservation {
  /** Ends the concurrency, adds what only the end tells: bytes of the output and cost. Only the first time counts. */
  settle(spent: { readonly bytes?: number; readonly cost?: number }): void
  /** Gives back everything: nothing was started. */
  cancel(): void
}

/** How a decision comes about, rule by rule. */
export interface Explanation {
  readonly decision: Decision
  readonly trace: readonly {
    readonly rule: Rule
    readonly matched: boolean
    /** The first part that didn't fit, `when.time` and the like. */
    readonly failed?: string
    /** Use of its limits by this caller, `calls 3 of 100 until 2026-…`. */
    readonly limits?: readonly string[]
  }[]
}

export interface Policy {
  readonly document: PolicyDocument
  /** What is wrong with the file on disk, while the last good rules stay in force. */
  readonly problem: MeshError | undefined
  /** Decides and audits; at most a few microseconds, one once the caller has asked the same before. Never throws. */
  decide(request: PolicyRequest): Decision
  /** As {@link decide}, without audit: for showing and hiding. */
  judge(request: PolicyRequest): Decision
  /**
   * Takes the call from the limits of `decision.limited`. The owner's own calls are never limited. Limits over a minute
   * or more are on disk when this resolves.
   *
   * @returns undefined when there is nothing to settle
   * @throws {MeshError} LIMIT_EXCEEDED with `data: { rule, limit, retryAfterMs }`, IO when a lasting limit can't be written
   */
  reserve(decision: Decision, request: PolicyRequest): Reservation | undefined | Promise<Reservation | undefined>
  /** As {@link decide} without audit or limits, with every rule looked at. */
  explain(request: PolicyRequest): Explanation
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
  /** Ends watching the file and writes what limits have counted. */
  stop(): Promise<void>
}

export interface PolicyInit {
  /**
   * `policy.json`; made when missing, with the rules of {@link INITIAL_DOCUMENT}; read again whenever it changes. A file
   * `policy.shadow.json` beside it is evaluated and logged only. Without a path the same rules are kept in memory.
   */
  readonly path?: string
  /** Keeps what limits have counted, with `policyMigrations`; without one it is forgotten at the end of the process. */
  readonly store?: Store
  /** Gets a row for each decision; default none. */
  readonly audit?: AuditLog
  /** Told each time the file was read anew: with what is wrong, or undefined when its rules are in force. */
  readonly onReload?: (problem: MeshError | undefined) => void
  /** Told when a limit stops a caller. */
  readonly onLimit?: (caller: Caller, rule: string) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
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
