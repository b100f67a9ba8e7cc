// Makes protocols/records/1.0.0/vectors/signed.json. Uses nothing of src/, so that the vectors check it and don't echo it.
import { createHash, createPrivateKey, type KeyObject, sign } from 'node:crypto'
import canonicalize from 'canonicalize'
import { base58btc } from 'multiformats/bases/base58'

/** The DER form of an Ed25519 private key (RFC 8410 §7)up to its seed. */
const PKCS8_PREFIX = '302e020100300506032b657004220420'

/** Keys of RFC 8032 §7.1, tests 1 and 2: anybody can sign with them, nobody should believe them. */
export const OWNER = keyPair(
  '9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60',
  'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a'
)
export const STRANGER = keyPair(
  '4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb',
  '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'
)

const NOW = '2026-11-23T12:00:00.000Z'
const TYPE = 'mesh-record+jws'
export type Json = Record<string, unknown>

export interface KeyPair {
  readonly did: string
  readonly peer: string
  readonly privateKey: KeyObject
}

interface Vector {
  readonly name: string
  /** The receiver's clock. */
  readonly now: string
  readonly jws: string
  /** What a valid one says. */
  readonly record?: unknown
  readonly code?: 'INVALID_RECORD'
  /** What is wrong with an invalid one. */
  readonly reason?: string
}

export function keyPair(seed: string, publicKey: string): KeyPair {
  return {
    did: `did:key:${base58btc.encode(Buffer.from(`ed01${publicKey}`, 'hex'))}`,
    peer: base58btc.encode(Buffer.from(`002408011220${publicKey}`, 'hex')).slice(1),
    privateKey: createPrivateKey({ key: Buffer.from(PKCS8_PREFIX + seed, 'hex'), format: 'der', type: 'pkcs8' })
  }
}

export const base64url = (text: string | Buffer): string => Buffer.from(text).toString('base64url')

export const canonical = (value: unknown): string => canonicalize(value) ?? ''

const digest = (value: unknown): string => createHash('sha256').update(canonical(value)).digest('base64url')

const headerOf = ({ did }: KeyPair, changes: Json = {}): Json => ({ alg: 'EdDSA', kid: did, typ: TYPE, ...changes })

/** Signs exactly these texts, whatever they say. */
export function jwsOf(header: string, payload: string | Buffer, key: KeyPair = OWNER): string {
  const input = `${base64url(header)}.${base64url(payload)}`
  return `${input}.${sign(null, Buffer.from(input), key.privateKey).toString('base64url')}`
}

function capability(changes: Json = {}): Json {
  const unsigned = {
    kind: 'tool',
    name: 'add',
    version: '1.0.0',
    description: 'Adds two numbers.',
    input: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } }, required: ['a', 'b'] },
    output: { type: 'object', properties: { sum: { type: 'number' } }, required: ['sum'] },
    streaming: false,
    effects: 'none',
    tags: [],
    ...changes
  }
  return { ...unsigned, digest: digest(unsigned) }
}

function record(changes: Json = {}): Json {
  return {
    v: 1,
    id: `${OWNER.peer}/calculator`,
    seq: 1_795_435_200_000,
    issuedAt: NOW,
    expiresAt: '2026-11-23T14:30:00.000Z',
    name: 'calculator',
    version: '1.0.0',
    driver: 'function',
    audience: 'public',
    tags: ['maths'],
    auth: ['noise'],
    protocols: { call: ['1.0.0'], hello: ['1.0.0'], records: ['1.0.0'] },
    capabilities: [capability()],
    ...changes
  }
}

const signed = (changes: Json = {}, header: Json = {}, key = OWNER): string =>
  jwsOf(canonical(headerOf(key, header)), canonical(record(changes)), key)

function valid(name: string, changes: Json = {}, header: Json = {}): Vector {
  return { name, now: NOW, jws: signed(changes, header), record: record(changes) }
}

const invalid = (name: string, jws: string, reason: string): Vector => ({
  name,
  now: NOW,
  jws,
  code: 'INVALID_RECORD',
  reason
})

