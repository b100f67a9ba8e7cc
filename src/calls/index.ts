/**
 * Invoking capabilities: `call/1.0.0`, inbound for local agents, outbound to those of peers.
 *
 * Spec: protocols/call/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const calls = createCalls({ self: identity.id, registry, host, policy, permissions, checkPermission, pins, trust, presenter, rpc, discovery, schemas, emit })
 * await calls.start()
 * const sum = await calls.call(caller, { peer, agent: 'calculator' }, { capability: 'add', input: { a: 1, b: 2 } }, {})
 */
import type { Caller, Hello, Presenter } from '../auth/index.ts'
import type { Discovery } from '../discovery/index.ts'
import type { Host } from '../drivers/index.ts'
import type { Emit } from '../events.ts'
import type { Health } from '../health/index.ts'
import type { AskCheck, Permissions } from '../permissions/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Registry } from '../registry/index.ts'
import type { CapabilityKind } from '../registry/messages.ts'
import type { RequestContext, RequestOptions, Rpc } from '../rpc/index.ts'
import type { ValidationPool } from '../schema/index.ts'
import type { Pins } from '../tools/index.ts'
import type { Trust } from '../trust/index.ts'
import type { Compatibility } from './compatibility.ts'
import type { StreamRequest } from './messages.ts'

export { createCalls } from './calls.ts'
export type { Compatibility, Missing } from './compatibility.ts'
export { CALL, MAX_DETACHED_MS } from './constants.ts'
export { resolveTarget } from './target.ts'

/** What is to be invoked at an agent. */
export interface Invocation {
  readonly capability: string
  readonly kind?: CapabilityKind
  /** Semver range. */
  readonly version?: string
  /** Default `{}`. */
  readonly input?: unknown
  /** Of one that streams: its id, and how many items are there already; default a new one. */
  readonly stream?: StreamRequest
  /** W3C `traceparent` of what the call is part of. */
  readonly trace?: string
}

export interface CallsComponents {
  /** This node's PeerId. */
  readonly self: string
  readonly registry: Pick<Registry, 'record'>
  readonly host: Pick<Host, 'status' | 'invoke'>
  readonly policy: Policy
  readonly permissions: Pick<Permissions, 'permit' | 'present' | 'status' | 'expect'>
  /** Asks a peer what a call would meet there. */
  readonly checkPermission: AskCheck
  readonly pins: Pick<Pins, 'check' | 'list'>
  readonly trust: Pick<Trust, 'note'>
  readonly presenter: Pick<Presenter, 'ready'>
  readonly rpc: Rpc
  readonly discovery: Pick<Discovery, 'known' | 'resolve'>
  /** Where schemas are checked that could take long. */
  readonly schemas: ValidationPool
  readonly emit: Emit
  /** Is told how calls go, and knows who sleeps; default nobody. */
  readonly health?: Pick<Health, 'calls' | 'asleepUntil'>
  /** What this node says of itself in a hello, by which it asks peers what they know. */
  readonly describe: () => Hello
}

export interface CallsInit {
  /** How long a stream whose connection is gone is kept for its caller, and tried for as a caller; 0 to 3,600,000, default 60,000. */
  readonly detachedMs?: number
  /** 0 ≤ x < 1; default `Math.random`. */
  readonly random?: () => number
}

export interface AgentAddress {
  /** PeerId as text. */
  readonly peer: string
  /** The agent's name there. */
  readonly agent: string
}

export interface Calls {
  /** Serves `call/1.0.0` from now on. */
  start(): Promise<void>
  /** Ends what a peer has running here: it was blocked. */
  dropPeer(peer: string): void
  /** Ends the streams of callers. */
  stop(): void
  /**
   * Calls a capability, here or at a peer; items of one that streams come as an array.
   *
   * @param caller whom a local agent sees; a peer sees this node's key
   * @throws {MeshError} see Node.call
   */
  call(caller: Caller, target: AgentAddress, invocation: Invocation, options: RequestOptions): Promise<unknown>
  /** @throws {MeshError} see Node.check */
  check(target: AgentAddress, invocation: Invocation, options: RequestOptions): Promise<Compatibility>
  /**
   * As {@link call}, yielding items as they come; whom to ask is found out at the first read. One of a peer goes on over
   * another connection when its own breaks: the reader sees each item once, or fails.
   *
   * @throws {MeshError} also STREAM_LOST when it can't go on
   */
  stream(
    caller: Caller,
    target: () => AgentAddress | Promise<AgentAddress>,
    invocation: Invocation,
    options: RequestOptions
  ): AsyncIterable<unknown>
  /**
   * Lets a caller take up again what comes from elsewhere, as it could the streams of this node's own agents.
   *
   * @param resource what it is: only the same is taken up again
   * @param work makes it when it is not there yet; its context outlives the request's
   * @throws {MeshError} STREAM_LOST; INVALID_ARGUMENT when the id is another stream's; what `work` throws at once
   */
  keep(
    wanted: StreamRequest,
    request: { readonly resource: string; readonly context: RequestContext },
    work: (context: RequestContext) => unknown
  ): AsyncIterable<unknown>
}
