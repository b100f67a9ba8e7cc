/**
 * The node's Ed25519 key: PeerId on the network, `did:key` in signatures.
 *
 * @packageDocumentation
 * @example
 * const identity = await loadIdentity({ path: join(home, 'identity.key') })
 * const jws = await identity.sign('mesh-record+jws', record)
 */
import type { Ed25519PrivateKey, PeerId } from '@libp2p/interface'
import { identityFrom } from './identity.ts'
import { generateKey, readOrCreateKey } from './key-file.ts'

export * from './constants.ts'
export { fingerprintOf } from './fingerprint.ts'

export interface Identity {
  readonly peerId: PeerId
  /** `peerId` as text, `12D3Koo…`. */
  readonly id: string
  /** The same key as `did:key:z6Mk…`. */
  readonly did: string
  readonly privateKey: Ed25519PrivateKey
  /**
   * Signs `payload` as compact JWS over its canonical JSON (RFC 8785), `alg` EdDSA, `kid` = {@link did}.
   *
   * @param type the JWS `typ`, which keeps one kind of statement from passing as another, e.g. `mesh-record+jws`
   * @throws {MeshError} INVALID_ARGUMENT when the payload has no JSON form
   */
  sign(type: string, payload: unknown): Promise<string>
  /**
   * Signs bytes with Ed25519, 64 bytes; for what is signed so often that a JWS costs too much.
   *
   * @param domain names one kind of statement and its version, e.g. `pryx-mesh-messages/1`; it and a line feed are signed before the bytes
   */
  readonly signBytes: (domain: string, bytes: Uint8Array) => Uint8Array
}

export interface IdentityInit {
  /** The key file: PKCS#8 in PEM, mode 0600. Made, with its folder (0700), when there is none. */
  readonly path: string
}

/**
 * Reads the node's key from its file; the first time it makes one, on disk before this resolves.
 *
 * @throws {MeshError} INVALID_CONFIG when the file is no Ed25519 key or others can read it, IO when it can't be read or written
 */
export async function loadIdentity(init: IdentityInit): Promise<Identity> {
  return identityFrom(await readOrCreateKey(init.path))
}

/** Makes a new identity that is kept nowhere, for a node without a home. */
export function createIdentity(): Identity {
  return identityFrom(generateKey())
}