function validVectors(): Vector[] {
  const texts = { type: 'object', description: 'line\nand\ttab 🦊', properties: { name: { default: 'a\u200bb' } } }
  const keys = Object.fromEntries(['€', '\r', '\ufb33', '1', '😀', '\u0080', 'ö'].map((key) => [key, {}]))
  const reordered = JSON.stringify({ typ: TYPE, alg: 'EdDSA', kid: OWNER.did })
  return [
    valid('the example of the page'),
    valid('alg of RFC 9864', {}, { alg: 'Ed25519' }),
    { name: 'header members in another order', now: NOW, jws: jwsOf(reordered, canonical(record())), record: record() },
    valid('no capabilities', { capabilities: [] }),
    valid('every optional member', {
      description: 'Counts.',
      capabilities: [capability({ effects: 'read', streaming: true, tags: ['maths'] })]
    }),
    valid('one name in two kinds', { capabilities: [capability(), capability({ kind: 'skill' })] }),
    valid('a capability without schemas', { capabilities: [withoutSchemas()] }),
    valid('members of a later version, which the digest covers', {
      region: 'eu',
      capabilities: [capability({ cost: { usd: 1 } })]
    }),
    valid('line feed, tab and a character beyond U+FFFF in a description; a hidden one in a default value', {
      capabilities: [capability({ input: texts })]
    }),
    valid('keys in the order of RFC 8785', { capabilities: [capability({ input: { properties: keys } })] }),
    valid('numbers in the form of RFC 8785', {
      capabilities: [capability({ input: { enum: [333333333.3333333, 1e30, 4.5, 2e-3, 1e-27, -0] } })]
    }),
    valid('ten minutes from the future', { issuedAt: '2026-11-23T12:10:00.000Z' }),
    valid('in its last millisecond', { issuedAt: '2026-11-23T11:00:00.000Z', expiresAt: '2026-11-23T12:00:00.001Z' }),
    valid('24 hours long', { expiresAt: '2026-11-24T12:00:00.000Z' }),
    valid('a description of 2,049 characters in 4,098 UTF-16 units', { description: '🦊'.repeat(2_049) })
  ]
}

function withoutSchemas(): Json {
  const { input: _input, output: _output, digest: _digest, ...unsigned } = capability()
  return { ...unsigned, digest: digest(unsigned) }
}

/** Refused before the payload is looked at. */
function brokenEnvelopes(): Vector[] {
  const [header = '', payload = '', signature = ''] = signed().split('.')
  const [, otherPayload = ''] = signed({ seq: 2 }).split('.')
  const notOurs = (name: string, member: string, changes: Json): Vector =>
    invalid(name, signed({}, changes), `the JWS header member ${member} is not allowed`)
  return [
    invalid('two parts', `${header}.${payload}`, 'not a compact JWS'),
    invalid('four parts', `${header}.${payload}.${signature}.`, 'not a compact JWS'),
    invalid('padded base64url', `${header}.${payload}.${signature}==`, 'the JWS is not base64url'),
    invalid('base64 alphabet', `${header}.${payload}.${'+'.repeat(86)}`, 'the JWS is not base64url'),
    invalid(
      'unused bits that are set',
      `${header}.${payload}.${withUnusedBits(signature)}`,
      'the JWS is not base64url'
    ),
    invalid('a payload that was not signed', `${header}.${otherPayload}.${signature}`, NOT_SIGNED),
    invalid('a changed signature', `${header}.${payload}.${changed(signature)}`, NOT_SIGNED),
    invalid('no signature', `${header}.${payload}.`, NOT_SIGNED),
    invalid('a stranger in the name of the owner', signed({}, { kid: OWNER.did }, STRANGER), NOT_SIGNED),
    invalid('alg none', `${base64url(canonical(headerOf(OWNER, { alg: 'none' })))}.${payload}.`, NOT_EDDSA),
    invalid('alg HS256', signed({}, { alg: 'HS256' }), NOT_EDDSA),
    invalid('another type', signed({}, { typ: 'mesh-grant+jws' }), NOT_TYPE),
    invalid('a type in upper case', signed({}, { typ: TYPE.toUpperCase() }), NOT_TYPE),
    invalid('no type', jwsOf(canonical({ alg: 'EdDSA', kid: OWNER.did }), canonical(record())), NOT_TYPE),
    invalid('no key', jwsOf(canonical({ alg: 'EdDSA', typ: TYPE }), canonical(record())), 'the JWS names no key'),
    invalid('a PeerId as kid', signed({}, { kid: OWNER.peer }), `not the name of an Ed25519 key: ${OWNER.peer}`),
    invalid(
      'a did:key of another curve',
      signed({}, { kid: 'did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv' }),
      'not the name of an Ed25519 key: did:key:zDnaerx9CtbPJ1q36T5Ln5wYt3MQYeGRG5ehnPAmxcf5mDZpv'
    ),
    notOurs('a key in the header', 'jwk', { jwk: { kty: 'OKP', crv: 'Ed25519', x: '' } }),
    notOurs('a critical extension', 'crit', { crit: ['exp'], exp: 0 }),
    notOurs('an unencoded payload', 'b64', { b64: false }),
    invalid('a header that is not an object', jwsOf('1', canonical(record())), 'the JWS header is not an object')
  ]
}

const NOT_SIGNED = 'the signature is not by the key it names'
const NOT_EDDSA = 'the JWS is not signed with EdDSA'
const NOT_TYPE = 'the JWS is not of type mesh-record+jws'

/** 64 bytes leave four bits of the last character unused. */
function withUnusedBits(signature: string): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return signature.slice(0, -1) + alphabet.charAt(alphabet.indexOf(signature.slice(-1)) + 1)
}

function changed(signature: string): string {
  const bytes = Buffer.from(signature, 'base64url')
  bytes.writeUInt8(bytes.readUInt8(0) ^ 1, 0)
  return bytes.toString('base64url')
}

