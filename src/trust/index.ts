/**
 * How far each peer is trusted: what the owner has said, and what experience has shown.
 *
 * Evidence moves a peer between `unknown` and `known`, and downwards, on its own; upwards to `trusted` and `owner` only
 * the owner does. Every change keeps the evidence that made it.
 *
 * @packageDocumentation
 * @example
 * const trust = await createTrust({ store, emit })
 * trust.note(peer, 'call:completed')
 * await trust.set(peer, { level: 'trusted', alias: 'carol' })
 * trust.of(peer).level // 'trusted', from memory
 */
import type { TrustLevel } from '../auth/index.ts'
import type { Emit } from '../events.ts'
import type { Store } from '../store/index.ts'
import type { EvidenceKind } from './constants.ts'

export * from './constants.ts'
export { createTrust, trustMigrations } from './trust.ts'

/** What policy needs to know of a peer. */
export interface Standing {
  readonly level: TrustLevel
  /** The name that the owner gave it: unique, printable, 1 to 64 characters. */
  readonly alias?: string
}

export interface PeerTrust extends Standing {
  readonly peer: string
  /** Who set the level: the owner, evidence, or nobody yet. */
  readonly setBy: 'owner' | 'evidence' | 'default'
  /** RFC 3339, when the level last changed. */
  readonly since?: string
  /** Lower 90 % bound of the share of good interactions, 0 to 1, after decay. */
  readonly score: number
  /** Weight of all evidence after decay. */
  readonly interactions: number
}

/** Why a peer stands where it stands. */
export interface TrustReport extends PeerTrust {
  /** One sentence: what made the level, and what would change it. */
  readonly reason: string
  /** How often each kind was seen, ever, and its weight now. */
  readonly evidence: readonly { readonly kind: EvidenceKind; readonly count: number; readonly weight: number }[]
  /** Latest first, at most MAX_CHANGES_PER_PEER. */
  readonly changes: readonly {
    readonly at: string
    readonly from: TrustLevel
    readonly to: TrustLevel
    readonly by: 'owner' | 'evidence'
    readonly reason: string
  }[]
}

export interface Trust {
  /** From memory, for every request; a stranger is `unknown`. */
  readonly of: (peer: string) => Standing
  /** The peer that the owner gave this name. */
  named(alias: string): string | undefined
  /** Takes note; returns at once and never throws. Written within a second, at most once a second per peer. */
  note(peer: string, kind: EvidenceKind): void
  /**
   * The owner's word: sets level or alias; it holds until the owner changes it, but for demotions by evidence.
   * `alias: ''` takes the name away.
   *
   * @throws {MeshError} INVALID_ARGUMENT for a peer, level or alias that isn't one, ALREADY_EXISTS when another has the alias, IO
   */
  set(peer: string, standing: { level?: TrustLevel; alias?: string; reason?: string }): Promise<TrustReport>
  /** Peers with a level, an alias or evidence, in order of level (highest first), then PeerId. */
  list(): readonly PeerTrust[]
  /** @throws {MeshError} INVALID_ARGUMENT when it isn't a PeerId or alias */
  why(peer: string): TrustReport
  /** Told after a peer's level or alias has changed. @returns how to stop listening */
  onChange(listener: (peer: string, now: Standing, before: Standing) => void): () => void
  /** Writes what isn't written yet. */
  stop(): Promise<void>
}

export interface TrustInit {
  readonly store: Store
  readonly emit: Emit
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
