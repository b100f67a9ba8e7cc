import { createHash, createHmac, createPublicKey, type KeyObject, sign, timingSafeEqual, verify } from 'node:crypto'
import { MeshError } from '../errors.ts'
import { keyFromDid } from './did.ts'

// HTTP Message Signatures, RFC 9421, for requests: derived components and header fields without parameters; Ed25519 and
// HMAC-SHA256. Content-Digest is RFC 9530.

/** A request as both sides see it. */
export interface HttpRequest {
  /** Upper case. */
  readonly method: string
  /** As the client wrote it: behind a proxy, the outside's. */
  readonly url: URL
  /** Lower-case names; fields that came more than once joined by `, `. */
  readonly headers: Readonly<Record<string, string | undefined>>
  /** Absent or empty when there is none. */
  readonly body?: Uint8Array | undefined
}

/** The secret of an HMAC, or one half of an Ed25519 pair. */
export interface HttpSignatureKey {
  readonly algorithm: 'ed25519' | 'hmac-sha256'
  readonly key: KeyObject
}

export interface SignRequestInit extends HttpSignatureKey {
  readonly keyId: string
  /** Seconds since 1970. */
  readonly created: number
  /** Never used before with this key. */
  readonly nonce: string
  /** Default: what must be signed at least. */
  readonly components?: readonly string[]
}

/** A signature as it came, not yet checked. */
export interface HttpSignature {
  readonly components: readonly string[]
  readonly parameters: Readonly<Record<string, string | number>>
  readonly keyId: string
  readonly signature: Uint8Array
}

export interface VerifyRequestInit {
  readonly key: HttpSignatureKey
  /** Milliseconds since 1970. */
  readonly now: number
  /** How far `created` may be from now, either way; default 300,000. */
  readonly maxAgeMs?: number
}

/** What has to be signed of a request, at least. */
function signedComponents({ body }: Pick<HttpRequest, 'body'>): readonly string[] {
  const always = ['@method', '@authority', '@path', '@query']
  return body === undefined || body.length === 0 ? always : [...always, 'content-digest']
}

/**
 * Signs a request.
 *
 * @returns the headers to add: `signature-input`, `signature`, and `content-digest` when there is a body
 * @throws {MeshError} INVALID_ARGUMENT when a header field that is to be signed is missing
 */
export function signRequest(request: HttpRequest, init: SignRequestInit): Record<string, string> {
  const { keyId, created, nonce, algorithm, components = signedComponents(request) } = init
  const { body } = request
  const added = body === undefined || body.length === 0 ? {} : { 'content-digest': `sha-256=:${hash('sha256', body)}:` }
  const parameters = { created, nonce, keyid: keyId, alg: algorithm }
  const signed = { ...request, headers: { ...request.headers, ...added } }
  const base = Buffer.from(signatureBase(signed, components, parameters))
  const signature = algorithm === 'ed25519' ? sign(null, base, init.key) : hmac(init.key, base)
  return {
    ...added,
    'signature-input': `mesh=${innerList(components, parameters)}`,
    signature: `mesh=:${signature.toString('base64')}:`
  }
}

/**
 * Reads the only signature of a request.
 *
 * @returns undefined when it has none
 * @throws {MeshError} UNAUTHENTICATED when it is malformed or one of several
 */
export function readSignature(headers: HttpRequest['headers']): HttpSignature | undefined {
  const { 'signature-input': input, signature } = headers
  if (input === undefined && signature === undefined) return undefined
  if (input === undefined || signature === undefined || input.length + signature.length > MAX_HEADER_LENGTH)
    throw malformed('it needs both of its headers')
  const [, label, list = '', rest = ''] = INPUT.exec(input.trim()) ?? []
  const [, name, base64 = ''] = SIGNATURE.exec(signature.trim()) ?? []
  if (label === undefined || label !== name) throw malformed('it is not one signature as RFC 9421 has it')
  const components = [...list.matchAll(STRING)].map(([, component = '']) => component)
  const parameters = readParameters(rest)
  const { keyid } = parameters
  if (typeof keyid !== 'string') throw malformed('it names no key')
  if (new Set(components).size < components.length) throw malformed('it covers something twice')
  return { components, parameters, keyId: keyid, signature: Buffer.from(base64, 'base64') }
}

/**
 * Checks a signature that {@link readSignature} has read. Whether its nonce has been seen before is for the caller to say.
 *
 * @returns what to remember until it is too old to be accepted again
 * @throws {MeshError} UNAUTHENTICATED when it is not by that key, too old or from the future, doesn't cover what it must, or the
 *   body is another than was signed
 */
export function verifyRequest(
  request: HttpRequest,
  { components, parameters, signature }: HttpSignature,
  { key: { algorithm, key }, now, maxAgeMs = 300_000 }: VerifyRequestInit
): { readonly nonce: string; readonly created: number } {
  const { created, expires, nonce, alg } = parameters
  if (typeof created !== 'number' || typeof nonce !== 'string') throw malformed('it has no time, or no nonce')
  if (alg !== undefined && alg !== algorithm)
    throw refusal('unsupported', `the key is not for ${String(alg).slice(0, 40)}`)
  if (created * 1000 > now + maxAgeMs) throw refusal('not-yet-valid', 'the signature is from the future')
  if (created * 1000 < now - maxAgeMs) throw refusal('expired', 'the signature is too old')
  if (expires !== undefined && !(Number(expires) * 1000 > now)) throw refusal('expired', 'the signature has expired')
  const missing = signedComponents(request).filter((component) => !components.includes(component))
  if (missing.length > 0) throw refusal('signature', `the signature does not cover ${missing.join(', ')}`)
  const base = Buffer.from(signatureBase(request, components, parameters))
  const isGood =
    algorithm === 'ed25519' ? verify(null, base, key, signature) : isSame(hmac(key, base), Buffer.from(signature))
  if (!isGood) throw refusal('signature', 'the signature is not by that key, or not of this request')
  checkDigest(request)
  return { nonce, created }
}

