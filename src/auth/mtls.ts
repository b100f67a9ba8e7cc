import type { Verifier } from './index.ts'
import { refused } from './refusals.ts'

/** Whose client certificates are accepted. */
export interface MtlsInit {
  /** PEM file of the authorities whose certificates may name a node in a SAN URI `did:key:…`. */
  readonly ca?: string
  /** Certificates known by their key, whoever signed them. */
  readonly pins?: readonly CertificatePin[]
}

export interface CertificatePin {
  /** base64url SHA-256 of the certificate's SubjectPublicKeyInfo. */
  readonly spki: string
  /** Names it in policies and lists. */
  readonly name: string
  readonly scopes?: readonly string[]
}

export async function createMtls(_init: MtlsInit): Promise<Verifier> {
  return { method: 'mtls', verify: () => Promise.reject(refused('unsupported', 'not built')) }
}
