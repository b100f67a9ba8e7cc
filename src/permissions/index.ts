/**
 * Permission requests: what policy asks its owner becomes a durable question that never makes anybody wait.
 *
 * The caller gets PERMISSION_PENDING with the request's id at once, and may poll, wait or be told. The owner, an approver
 * function or a command answers; silence until the deadline denies.
 *
 * Spec: protocols/permission/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const permissions = await createPermissions({ store, identity, policy, grants, rpc, emit, standingOf, approver })
 * await permissions.permit(decision, question) // throws PERMISSION_PENDING
 * for (const { id, caller, resource } of permissions.list({ state: 'pending' })) await permissions.allow(id, { remember: 'once' })
 */
import type { Caller, Session } from '../auth/index.ts'
import type { Emit, Events } from '../events.ts'
import type { Grant, Grants, GrantUse } from '../grants/index.ts'
import type { Identity } from '../identity/index.ts'
import type { Decision, Policy } from '../policy/index.ts'
import type { Capability } from '../registry/messages.ts'
import type { RequestOptions, Rpc } from '../rpc/index.ts'
import type { Store } from '../store/index.ts'
import type { Trust } from '../trust/index.ts'

export { type AskCheck, type CheckAnswer, createAskCheck } from './check.ts'
export * from './constants.ts'
export { createPermissions } from './permissions.ts'
export { permissionsMigrations } from './rows.ts'
export { onceAllowed, streamOnceAllowed } from './waiting.ts'

/** What somebody wants to do, when policy didn't allow it by itself. */
export interface Question {
  readonly caller: Caller
  readonly session: Session
  readonly action: string
  readonly resource: string
  readonly agent: string
  /** Unset when the agent is not running: then nothing can be asked. */
  readonly capability?: Capability
  readonly input: unknown
}

/** What the owner is asked, and what became of it. */
export interface PermissionRequest {
  /** 32 hex digits, not guessable. */
  readonly id: string
  readonly state: 'pending' | 'allowed' | 'denied' | 'expired' | 'cancelled'
  /** PeerId, or the caller's name at an edge. */
  readonly peer: string
  readonly alias?: string
  readonly trust: Caller['trust']
  /** For eyes: five groups of five digits from the peer's key. */
  readonly fingerprint: string
  readonly action: string
  readonly resource: string
  /** Of a call: the exact input, cut at MAX_SHOWN_INPUT_BYTES, and its digest. */
  readonly input?: { readonly json: string; readonly bytes: number; readonly digest: string; readonly isCut: boolean }
  /** Of a request ahead: what was asked for. */
  readonly wanted?: { readonly forMs?: number; readonly uses?: number; readonly reason?: string }
  /** Digest of the capability's definition. */
  readonly digest?: string
  /** What is different in the definition since it was last allowed to this peer, one line each, `- old` and `+ new`. */
  readonly changed?: readonly string[]
  /** Rules that asked. */
  readonly rules: readonly string[]
  /** What answers are offered, from the rule. */
  readonly remember: readonly ('once' | 'session' | 'duration' | 'always')[]
  /** How often the same was asked; duplicates are one request. */
  readonly times: number
  /** RFC 3339. */
  readonly askedAt: string
  readonly deadline: string
  readonly answeredAt?: string
  readonly answeredBy?: 'owner' | 'approver' | 'command' | 'deadline' | 'block'
  /** Why it was denied, for the caller too. */
  readonly reason?: string
  /** The grant that an allow made. */
  readonly grant?: string
}

/** The owner's yes. `once` allows this very input one time; `duration` needs `forMs`. */
export type Answer =
  | { readonly remember: 'once' | 'session' | 'always'; readonly uses?: number }
  | { readonly remember: 'duration'; readonly forMs: number; readonly uses?: number }

/** Decides in the owner's place; undefined leaves it to the owner. Given 30 s, after which the owner is asked all the same. */
export type Approver = (
  request: PermissionRequest,
  options: { signal: AbortSignal }
) => Promise<ApproverAnswer | undefined> | ApproverAnswer | undefined