/** The public key of a did:key, for {@link verifyRequest}. @throws {MeshError} INVALID_MESSAGE for any other did */
export function httpKeyOfDid(did: string): HttpSignatureKey {
  const x = Buffer.from(keyFromDid(did)).toString('base64url')
  return { algorithm: 'ed25519', key: createPublicKey({ format: 'jwk', key: { kty: 'OKP', crv: 'Ed25519', x } }) }
}

/**
 * What is signed, RFC 9421 §2.5.
 *
 * @throws {MeshError} INVALID_ARGUMENT for a component that the request doesn't have
 */
export function signatureBase(
  request: HttpRequest,
  components: readonly string[],
  parameters: HttpSignature['parameters']
): string {
  const lines = components.map((component) => `"${component}": ${valueOf(request, component)}`)
  return [...lines, `"@signature-params": ${innerList(components, parameters)}`].join('\n')
}

function valueOf({ method, url, headers }: HttpRequest, component: string): string {
  const value = component.startsWith('@')
    ? DERIVED[component]?.(url, method)
    : headers[component]?.replace(/[\t ]*\r?\n[\t ]+/g, ' ').trim()
  if (value !== undefined && !/[\r\n]/.test(value)) return value
  throw new MeshError('INVALID_ARGUMENT', `the request has no ${component.slice(0, 80)} that can be signed`)
}

// RFC 9421 §2.2
const DERIVED: Readonly<Record<string, (url: URL, method: string) => string>> = {
  '@method': (_, method) => method,
  '@target-uri': ({ href }) => href,
  '@authority': ({ host }) => host,
  '@scheme': ({ protocol }) => protocol.slice(0, -1),
  '@request-target': ({ pathname, search }) => pathname + search,
  '@path': ({ pathname }) => pathname,
  // An empty query is signed as a bare question mark.
  '@query': ({ search }) => search || '?'
}

function innerList(components: readonly string[], parameters: HttpSignature['parameters']): string {
  const texts = Object.entries(parameters).map(
    ([name, value]) => `;${name}=${typeof value === 'number' ? value : `"${value.replace(/["\\]/g, '\\$&')}"`}`
  )
  return `(${components.map((component) => `"${component}"`).join(' ')})${texts.join('')}`
}

function readParameters(text: string): Record<string, string | number> {
  const parameters: Record<string, string | number> = {}
  for (const [, name = '', quoted, digits] of text.matchAll(PARAMETER)) {
    if (!KNOWN_PARAMETERS.has(name) || Object.hasOwn(parameters, name)) throw malformed(`its ${name} is not known here`)
    parameters[name] = quoted === undefined ? Number(digits) : quoted.replace(/\\(["\\])/g, '$1')
  }
  return parameters
}

function checkDigest({ headers, body = new Uint8Array() }: HttpRequest): void {
  const header = headers['content-digest']
  if (header === undefined) return
  const digests = [...header.matchAll(DIGEST)]
  const isGood =
    digests.length > 0 &&
    digests.every(([, algorithm, value]) => hash(algorithm === '256' ? 'sha256' : 'sha512', body) === value)
  if (!isGood) throw refusal('signature', 'the body is not the one that was signed')
}

const KNOWN_PARAMETERS: ReadonlySet<string> = new Set(['created', 'expires', 'nonce', 'keyid', 'alg', 'tag'])

// RFC 8941: a dictionary of one member, an inner list of strings with parameters that are strings or integers.
const INPUT =
  /^([a-z*][a-z0-9_.*-]*)=\( *((?:"[a-z0-9@_-]+" *)*)\)((?:; *[a-z*][a-z0-9_.*-]*=(?:"(?:[ !#-[\]-~]|\\["\\])*"|\d{1,15}))*)$/
const SIGNATURE = /^([a-z*][a-z0-9_.*-]*)=:([A-Za-z0-9+/]+={0,2}):$/
const STRING = /"([a-z0-9@_-]+)"/g
const PARAMETER = /; *([a-z*][a-z0-9_.*-]*)=(?:"((?:[ !#-[\]-~]|\\["\\])*)"|(\d{1,15}))/g
const DIGEST = /(?:^|,) *sha-(256|512)=:([A-Za-z0-9+/]+={0,2}):/g

/** More than a signature of what is signed here needs. */
const MAX_HEADER_LENGTH = 8192

function hash(algorithm: 'sha256' | 'sha512', bytes: Uint8Array): string {
  return createHash(algorithm).update(bytes).digest('base64')
}

function hmac(key: KeyObject, bytes: Uint8Array): Buffer {
  return createHmac('sha256', key).update(bytes).digest()
}

function isSame(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

function malformed(why: string): MeshError {
  return refusal('malformed', `the signature of the request can't be read: ${why}`)
}

function refusal(reason: string, text: string): MeshError {
  return new MeshError('UNAUTHENTICATED', text, { data: { reason } })
}
