/**
 * The node's Ed25519 key: PeerId on the network, `did:key` in signatures.
 *
 * @packageDocumentation
 * @example
 * const identity = await loadIdentity({ path: join(home, 'identity.key') })
 * const jws = await identity.sign('mesh-record+jws', record)
 */
import type { Ed25519PrivateKey, PeerId } from '@libp2p/interface'

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
   */
  sign(type: string, payload: unknown): Promise<string>
}
