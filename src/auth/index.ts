/**
 * Who asks. Every way in ends in a {@link Caller}, the only subject that policy knows.
 *
 * Spec: protocols/hello/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const { callerOf } = createAuth()
 * const rpc = createRpc({ network, authenticate: callerOf })
 * await rpc.handle(createHello({ describe }))
 * const hello = readHello(await rpc.request(peer, HELLO, describe()))
 */
import type { Connection } from '@libp2p/interface'

export { createAuth, ownerCaller } from './caller.ts'
export * from './constants.ts'
export { createHello, type HelloComponents, readHello } from './hello.ts'
export { type Hello, printableName } from './messages.ts'

/** How far a connection is trusted, lowest first. */
export const TRUST_LEVELS = ['blocked', 'unknown', 'known', 'trusted', 'owner'] as const
export type TrustLevel = (typeof TRUST_LEVELS)[number]

/** What proves a credential on this connection. */
export type Binding = 'local' | 'noise'

export interface Credential {
  readonly method: 'noise' | 'local'
}

/** Who asks, after authentication: made once per connection, not per call. */
export interface Caller {
  /** PeerId as text. For the owner at the control socket and for the node itself: the node's own. */
  readonly peer: string
  readonly credentials: readonly Credential[]
  readonly trust: TrustLevel
  readonly binding: Binding
}

export interface Auth {
  /**
   * Who is at the other end: the same object for the same connection, as policy keeps its verdicts by it.
   *
   * @throws {MeshError} FORBIDDEN when the peer's key isn't Ed25519 or the connection is not encrypted
   */
  readonly callerOf: (connection: Connection) => Caller
}
