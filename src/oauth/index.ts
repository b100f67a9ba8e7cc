/**
 * OAuth 2.0 at both ends: access tokens of peers, checked against the issuers in the configuration; and this node's own
 * logins, whose tokens it presents to peers.
 *
 * A token is bound to its bearer by `cnf.jkt`, the thumbprint of the peer's Noise key; its audience is this node's did:key
 * or the configured URL. Tokens are never passed on: for a call onward one is exchanged (RFC 8693).
 *
 * Spec: protocols/hello/1.0.0/README.md#oauth
 *
 * @packageDocumentation
 * @example
 * const tokens = createTokens({ identity, store, issuers: [{ issuer: 'https://login.example.org' }] })
 * const credential = await tokens.verifier.verify({ method: 'oauth', token }, { peer }, { signal })
 * const logins = await createLogins({ identity, store, vault, emit })
 * for await (const step of logins.login({ issuer, clientId, flow: 'device', peers: [peer] }, { signal })) show(step)
 */
import type { Credential, Verifier } from '../auth/index.ts'
import type { Emit } from '../events.ts'
import type { Identity } from '../identity/index.ts'
import type { Store } from '../store/index.ts'
import type { Vault } from '../vault/index.ts'

export * from './constants.ts'
export { tokensMigrations } from './denylist.ts'
export { createLogins, loginsMigrations } from './logins.ts'
export { createTokens } from './tokens.ts'

/** An issuer whose tokens are accepted; from `config.json`, never from a token. */
export interface IssuerInit {
  /** Its identifier, an https URL; http on loopback only. */
  readonly issuer: string
  /** For opaque tokens: how to ask the issuer (RFC 7662). */
  readonly introspection?: { readonly clientId: string; readonly clientSecretFile: string }
  /** Accept tokens without `cnf`, as binding `none`; default false. Only rules that name `none` then match. */
  readonly acceptUnbound?: boolean
}

export interface Tokens {
  readonly verifier: Verifier
  /** What a peer must know to get a token for this node; `issuers` empty when none is accepted. RFC 9728 in small. */
  readonly metadata: {
    readonly resource: string
    readonly issuers: readonly string[]
  }
  /** The token behind a credential of a live session, for exchange only; undefined when it isn't held. */
  tokenOf(credential: Credential): string | undefined
  /**
   * Refuses a token from now on, whatever its issuer says; on disk when it resolves.
   *
   * @param id the token's `jti`; of one without, the base64url SHA-256 of the token
   * @throws {MeshError} INVALID_ARGUMENT when the issuer is none that is accepted, IO
   */
  revoke(issuer: string, id: string): Promise<void>
}

export interface TokensInit {
  readonly identity: Identity
  readonly store: Store
  readonly issuers: readonly IssuerInit[]
  /** Told which credentials go with a token that is revoked. */
  readonly onRevoke?: (matches: (credential: Credential) => boolean) => void
  /** A URL that stands for this node beside its did:key, for issuers that know no other kind of resource. */
  readonly audience?: string
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}

export type LoginFlow = 'client-credentials' | 'code' | 'device'

export interface LoginInit {
  readonly issuer: string
  readonly clientId: string
  /** Of a confidential client; kept sealed. */
  readonly clientSecret?: string
  readonly flow: LoginFlow
  readonly scopes?: readonly string[]
  /** PeerIds to which tokens of this login may be presented: nobody else learns of it. At least one. */
  readonly peers: readonly string[]
  /**
   * What tokens may be for: URLs, when the issuer knows no other kind of resource and the peers say that they are these;
   * default the did:key of each peer.
   */
  readonly resources?: readonly string[]
}

/** What happens during a login: first what the owner has to do, if anything, then the end. */
export type LoginStep =
  | {
      readonly step: 'visit'
      /** To be opened in a browser; of a device flow with the code in it, if the issuer offers that. */
      readonly url: string
      readonly userCode?: string
      /** To be compared with what the issuer shows: five groups of five digits from this node's key. */
      readonly fingerprint: string
      /** RFC 3339. */
      readonly expiresAt: string
    }
  | { readonly step: 'done'; readonly login: Login }

export interface Login {
  /** 11 characters, names it in lists. */
  readonly id: string
  readonly issuer: string
  readonly clientId: string
  readonly flow: LoginFlow
  readonly scopes: readonly string[]
  readonly peers: readonly string[]
  /** `reauth_required`: the issuer refuses to renew; log in again. */
  readonly state: 'ok' | 'expiring' | 'reauth_required' | 'unreachable'
  /** RFC 3339: of the access token that runs out first. */
  readonly expiresAt?: string
  readonly createdAt: string
  /** Why it isn't `ok`, or why one of the peers gets no token; the issuer's error code, never a token. */
  readonly reason?: string
}

export interface Logins {
  /**
   * Logs in; leaving the loop gives up.
   *
   * @throws {MeshError} INVALID_ARGUMENT, UNREACHABLE, UNAUTHENTICATED when the issuer refuses, UNSUPPORTED_VERSION when it
   *   can't bind tokens to our kind of key, LIMIT_EXCEEDED beyond MAX_LOGINS, TIMEOUT, CANCELLED, IO
   */
  login(init: LoginInit, options: { signal: AbortSignal }): AsyncIterable<LoginStep>
  list(): readonly Login[]
  /** Forgets a login and revokes its tokens at the issuer (RFC 7009), as far as that answers. @throws {MeshError} NOT_FOUND, IO */
  logout(id: string, options: { signal: AbortSignal }): Promise<{ readonly revoked: boolean }>
  /** Whether some login may be presented to this peer; from memory. */
  holdsFor(peer: string): boolean
  /**
   * Credentials `{ method: 'oauth', token }` for a peer, renewed ahead of their expiry, one request to the issuer however many ask.
   *
   * @param resource what the peer says it is: its own did:key, or a URL; nothing is presented if the login isn't for that
   * @returns the credentials, and when to present the next (milliseconds since 1970)
   */
  toPresent(
    peer: string,
    resource: string,
    options: { signal: AbortSignal }
  ): Promise<{ readonly credentials: readonly Readonly<Record<string, unknown>>[]; readonly renewAt?: number }>
  /**
   * Exchanges a token that a caller presented here for one to call onward with, at the same issuer, bound to this node's key (RFC 8693).
   *
   * @throws {MeshError} NOT_FOUND when no login of ours is at its issuer, UNAUTHENTICATED when the issuer refuses, UNREACHABLE
   */
  exchange(
    subject: { issuer: string; token: string },
    resource: string,
    options: { signal: AbortSignal; scopes?: readonly string[] }
  ): Promise<{ readonly token: string; readonly expiresAt: number }>
  stop(): Promise<void>
}

export interface LoginsInit {
  readonly identity: Identity
  readonly store: Store
  readonly vault: Vault
  readonly emit: Emit
  /** Told that what this node presents to a peer has come, changed or gone. */
  readonly onChange?: (peer: string) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** 0 ≤ x < 1, for jitter; default `Math.random`. */
  readonly random?: () => number
  /** Runs something later, and returns how to drop it; default `setTimeout`, which keeps no process alive. */
  readonly schedule?: (run: () => void, afterMs: number) => () => void
}