/** Well signed, but not in the one form that a payload has. */
function notCanonical(): Vector[] {
  const text = canonical(record())
  const bad = (name: string, payload: string | Buffer, reason = 'the JWS payload is not canonical JSON'): Vector =>
    invalid(name, jwsOf(canonical(headerOf(OWNER)), payload), reason)
  const nested = (levels: number): unknown => JSON.parse(`${'['.repeat(levels)}${']'.repeat(levels)}`)
  return [
    bad('spaces in the payload', JSON.stringify(record(), null, 1)),
    bad('unsorted members', JSON.stringify(record())),
    bad('a member twice', text.replace('{"audience"', '{"audience":"paired","audience"')),
    bad('a number in another form', text.replace('"v":1', '"v":1.0')),
    bad('a character escaped without need', text.replace('"maths"', String.raw`"m\u0061ths"`)),
    bad('half a surrogate pair', text.replace('"maths"', String.raw`"\ud800"`)),
    bad('a byte order mark', `\ufeff${text}`, 'not JSON'),
    bad('bytes that are not UTF-8', Buffer.from(text.replace('maths', '\u00ff'), 'latin1'), 'not UTF-8'),
    bad('no JSON', text.slice(1), 'not JSON'),
    bad('a key that reaches a prototype', text.replace('{"audience"', '{"__proto__":{},"audience"'), FORBIDDEN_KEY),
    bad(
      'deeper than 64 levels',
      canonical(record({ capabilities: [capability({ input: { enum: nested(61) } })] })),
      'JSON nests deeper than 64 levels'
    )
  ]
}

const FORBIDDEN_KEY = 'the key __proto__ is not allowed'

const ISO = 'Invalid ISO datetime'
const PATTERN = 'Invalid string: must match pattern'

/** Says what no record may say. */
function badContents(): Vector[] {
  const bad = (name: string, reason: string, changes: Json): Vector => invalid(name, signed(changes), reason)
  const offers = (name: string, reason: string, ...capabilities: Json[]): Vector => bad(name, reason, { capabilities })
  const unsigned = { ...capability(), digest: undefined }
  return [
    invalid('a list', jwsOf(canonical(headerOf(OWNER)), '[]'), 'the payload: Invalid input: expected object'),
    bad('version 2', 'v: Invalid input: expected 1', { v: 2 }),
    bad('seq 0', 'seq: Too small', { seq: 0 }),
    bad('seq 2^53', 'seq: Too big', { seq: 2 ** 53 }),
    bad('seq 1.5', 'seq: Invalid input: expected int', { seq: 1.5 }),
    bad('no seq', 'seq: Invalid input: expected number', { seq: undefined }),
    bad('a time without milliseconds', `issuedAt: ${ISO}`, { issuedAt: '2026-11-23T12:00:00Z' }),
    bad('a time with an offset', `issuedAt: ${ISO}`, { issuedAt: '2026-11-23T12:00:00.000+00:00' }),
    bad('a day that is none', `expiresAt: ${ISO}`, { expiresAt: '2026-02-30T12:00:00.000Z' }),
    bad('a name in upper case', `id: ${PATTERN}`, { id: `${OWNER.peer}/Calculator`, name: 'Calculator' }),
    bad('an audience that is none', 'audience: Invalid option', { audience: 'friends' }),
    bad('a hidden character in the description', 'description: has hidden characters', { description: 'a\u202eb' }),
    bad('a description of 4,097 characters', 'description: Too big', { description: 'x'.repeat(4_097) }),
    invalid('signed by another node', signed({}, {}, STRANGER), 'it is not signed by the node that its id names'),
    bad("a name that isn't the id's", 'its name is not that of its id', { name: 'other' }),
    bad('issued in the future', 'it was issued in the future', { issuedAt: '2026-11-23T12:10:00.001Z' }),
    bad('expired', 'it has expired', { issuedAt: '2026-11-23T11:00:00.000Z', expiresAt: NOW }),
    bad('expired before it was issued', 'it expires before it was issued', {
      issuedAt: '2026-11-23T12:05:00.000Z',
      expiresAt: '2026-11-23T12:04:00.000Z'
    }),
    bad('longer than 24 hours', 'it lives longer than 24 hours', { expiresAt: '2026-11-24T12:00:00.001Z' }),
    offers('a capability twice', 'it has tool add twice', capability(), capability({ version: '2.0.0' })),
    offers('a wrong digest', 'the digest of tool add is not right', { ...capability(), version: '2.0.0' }),
    offers('a digest that leaves out members of a later version', 'the digest of tool add is not right', {
      ...capability(),
      cost: { usd: 1 }
    }),
    offers('no digest', 'capabilities.0.digest: Invalid input: expected string', unsigned),
    offers('a hidden character in a capability', 'capabilities.0.description: has hidden characters', {
      ...capability({ description: 'a\u200bb' })
    }),
    offers(
      'a hidden character in a schema',
      'a schema of tool add has hidden characters',
      capability({ input: { anyOf: [{ description: 'a\u{e0041}b' }] } })
    )
  ]
}

/** The file, reproducible: Ed25519 needs no randomness. */
export function signedVectors(): string {
  const vectors = [...validVectors(), ...brokenEnvelopes(), ...notCanonical(), ...badContents()]
  return `${JSON.stringify(vectors, null, 2)}\n`
}
