/**
 * Who asks. Every way in ends in a {@link Caller}, the only subject that policy knows.
 *
 * Spec: protocols/hello/1.0.0/README.md
 *
 * @packageDocumentation
 * @example
 * const auth = createAuth({ standingOf: trust.of, verifiers: [apiKeys.verifier, oauth.verifier] })
 * const rpc = createRpc({ network, authenticate: auth.sessionOf })
 * await rpc.handle(createHello({ auth, describe }))
 * const { caller } = auth.sessionOf(connection)
 */
import type { Connection } from '@libp2p/interface'
import type { MeshError } from '../errors.ts'
import type { Standing } from '../trust/index.ts'

export * from './constants.ts'
export { createHello, type HelloComponents, readHello } from './hello.ts'
export { type Hello, type HelloAnswer, type HelloRequest, printableName } from './messages.ts'
export { type CertificatePin, certificateOf, createMtls, type MtlsInit, type PeerCertificate } from './mtls.ts'
export { type CredentialSource, createPresenter, type Presenter } from './presenter.ts'
export { REFUSALS, type Refusal, refused } from './refusals.ts'
export { createAuth, ownerCaller } from './session.ts'

/** How far a caller is trusted, lowest first. */
export const TRUST_LEVELS = ['blocked', 'unknown', 'known', 'trusted', 'owner'] as const
export type TrustLevel = (typeof TRUST_LEVELS)[number]

/**
 * What ties a credential to who presents it, strongest first: the control socket's file rights, the key of the Noise
 * connection, the key of a DPoP proof (RFC 9449), a client certificate, an HMAC by a shared secret, a secret that was
 * itself sent; `none` is a plain bearer token, which whoever has seen it can present.
 */
export const BINDINGS = ['local', 'noise', 'dpop', 'mtls', 'hmac', 'secret', 'none'] as const
export type Binding = (typeof BINDINGS)[number]

/** `local` is the owner at the control socket; `owner` a statement by the owner of several nodes that this is one of them. */
export const CREDENTIAL_METHODS = ['local', 'noise', 'oauth', 'api-key', 'shared-secret', 'mtls', 'owner'] as const
export type CredentialMethod = (typeof CREDENTIAL_METHODS)[number]

/** Something that was proven about a caller. */
export interface Credential {
  readonly method: CredentialMethod
  readonly binding: Binding
  /** Whom it names, unique within its method: a PeerId, a key's id, `<client>` or `<client>#<user>` of an issuer, a certificate's pin, a did:key. */
  readonly subject: string
  /** OAuth only: who issued the token. */
  readonly issuer?: string
  /** OAuth only: the token's `jti`, or the base64url SHA-256 of one without: what it is revoked by. */
  readonly token?: string
  readonly scopes: readonly string[]
  /** Milliseconds since 1970; absent: as long as the connection. */
  readonly expiresAt?: number
}

/** Who asks, after authentication. The same object until something about the caller changes, so verdicts can be kept by it. */
export interface Caller {
  /**
   * PeerId as text; for the owner at the control socket and for the node itself, the node's own. At an edge where no
   * PeerId is proven, `<method>:<subject>` of its first credential.
   */
  readonly peer: string
  /** What has been proven and has not expired; the first one says who it is. */
  readonly credentials: readonly Credential[]
  readonly trust: TrustLevel
  /** Of the first credential. */
  readonly binding: Binding
  /** The name that this node's owner has given to the peer. */
  readonly alias?: string
  /** did:key of the owner, proven by an `owner` credential. */
  readonly owner?: string
}

/** A peer that is connected, and what it has proven so far. */
export interface Session {
  /** Who is at the other end, now: looked up for each request, made anew only when something has changed. */
  readonly caller: Caller
}

/** Keys that whoever presents a credential has proven to hold. */
export interface Holder {
  /** PeerId of the Noise connection. */
  readonly peer?: string
  /** RFC 7638 thumbprint of the key of a DPoP proof. */
  readonly jkt?: string
  /** RFC 8705 thumbprint (`x5t#S256`) of the client certificate. */
  readonly x5t?: string
}

/** Checks credentials of one method. */
export interface Verifier {
  readonly method: Exclude<CredentialMethod, 'local' | 'noise'>
  /**
   * Checks what was presented; never trusts its shape.
   *
   * @param presented a JSON object with `method`, and what the method asks for
   * @throws {MeshError} UNAUTHENTICATED with `data: { reason }`, one of {@link REFUSALS}; UNREACHABLE when whoever must be
   *   asked cannot be; TIMEOUT, CANCELLED
   */
  verify(
    presented: Readonly<Record<string, unknown>>,
    holder: Holder,
    options: { signal: AbortSignal }
  ): Promise<Credential>
}

/** What became of one presented credential, in the order in which they were presented. */
export type Presented =
  | { readonly ok: true; readonly credential: Credential }
  | { readonly ok: false; readonly error: MeshError }

export interface Auth {
  /**
   * The session of a connection: one for all connections to the same peer, until the last of them ends.
   *
   * @throws {MeshError} FORBIDDEN when the peer's key isn't Ed25519 or the connection is not encrypted
   */
  readonly sessionOf: (connection: Connection) => Session
  /**
   * Checks credentials and adds the good ones to the session; one of the same method and subject replaces the one before,
   * so a renewal doesn't interrupt anything.
   *
   * @throws {MeshError} BUSY after MAX_REFUSED_CREDENTIALS bad ones of this peer, until a minute has passed
   */
  present(
    session: Session,
    presented: readonly unknown[],
    options: { signal: AbortSignal }
  ): Promise<readonly Presented[]>
  /** Drops credentials from every session: they were revoked. */
  revoke(matches: (credential: Credential) => boolean): void
  /** The standing of this peer has changed: its callers are made anew at their next request. */
  refresh(peer: string): void
}

export interface AuthComponents {
  /** How far the owner trusts a peer; from memory. */
  readonly standingOf: (peer: string) => Standing
  /** Looked at for each credential, so some may be added later. */
  readonly verifiers?: readonly Verifier[]
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}