export type ApproverAnswer =
  | { readonly allow: Answer }
  | { readonly deny: { readonly forever?: boolean; readonly reason?: string } }

/** What a peer knows of its request. */
export interface PermissionStatus {
  readonly id: string
  readonly state: PermissionRequest['state']
  readonly deadline: string
  readonly reason?: string
}

export interface Permissions {
  /** Serves `permission/1.0.0` from now on, and takes up requests that a restart has interrupted. */
  start(): Promise<void>
  /**
   * Settles what policy left open, by a grant or by asking. Called only when `decision.effect` isn't `allow`.
   *
   * @returns the grant's use, taken
   * @throws {MeshError} PERMISSION_PENDING with `data: { id, deadline }`, on disk by then; FORBIDDEN with the reason and
   *   what to ask for; BUSY when the peer has MAX_OPEN_PER_PEER open or MAX_OPEN are open in all
   */
  permit(decision: Decision, question: Question): Promise<GrantUse>
  /** Pending first, oldest first; then answered ones, latest first, at most MAX_KEPT. */
  list(filter?: { state?: PermissionRequest['state']; peer?: string }): readonly PermissionRequest[]
  get(id: string): PermissionRequest | undefined
  /** How many are pending; counted, not read. */
  readonly pending: number
  /** Yields pending requests, then each as it is asked or answered, until the signal. */
  watch(options: { signal: AbortSignal }): AsyncIterable<PermissionRequest>
  /** @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT when it isn't pending any more or the answer makes no sense, IO */
  allow(id: string, answer: Answer): Promise<PermissionRequest>
  /** `forever` writes a deny rule for this peer and resource. @throws {MeshError} as {@link allow} */
  deny(id: string, options?: { forever?: boolean; reason?: string }): Promise<PermissionRequest>
  /** Denies everything that a peer has open: it was blocked. */
  dropPeer(peer: string): Promise<void>
  /** Asks a peer ahead. @throws {MeshError} FORBIDDEN, NOT_FOUND, BUSY, UNREACHABLE, … */
  request(
    target: { peer: string; agent: string },
    wanted: { capability: string; kind?: string; forMs?: number; uses?: number; reason?: string },
    options?: RequestOptions
  ): Promise<PermissionStatus>
  /** How a request of ours at a peer stands; with `wait` not before it is decided or the deadline passes. */
  status(peer: string, id: string, options?: RequestOptions & { wait?: boolean }): Promise<PermissionStatus>
  /** Presents held grants of others to the peer, once per connection; undefined when there are none. */
  present(peer: string): Promise<void> | undefined
  /** Listens for the answer when a peer's error says that its owner has been asked. */
  expect(peer: string, err: unknown): void
  stop(): Promise<void>
}

export interface PermissionsInit {
  readonly identity: Identity
  readonly store: Store
  readonly policy: Policy
  readonly grants: Grants
  readonly trust: Pick<Trust, 'of'>
  readonly rpc: Rpc
  readonly emit: Emit
  /** Connections that come and go: answers are pushed to who is there, grants presented once on each. */
  readonly on?: Events['on']
  /** Says how two definitions differ, a line each; default nothing. */
  readonly diff?: (before: unknown, after: unknown) => readonly string[]
  /** Finds a local capability for a request ahead; undefined when there is none. */
  readonly capabilityOf: (agent: string, capability: string, kind?: string) => Capability | undefined
  /** Of a local agent itself: rules about tags look at these beside those of the capability. */
  readonly tagsOf: (agent: string) => readonly string[]
  readonly approver?: Approver
  /** A command with its arguments that decides like `approver`: JSON on stdin, an answer as JSON on stdout. */
  readonly approverCommand?: readonly string[]
  readonly log?: (text: string) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}

export type { Grant, GrantUse }
