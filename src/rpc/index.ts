/**
 * Requests between peers: a protocol is data and a handler, carried by one long-lived stream per peer and protocol.
 *
 * Spec: protocols/README.md#channels
 *
 * @packageDocumentation
 * @example
 * const rpc = createRpc({ network, authenticate: auth.sessionOf })
 * await rpc.handle({ protocol: HELLO, handle: (body, { caller }) => nodeInfo })
 * const info = await rpc.request(peer, HELLO, {}, { timeoutMs: 5_000 })
 */
import type { Connection } from '@libp2p/interface'
import type { Caller, Session } from '../auth/index.ts'
import type { Network } from '../network/index.ts'

export * from './constants.ts'
export { dispatch } from './dispatch.ts'
export { EncodedItem, encodeItem } from './encoded-item.ts'
export { createRpc } from './rpc.ts'
export { isAsyncIterable, takerOf } from './running-request.ts'

/** What a protocol is, apart from what it does. */
export interface Protocol {
  /** `/pryx-mesh/<name>/<x.y.z>` */
  readonly id: string
  /** Largest frame either side may send, bytes of JSON. */
  readonly maxFrameBytes: number
  /** Deadline of a request that brings none. */
  readonly timeoutMs: number
  /** Requests a peer may have running on its channel; the next one fails with BUSY. */
  readonly maxInFlight: number
}

/** The serving side of a protocol. */
export interface Endpoint {
  readonly protocol: Protocol
  /**
   * Answers one request: authorises it, parses the body, does the work.
   *
   * @returns the result, a promise of it, or an async iterable: then each item is sent as the other side has credit for it,
   *   and those of {@link ReadyItems} that are there already are sent together
   * @throws {MeshError} whatever the requester shall see; anything else reaches it as INTERNAL
   */
  handle(body: unknown, context: RequestContext): unknown
}

export interface RequestContext {
  /** Who asked, as of the request's beginning. */
  readonly caller: Caller
  /** What it came by; `session.caller` is who it is now. */
  readonly session: Session
  /** Says what the work has cost, in the unit of the owner's `cost` limits: adds up; what isn't a number above 0 is ignored. */
  readonly charge: (amount: number) => void
  /** What has been charged so far. */
  readonly cost: number
  /**
   * Aborted on cancel (CANCELLED), deadline (TIMEOUT), or when the connection breaks (any other code). Made on first use: a
   * handler that never asks costs nothing.
   */
  readonly signal: AbortSignal
}

export interface RequestOptions {
  readonly signal?: AbortSignal
  /** Default: the protocol's. 1 to 86,400,000. */
  readonly timeoutMs?: number
}

/** Items that may be there before they are asked for. */
export interface ReadyItems<T> extends AsyncIterableIterator<T> {
  /** The next item if it is there already, without a promise; undefined when it isn't, or the items are over: `next()` tells. */
  takeReady(): IteratorYieldResult<T> | undefined
}

/** Items as they come. */
export interface ItemStream extends AsyncIterableIterator<unknown> {
  /** As {@link ReadyItems.takeReady}. */
  readonly takeReady?: ReadyItems<unknown>['takeReady']
  /** It failed, and the peer said so; false for what was noticed on this side. */
  readonly isRefused?: boolean
}

export interface Rpc {
  /** Serves a protocol to peers, from now on. */
  handle(endpoint: Endpoint): Promise<void>
  /**
   * Sends a request and waits for its result. Items of a streamed answer are collected into an array.
   *
   * @param peer PeerId as text; dialled when not connected
   * @throws {MeshError} what the peer answered, or TIMEOUT, CANCELLED, UNREACHABLE, CONNECTION_LOST, UNSUPPORTED_VERSION, TOO_LARGE
   */
  request(peer: string, protocol: Protocol, body: unknown, options?: RequestOptions): Promise<unknown>
  /**
   * Sends a request and yields the items of its answer as they come; a plain result is yielded as the only item.
   * Leaving the loop cancels the request. The reader's pace bounds what the peer sends.
   */
  stream(peer: string, protocol: Protocol, body: unknown, options?: RequestOptions): ItemStream
  /**
   * Puts a request to a protocol that this node serves, for who comes by another way than a connection of the mesh.
   *
   * @returns the result, or its items as an async iterable
   * @throws {MeshError} UNSUPPORTED_VERSION when it isn't served; what the endpoint answers; TIMEOUT, CANCELLED
   */
  dispatch(session: Session, protocol: Protocol, body: unknown, options?: RequestOptions): Promise<unknown>
  /** Fails what is pending with CANCELLED and closes the channels. */
  stop(): Promise<void>
}

export interface RpcComponents {
  readonly network: Pick<Network, 'openStream' | 'handle'>
  /** Who is at the other end; called once per inbound stream. What it throws refuses the stream. */
  readonly authenticate: (connection: Connection) => Session
  /** A peer broke the protocol, and its channel was reset. */
  readonly onViolation?: (peer: string, reason: string) => void
  /** An endpoint threw what isn't a {@link MeshError}; the peer saw INTERNAL. */
  readonly onDefect?: (error: unknown, protocol: string) => void
  /** Monotonic milliseconds; default `performance.now`. */
  readonly now?: () => number
}
