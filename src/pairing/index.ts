/**
 * Pairing: an invite that works once makes two nodes known to each other and gives them a shared secret.
 *
 * Spec: protocols/pair/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const pairing = await createPairing({ identity, store, vault, network, rpc, trust, emit })
 * const { token, fingerprint } = await pairing.invite({ forMs: 600_000, level: 'known' })
 * const pair = await pairing.join(token, { signal }) // on the other node; shows the same fingerprint
 */
import type { TrustLevel, Verifier } from '../auth/index.ts'
import type { Emit } from '../events.ts'
import type { Identity } from '../identity/index.ts'
import type { Network } from '../network/index.ts'
import type { Rpc } from '../rpc/index.ts'
import type { Store } from '../store/index.ts'
import type { Trust } from '../trust/index.ts'
import type { Vault } from '../vault/index.ts'

export * from './constants.ts'
export { createPairing, pairingMigrations } from './pairing.ts'

export interface InviteInit {
  /** How long it may be redeemed; default 10 minutes, 1 s to 7 days. */
  readonly forMs?: number
  /** What the other node becomes here; default `known`. `owner` makes it one of this owner's own nodes. */
  readonly level?: Extract<TrustLevel, 'known' | 'trusted' | 'owner'>
}

export interface Invite {
  /** `mesh_i_…`: a secret, single use. */
  readonly token: string
  /** RFC 3339. */
  readonly expiresAt: string
  /** Five groups of five digits; the joining side shows the same. */
  readonly fingerprint: string
}

export interface Pair {
  /** PeerId. */
  readonly peer: string
  /** What it called itself when pairing; the alias it got, unless that was taken. */
  readonly name: string
  readonly alias?: string
  readonly level: TrustLevel
  /** RFC 3339. */
  readonly pairedAt: string
  readonly fingerprint: string
  /** `<id>.<n>`: names the current secret for HTTP; `n` counts the 30 days since the pairing. */
  readonly keyId: string
}

export interface Pairing {
  /** Serves `pair/1.0.0` from now on. */
  start(): Promise<void>
  /** Checks `{ method: 'shared-secret', … }`: a MAC by the pair's secret, over both PeerIds, a time and a nonce. */
  readonly verifier: Verifier
  /** Checks `{ method: 'owner', jws }`: a statement of type `mesh-owner+jws` that the peer is a node of that owner. */
  readonly ownerVerifier: Verifier
  /** @throws {MeshError} INVALID_ARGUMENT, BUSY at MAX_INVITES, IO */
  invite(init?: InviteInit): Promise<Invite>
  /**
   * Dials the addresses in a token and redeems it. Asking again with the same token after a crash gives the same pair.
   *
   * @param token white space in it doesn't matter
   * @throws {MeshError} INVALID_ARGUMENT when it is no token, mistyped, or this node's own; UNAUTHENTICATED when it is used,
   *   expired or burned; FORBIDDEN when the inviter is blocked here; BUSY at MAX_PAIRS; UNREACHABLE, TIMEOUT, CANCELLED, IO
   */
  join(token: string, options?: { signal?: AbortSignal }): Promise<Pair>
  /** In order of their names. */
  pairs(): readonly Pair[]
  /** From memory. */
  isPaired(peer: string): boolean
  /**
   * Ends a pair here: its secret is forgotten, its level goes back to unknown, and the alias that pairing gave is free.
   *
   * @param peer PeerId or alias
   * @throws {MeshError} NOT_FOUND, IO
   */
  unpair(peer: string): Promise<void>
  /** The secret shared with a peer for HTTP signatures: the current one and, for 24 h after a rotation, the one before. */
  secretsOf(peer: string): Promise<readonly { readonly keyId: string; readonly key: Buffer }[]>
  /**
   * What proves the shared secret to a peer: `{ method: 'shared-secret', … }`, or undefined when not paired.
   *
   * @param options `at`: the peer's own clock, if it is known, milliseconds since 1970; default this node's
   */
  prove(peer: string, options?: { at?: number }): Promise<Readonly<Record<string, unknown>> | undefined>
  /** Statements that this node belongs to an owner, to present to peers: `{ method: 'owner', jws }`. */
  ownerStatements(): readonly Readonly<Record<string, unknown>>[]
  stop(): Promise<void>
}

export interface PairingInit {
  readonly identity: Identity
  readonly store: Store
  readonly vault: Vault
  readonly network: Pick<Network, 'connect' | 'status'>
  readonly rpc: Rpc
  readonly trust: Pick<Trust, 'of' | 'set' | 'named'>
  readonly emit: Emit
  /** This node's name, for the other side. */
  readonly name: string
  /** Told when a pair ends: sessions that live by its secret must end. */
  readonly onUnpair?: (peer: string) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
