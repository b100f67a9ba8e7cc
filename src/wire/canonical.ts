import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { MeshError } from '../errors.ts'

/**
 * The one JSON text of a value: RFC 8785, sorted keys, no spaces.
 *
 * @throws {MeshError} INVALID_ARGUMENT when JSON can't say it: undefined, NaN, BigInt, a cycle, half a surrogate pair
 */
export function canonicalJson(value: unknown): string {
  let text: string | undefined
  try {
    text = canonicalize(value)
  } catch (err) {
    throw new MeshError('INVALID_ARGUMENT', 'the value has no JSON form', { cause: err })
  }
  if (text === undefined) throw new MeshError('INVALID_ARGUMENT', 'the value has no JSON form')
  return text
}

/** base64url SHA-256, without padding, over the canonical JSON of a value. @throws {MeshError} INVALID_ARGUMENT as {@link canonicalJson} */
export function digest(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('base64url')
}
