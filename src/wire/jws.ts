import { createPublicKey, type KeyObject } from 'node:crypto'
import { CompactSign, compactVerify } from 'jose'
import { MeshError } from '../errors.ts'
import { canonicalJson } from './canonical.ts'
import { keyFromDid } from './did.ts'
import { parseJson } from './json.ts'

/** RFC 9864 renames EdDSA; both mean Ed25519 here. */
const ALGORITHMS = ['EdDSA', 'Ed25519']

export interface Signer {
  /** Ed25519. The same object for each signature: what is made of it to sign with is kept with it. */
  readonly key: KeyObject
  /** did:key of the same key. */
  readonly did: string
}

export interface VerifyJwsOptions {
  /** The `typ` it must have. */
  readonly type: string
  /** Largest JWS, bytes. */
  readonly maxBytes: number
  /** Gives the key of a signer; default {@link publicKeyOf}. For who reads many of few: making a key takes as long as using it. */
  readonly keyOf?: (did: string) => KeyObject
}

/**
 * Signs the canonical JSON of a value as compact JWS.
 *
 * @param type the JWS `typ`, which keeps one kind of statement from passing as another
 * @throws {MeshError} INVALID_ARGUMENT when the payload has no JSON form
 */
export async function signJws(signer: Signer, type: string, payload: unknown): Promise<string> {
  return await new CompactSign(Buffer.from(canonicalJson(payload)))
    .setProtectedHeader({ alg: 'EdDSA', kid: signer.did, typ: type })
    .sign(signer.key)
}

/**
 * Reads and checks a compact JWS; the key is the one that its `kid` names, and the caller must judge whether that key may say this.
 *
 * @returns the signer and the payload, which has passed the guards of parseJson
 * @throws {MeshError} TOO_LARGE; INVALID_MESSAGE when it is malformed, of another type, not canonical, or has a header member that isn't ours;
 * INVALID_RECORD when the signature is not by that key
 */
export async function verifyJws(jws: string, options: VerifyJwsOptions): Promise<{ did: string; payload: unknown }> {
  if (jws.length > options.maxBytes)
    throw new MeshError('TOO_LARGE', `a JWS is over the limit of ${options.maxBytes} bytes`)
  const parts = jws.split('.', 4)
  const [header = '', body = '', signature = ''] = parts
  if (parts.length !== 3) throw new MeshError('INVALID_MESSAGE', 'not a compact JWS')
  fromBase64url(signature)
  const payload = fromBase64url(body)
  const did = readHeader(header, options.type)
  const key = (options.keyOf ?? publicKeyOf)(did)
  try {
    await compactVerify(jws, key, { algorithms: ALGORITHMS })
  } catch (err) {
    throw new MeshError('INVALID_RECORD', 'the signature is not by the key it names', { cause: err })
  }
  return { did, payload: readPayload(payload) }
}

/** The key that a did:key names. @throws {MeshError} INVALID_MESSAGE */
export function publicKeyOf(did: string): KeyObject {
  return createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x: base64url(keyFromDid(did)) } })
}

function readHeader(part: string, type: string): string {
  const header = parseJson(fromBase64url(part))
  if (typeof header !== 'object' || header === null)
    throw new MeshError('INVALID_MESSAGE', 'the JWS header is not an object')
  const { alg, kid, typ, ...others } = header as Record<string, unknown>
  if (typeof alg !== 'string' || !ALGORITHMS.includes(alg))
    throw new MeshError('INVALID_MESSAGE', 'the JWS is not signed with EdDSA')
  if (typ !== type) throw new MeshError('INVALID_MESSAGE', `the JWS is not of type ${type}`)
  if (typeof kid !== 'string') throw new MeshError('INVALID_MESSAGE', 'the JWS names no key')
  // crit, jwk, jku, x5u, b64 and the like: each has changed what a verifier checks in some library
  const [other] = Object.keys(others)
  if (other !== undefined)
    throw new MeshError('INVALID_MESSAGE', `the JWS header member ${other.slice(0, 32)} is not allowed`)
  return kid
}

function readPayload(bytes: Buffer): unknown {
  const payload = parseJson(bytes)
  // One reading, one digest: keys sorted and given once, numbers and strings in their one form.
  if (!isCanonical(payload, bytes)) throw new MeshError('INVALID_MESSAGE', 'the JWS payload is not canonical JSON')
  return payload
}

function isCanonical(payload: unknown, bytes: Buffer): boolean {
  try {
    return Buffer.from(canonicalJson(payload)).equals(bytes)
  } catch {
    return false
  }
}

function base64url(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64url')
}

function fromBase64url(part: string): Buffer {
  const bytes = Buffer.from(part, 'base64url')
  // Buffer skips what it can't read; the same bytes must not have a second text
  if (base64url(bytes) !== part) throw new MeshError('INVALID_MESSAGE', 'the JWS is not base64url')
  return bytes
}
