/**
 * What edges for other protocols (HTTP, WebSocket, A2A, MCP) work with: they find out who asks, and act in that caller's name.
 *
 * @packageDocumentation
 * @example
 * const session = await node.edges.authenticate({ presented: [{ method: 'api-key', key }] }, { signal })
 * const result = await node.edges.invoke(session, { target: '@clock', capability: 'now' }, { signal })
 */
import type { Auth, Session } from '../auth/index.ts'
import type { AgentAddress, Calls, Invocation } from '../calls/index.ts'
import type { Discovery } from '../discovery/index.ts'
import type { Tokens } from '../oauth/index.ts'
import type { Pairing } from '../pairing/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Protocol, RequestOptions, Rpc } from '../rpc/index.ts'
import type { Store } from '../store/index.ts'
import type { Answers } from './answers.ts'

export type { AnswerKey, Answers, KeptAnswer } from './answers.ts'
export { answersMigrations } from './answers.ts'
export * from './constants.ts'
export { createEdges } from './edges.ts'

/** A call from an edge. */
export interface EdgeInvocation extends Invocation {
  /** Agent id, `@name` or `@name@peer`. */
  readonly target: string
  /** Makes the answer a stream that can be resumed by any edge: 22 base64url characters, and how many items are there already. */
  readonly stream?: { readonly id: string; readonly after: number }
}

/** Where the HTTP edge listens, and for whom; gateway/edge.ts says what each means. */
export interface EdgeSettings {
  readonly listen: string
  readonly tls?: { readonly certFile: string; readonly keyFile: string; readonly clientCaFile?: string }
  readonly hosts?: readonly string[]
  readonly origins?: readonly string[]
  readonly traces?: string
  /** How many agents may dial in, those that are away too: 0 to 3,840, default 2,000. */
  readonly maxAgents?: number
}

export interface Edges {
  /** From the configuration; whoever runs the node opens the edge. */
  readonly settings: EdgeSettings | undefined
  /** The owner, at an edge that has made sure of it. */
  readonly owner: Session
  /** What the owner shows at an edge of this machine: made when it is first asked for, and kept in the home as `http.token`. @throws {MeshError} IO, INVALID_CONFIG */
  ownerToken(): Promise<string>
  /** Who is asked for tokens, and for what: RFC 9728 in small. */
  readonly oauth: Tokens['metadata']
  readonly authenticate: Auth['authenticate']
  /** For HTTP signatures of paired peers. */
  readonly secretsOf: Pairing['secretsOf']
  /**
   * Puts a request to a protocol that this node serves, as a peer would.
   *
   * @returns the result, or its items as an async iterable
   * @throws {MeshError} BUSY beyond MAX_RUNNING_PER_CALLER, and what the protocol answers
   */
  dispatch(session: Session, protocol: EdgeProtocol, body: unknown, options: RequestOptions): Promise<unknown>
  /**
   * Calls a capability: of this node's agents as the caller itself; of others' with the key of this node, when policy lets
   * the caller: action `call.forward` on `<kind>:<PeerId>/<agent>/<capability>`.
   *
   * @returns the result, or the items of a capability that streams as an async iterable; leaving that cancels the call
   * @throws {MeshError} as Node.call; BUSY
   */
  invoke(session: Session, invocation: EdgeInvocation, options: RequestOptions): Promise<unknown>
  /** Finds the one agent that is meant, within RESOLVE_TIMEOUT_MS. @throws {MeshError} INVALID_ARGUMENT, NOT_FOUND, AMBIGUOUS, TIMEOUT */
  resolve(target: string, options: { readonly signal?: AbortSignal }): Promise<AgentAddress>
  /** @throws {MeshError} FORBIDDEN unless policy allows it */
  allow(session: Session, action: string, resource: string): void
  /** Whether policy allows it; for showing and hiding, without audit. */
  may(session: Session, action: string, resource: string): boolean
  /** Answers to requests that may come twice. */
  readonly answers: Answers
  /** What libp2p measures, as Prometheus text; empty unless the node was told to measure. */
  networkMetrics(): Promise<string>
  /** Resolves once something could be written to disk. @throws {MeshError} IO, BUSY */
  checkDisk(): Promise<void>
}

/** Protocols whose requests edges translate to. */
export type EdgeProtocol = 'call' | 'permission' | 'records'

export interface EdgesComponents {
  readonly settings?: EdgeSettings
  readonly owner: Session
  /** This node's PeerId. */
  readonly self: string
  /** File of the owner's token; without one it is new each time. */
  readonly tokenPath?: string
  readonly auth: Pick<Auth, 'authenticate'>
  readonly tokens: Pick<Tokens, 'metadata'>
  readonly pairing: Pick<Pairing, 'secretsOf'>
  readonly policy: Pick<Policy, 'decide' | 'judge' | 'reserve'>
  readonly rpc: Pick<Rpc, 'dispatch'>
  readonly calls: Pick<Calls, 'call' | 'keep' | 'stream'>
  readonly discovery: Pick<Discovery, 'resolve'>
  readonly protocols: Readonly<Record<EdgeProtocol, Protocol>>
  readonly networkMetrics?: (() => Promise<string>) | undefined
  /** @param signal asked for when it takes time only */
  readonly resolve: (target: string, signal: () => AbortSignal) => AgentAddress | Promise<AgentAddress>
  readonly store: Store
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
