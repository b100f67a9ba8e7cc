import { createHash } from 'node:crypto'
import canonicalize from 'canonicalize'
import { MeshError } from '../errors.ts'

/**
 * The one JSON text of a value: RFC 8785, sorted keys, no spaces.
 *
 * A member that is undefined or a symbol is left out, as JSON.stringify does it.
 *
 * @throws {MeshError} INVALID_ARGUMENT when JSON can't say it: undefined, a function in it, NaN, BigInt, a cycle, half a surrogate pair
 */
export function canonicalJson(value: unknown): string {
  let text: string | undefined
  try {
    text = canonicalize(value)
    refuseFunctions(value)
  } catch (err) {
    if (err instanceof MeshError) throw err
    throw new MeshError('INVALID_ARGUMENT', 'the value has no JSON form', { cause: err })
  }
  if (text === undefined) throw new MeshError('INVALID_ARGUMENT', 'the value has no JSON form')
  return text
}

/** The library writes `undefined` for what has no text within another value. Only for what it has gone through: that has no cycles. */
function refuseFunctions(value: unknown): void {
  if (typeof value === 'function')
    throw new MeshError('INVALID_ARGUMENT', 'JSON has no functions, and the value holds one')
  if (typeof value !== 'object' || value === null) return
  if ('toJSON' in value && typeof value.toJSON === 'function') {
    const said: unknown = value.toJSON()
    if (said === undefined || typeof said === 'symbol')
      throw new MeshError('INVALID_ARGUMENT', 'the value holds a toJSON that gives nothing')
    refuseFunctions(said)
    return
  }
  for (const member of Array.isArray(value) ? value : Object.values(value)) refuseFunctions(member)
}

/** base64url SHA-256, without padding, over the canonical JSON of a value. @throws {MeshError} INVALID_ARGUMENT as {@link canonicalJson} */
export function digest(value: unknown): string {
  return createHash('sha256').update(canonicalJson(value)).digest('base64url')
}
