import { type KeyObject, sign, verify } from 'node:crypto'

/**
 * Signs bytes with Ed25519, for what is signed so often that a JWS would cost more than all else. Synchronous; takes some 0.06 ms.
 *
 * @param domain names one kind of statement and its version: it and a line feed are signed before the bytes, so that it passes
 * as no other; the input of a JWS never begins as a domain does
 * @returns 64 bytes
 */
export function signBytes(key: KeyObject, domain: string, bytes: Uint8Array): Uint8Array {
  return sign(null, signedPart(domain, bytes), key)
}

/** Whether a key has signed bytes as {@link signBytes} does. Synchronous; takes some 0.12 ms. */
export function isSigned(
  key: KeyObject,
  { domain, bytes, signature }: { readonly domain: string; readonly bytes: Uint8Array; readonly signature: Uint8Array }
): boolean {
  return verify(null, signedPart(domain, bytes), key, signature)
}

function signedPart(domain: string, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from(`${domain}\n`), bytes])
}
