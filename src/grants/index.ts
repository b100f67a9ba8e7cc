/**
 * Grants: signed, expiring, narrowing rights, bound to their holder's key.
 *
 * The owner of a resource issues them; a holder may pass on a narrower one. They are verified offline; uses are counted by
 * the resource's owner only. A grant answers what policy asks or leaves open; it never overrides a rule that denies.
 *
 * Spec: protocols/permission/1.0.0/grants.md
 *
 * @packageDocumentation
 * @example
 * const grants = await createGrants({ identity, store, emit })
 * const grant = await grants.issue({ holder: peer, act: 'tool.call', res: 'tool:fs/read_file', uses: 100, forMs: 3_600_000 })
 * const use = grants.find({ caller, session, action: 'tool.call', resource: 'tool:fs/read_file' })
 * if (use !== undefined) await use.take()
 */
import type { Caller, Session } from '../auth/index.ts'
import type { Emit } from '../events.ts'
import type { Identity } from '../identity/index.ts'
import type { Store } from '../store/index.ts'

export * from './constants.ts'
export { createGrants, grantsMigrations } from './grants.ts'

/** What a grant lets its holder do. */
export interface GrantTerms {
  /** Glob over actions, as in a policy rule. */
  readonly act: string
  /** Glob over resources of the issuer, as in a policy rule. */
  readonly res: string
  /** Milliseconds since 1970; absent: until revoked, or unused for 30 days. */
  readonly expiresAt?: number
  /** Calls in all, with those of whoever it was passed on to; absent: any number. */
  readonly uses?: number
  /** How often it may be passed on; default 0. 0 to MAX_DEPTH. */
  readonly depth?: number
  /** Only for this very input: base64url SHA-256 of its canonical JSON. */
  readonly input?: string
  /** Only while the capability is defined like this: its digest. */
  readonly digest?: string
}

export interface Grant extends GrantTerms {
  /** Unique; what is revoked. */
  readonly id: string
  /** PeerId of who made it; the resource's owner for the first of a chain. */
  readonly issuer: string
  /** PeerId of who may use it. */
  readonly holder: string
  /** PeerId whose resource it is about. */
  readonly owner: string
  readonly issuedAt: number
  /**
   * Grants it was narrowed from, the owner's first, with itself last: compact JWS each, at most MAX_CHAIN. Empty for one
   * that is bound to a connection: it is never sent.
   */
  readonly chain: readonly string[]
  /** `issued` here, `held` by this node, or `presented` by a caller. */
  readonly role: 'issued' | 'held' | 'presented'
  /** Of this node's resources: calls so far. */
  readonly used?: number
  /** RFC 3339. */
  readonly lastUsedAt?: string
  readonly state: 'valid' | 'expired' | 'used-up' | 'unused' | 'revoked'
}

/** What somebody wants to do. */
export interface GrantQuestion {
  readonly caller: Caller
  readonly session: Session
  readonly action: string
  readonly resource: string
  /** Digest of the input, asked for only when a grant is bound to one. */
  readonly input?: () => string
  /** Digest of the capability's definition. */
  readonly digest?: string
}

/** A grant that fits. */
export interface GrantUse {
  readonly grant: Grant
  /** Counts one use of it and of all that it came from; on disk when it resolves, where uses are limited. @returns false when another was faster */
  take(): Promise<boolean>
  /** Gives the use back: nothing was started. */
  giveBack(): Promise<void>
  /** Whether what was begun by it may be gone on with on another connection: it is in force, or its last use was this one. */
  holds(): boolean
}

export interface Grants {
  /** The best grant for it, without uses limit before one with; from memory. */
  find(question: GrantQuestion): GrantUse | undefined
  /**
   * Makes a grant for this node's resources; on disk when it resolves.
   *
   * @param terms `session` binds it to the connections of that peer: it is kept in memory only, until the last of them ends, and `depth` is 0
   * @throws {MeshError} INVALID_ARGUMENT, BUSY at MAX_GRANTS, MAX_GRANTS_PER_HOLDER or MAX_SESSION_GRANTS, IO
   */
  issue(terms: GrantTerms & { holder: string; session?: Session }): Promise<Grant>
  /**
   * Passes a held grant on, narrower.
   *
   * @param terms what is left out stays as it is; `depth` is 0 then
   * @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT when it has ended, is wider in anything or `depth` is used up; BUSY, IO
   */
  delegate(id: string, holder: string, terms: Partial<GrantTerms>): Promise<Grant>
  /** Keeps a chain that this node is the holder of. @throws {MeshError} UNAUTHENTICATED with the reason as data, BUSY at MAX_HELD, IO */
  keep(chain: readonly string[]): Promise<Grant>
  /**
   * Checks a chain that a caller presents, for this node's resources, and keeps it for the session; MAX_PRESENTED at most.
   *
   * @throws {MeshError} UNAUTHENTICATED with the reason as data, BUSY
   */
  present(session: Session, chain: readonly string[]): Promise<Grant>
  /** Held grants to present to this peer: passed on by others. Asked before each call, so it costs nothing when there are none. */
  toPresent(owner: string): readonly Grant[]
  /** Whether a held grant was issued by this peer, or is about its resources: its revocations matter here. */
  dependsOn(peer: string): boolean
  /** Whether this node has passed on a grant over this peer's resources, and revoked it. */
  hasRevokedOver(owner: string): boolean
  /** By role, newest first. */
  list(): readonly Grant[]
  get(id: string): Grant | undefined
  /** Ends a grant that this node issued and all that came from it; on disk when it resolves. @throws {MeshError} NOT_FOUND, FORBIDDEN when another issued it, IO */
  revoke(id: string): Promise<Grant>
  /** Ends all of a peer's: it was blocked. @returns how many */
  revokeHolder(peer: string): Promise<number>
  /** This node's signed list of revoked ids that have not expired: a JWS of type `mesh-revocations+jws`. */
  revocations(): Promise<string>
  /** Takes another issuer's list, pushed or pulled; held and presented grants on it end. @throws {MeshError} INVALID_RECORD when forged or older than the last; BUSY, IO */
  learnRevocations(jws: string): Promise<void>
  /** Told what was revoked here: to push it. @returns how to stop listening */
  onRevoke(listener: (grant: Grant) => void): () => void
}

export interface GrantsInit {
  readonly identity: Identity
  readonly store: Store
  readonly emit: Emit
  /** Who is given nothing, and whose links no chain may have, for as long as it says so. Default nobody. */
  readonly isBlocked?: (peer: string) => boolean
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
