/**
 * API keys: `mesh_k_<id>_<secret><checksum>`, shown once, kept as an HMAC with a pepper from the vault.
 *
 * Spec: protocols/hello/1.0.0/api-keys.md
 *
 * @packageDocumentation
 * @example
 * const keys = createApiKeys({ store, vault, onRevoke: (_id, matches) => auth.revoke(matches) })
 * const { key, info } = await keys.create({ name: 'ci', scopes: ['build'] }) // key is shown this once
 * const credential = await keys.verifier.verify({ method: 'api-key', key }, { peer }, { signal })
 */
import type { Credential, Verifier } from '../auth/index.ts'
import type { Store } from '../store/index.ts'
import type { Vault } from '../vault/index.ts'

export * from './constants.ts'
export { KEY_PATTERN } from './format.ts'
export { createApiKeys } from './keys.ts'
export { keysMigrations } from './rows.ts'

export interface ApiKeyInfo {
  /** 11 characters, public: names the key in lists and logs. */
  readonly id: string
  /** What it is for, printable, 1 to 64 characters. */
  readonly name: string
  /** For rules that say `scope:x`. */
  readonly scopes: readonly string[]
  /** RFC 3339. */
  readonly createdAt: string
  /** Default 90 days from the making. */
  readonly expiresAt: string
  readonly lastUsedAt?: string
  readonly state: 'active' | 'expired' | 'revoked'
  /** Whether only one peer may use it: the first one that does, when it isn't named at the making. */
  readonly pin: 'first' | 'off' | 'given'
  /** PeerId that it is pinned to. */
  readonly peer?: string
  /** RFC 3339; until then the secret before the last rotation is accepted too. */
  readonly overlapUntil?: string
}

export interface ApiKeyInit {
  readonly name: string
  readonly scopes?: readonly string[]
  /** Default 90 days, at most 10 years. */
  readonly forMs?: number
  /** `first` (default) pins it to the first peer that presents it; `off`; or a PeerId. */
  readonly pin?: string
}

/** A key that this node presents to a peer. */
export interface HeldKey {
  readonly peer: string
  /** The key's public id. */
  readonly id: string
  /** RFC 3339. */
  readonly addedAt: string
}

export interface ApiKeys {
  readonly verifier: Verifier
  /** @returns the key as text, never to be had again @throws {MeshError} INVALID_ARGUMENT, BUSY at MAX_KEYS, IO */
  create(init: ApiKeyInit): Promise<{ readonly key: string; readonly info: ApiKeyInfo }>
  /** Newest first. */
  list(): readonly ApiKeyInfo[]
  /** A new secret for the same id; the old one is accepted for `overlapMs` more (default 24 h, 0 to 30 d). @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT when revoked or expired, IO */
  rotate(id: string, options?: { overlapMs?: number }): Promise<{ readonly key: string; readonly info: ApiKeyInfo }>
  /** At once and for good, on open connections too. @throws {MeshError} NOT_FOUND, IO */
  revoke(id: string): Promise<ApiKeyInfo>
  /** Keeps a key of another node's, sealed, to be presented to that peer. @throws {MeshError} INVALID_ARGUMENT when its checksum is wrong or that is no PeerId, BUSY at MAX_HELD, IO */
  hold(peer: string, key: string): Promise<HeldKey>
  held(): readonly HeldKey[]
  /** @returns whether there was one */
  drop(peer: string): Promise<boolean>
  /** What to present to a peer: `{ method: 'api-key', key }`, or nothing. */
  toPresent(peer: string): Promise<readonly Readonly<Record<string, unknown>>[]>
  /** Whether {@link toPresent} has something; from memory. */
  holdsFor(peer: string): boolean
}

export interface ApiKeysInit {
  readonly store: Store
  readonly vault: Vault
  /** Told when a key is revoked, or a secret of it rotated out: sessions that live by what `matches` must end. */
  readonly onRevoke: (id: string, matches: (credential: Credential) => boolean) => void
  /** Told when the key for a peer has changed: what is presented to it must be presented anew. */
  readonly onHeldChange?: (peer: string) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
