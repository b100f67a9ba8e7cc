/**
 * Who asks. Every way in ends in a {@link Caller}, the only subject that policy knows.
 *
 * Spec: protocols/hello/1.0.0/README.md
 *
 * @packageDocumentation
 */

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
