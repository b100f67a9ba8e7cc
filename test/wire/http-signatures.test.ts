import { createHmac, createPrivateKey, createSecretKey, generateKeyPairSync, sign } from 'node:crypto'
import fc from 'fast-check'
import { expect, it } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import {
  type HttpRequest,
  type HttpSignatureKey,
  httpKeyOfDid,
  readSignature,
  signatureBase,
  signRequest,
  verifyRequest
} from '../../src/wire/index.ts'

// The request and keys of RFC 9421 appendix B
const RFC_REQUEST: HttpRequest = {
  method: 'POST',
  url: new URL('https://example.com/foo?param=Value&Pet=dog'),
  headers: {
    date: 'Tue, 20 Apr 2021 02:07:55 GMT',
    'content-type': 'application/json',
    'content-length': '18'
  },
  body: Buffer.from('{"hello": "world"}')
}
const RFC_SECRET = 'uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=='
const RFC_ED25519 =
  '-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF\n-----END PRIVATE KEY-----\n'

const CREATED = 1_618_884_473
const NOW = CREATED * 1000
const secret = createSecretKey(Buffer.from(RFC_SECRET, 'base64'))
const pair = generateKeyPairSync('ed25519')

it.each([
  {
    id: 'B.2.5, hmac-sha256',
    input: 'sig-b25=("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"',
    signature: 'pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=',
    make: (base: string) => createHmac('sha256', secret).update(base).digest('base64')
  },
  {
    id: 'B.2.6, ed25519',
    input:
      'sig-b26=("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"',
    signature: 'wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==',
    make: (base: string) => sign(null, Buffer.from(base), createPrivateKey(RFC_ED25519)).toString('base64')
  }
])('signs what RFC 9421 signs in $id', ({ input, signature, make }) => {
  const label = input.slice(0, input.indexOf('='))
  const read = readSignature({ 'signature-input': input, signature: `${label}=:${signature}:` })
  const base = signatureBase(RFC_REQUEST, read?.components ?? [], read?.parameters ?? {})
  expect(make(base)).toBe(signature)
})

const KEYS: { id: string; mine: HttpSignatureKey; theirs: HttpSignatureKey }[] = [
  {
    id: 'a shared secret',
    mine: { algorithm: 'hmac-sha256', key: secret },
    theirs: { algorithm: 'hmac-sha256', key: secret }
  },
  {
    id: 'an Ed25519 key',
    mine: { algorithm: 'ed25519', key: pair.privateKey },
    theirs: { algorithm: 'ed25519', key: pair.publicKey }
  }
]

const post: HttpRequest = { ...RFC_REQUEST, headers: {} }
const get: HttpRequest = { method: 'GET', url: new URL('https://example.com:8443/'), headers: {} }

function signed(request: HttpRequest, mine: HttpSignatureKey, created = CREATED): HttpRequest {
  const headers = signRequest(request, { ...mine, keyId: 'a "key" \\', created, nonce: 'n-1' })
  return { ...request, headers: { ...request.headers, ...headers } }
}

function check(request: HttpRequest, key: HttpSignatureKey, now = NOW) {
  const signature = readSignature(request.headers)
  if (signature === undefined) throw new Error('there is no signature')
  expect(signature.keyId).toBe('a "key" \\')
  return verifyRequest(request, signature, { key, now })
}

const unauthenticated = (reason: string) => expect.objectContaining({ code: 'UNAUTHENTICATED', data: { reason } })

it.each(KEYS)('accepts what was signed by $id, with and without a body', ({ mine, theirs }) => {
  expect(check(signed(post, mine), theirs)).toEqual({ nonce: 'n-1', created: CREATED })
  expect(check(signed(get, mine), theirs)).toEqual({ nonce: 'n-1', created: CREATED })
})

it.each(
  KEYS.flatMap(({ id, mine, theirs }) =>
    (
      [
        ['method', { method: 'PUT' }],
        ['host', { url: new URL('https://example.org/foo?param=Value&Pet=dog') }],
        ['port', { url: new URL('https://example.com:444/foo?param=Value&Pet=dog') }],
        ['path', { url: new URL('https://example.com/bar?param=Value&Pet=dog') }],
        ['query', { url: new URL('https://example.com/foo?param=Value&Pet=cat') }],
        ['body', { body: Buffer.from('{"hello": "there"}') }],
        ['body, which is gone', { body: undefined }]
      ] satisfies [string, Partial<HttpRequest>][]
    ).map(([what, change]) => ({ id, mine, theirs, what, change }))
  )
)('refuses another $what under a signature by $id', ({ mine, theirs, change }) => {
  expect(() => check({ ...signed(post, mine), ...change }, theirs)).toThrow(unauthenticated('signature'))
})

it('refuses another key, and a key of another kind', () => {
  const [hmac, ed25519] = KEYS
  if (hmac === undefined || ed25519 === undefined) throw new Error('no keys')
  const other: HttpSignatureKey = { algorithm: 'ed25519', key: generateKeyPairSync('ed25519').publicKey }
  expect(() => check(signed(post, ed25519.mine), other)).toThrow(unauthenticated('signature'))
  expect(() => check(signed(post, ed25519.mine), hmac.theirs)).toThrow(unauthenticated('unsupported'))
  const short = createSecretKey(Buffer.from('another'))
  expect(() => check(signed(post, hmac.mine), { algorithm: 'hmac-sha256', key: short })).toThrow(
    unauthenticated('signature')
  )
})

it.each([
  { id: 'too old', now: NOW + 300_001, reason: 'expired' },
  { id: 'from the future', now: NOW - 300_001, reason: 'not-yet-valid' }
])('refuses a signature that is $id', ({ now, reason }) => {
  const [key] = KEYS
  if (key === undefined) throw new Error('no keys')
  expect(() => check(signed(get, key.mine), key.theirs, now)).toThrow(unauthenticated(reason))
})

it.each(['@method', '@authority', '@path', '@query', 'content-digest'])(
  'refuses a good signature that does not cover %s',
  (left) => {
    const components = ['@method', '@authority', '@path', '@query', 'content-digest'].filter((one) => one !== left)
    const init = { algorithm: 'ed25519', key: pair.privateKey, keyId: 'k', created: CREATED, nonce: 'n' } as const
    const headers = signRequest(post, { ...init, components })
    const signature = readSignature(headers)
    if (signature === undefined) throw new Error('there is no signature')
    const key: HttpSignatureKey = { algorithm: 'ed25519', key: pair.publicKey }
    expect(() => verifyRequest({ ...post, headers }, signature, { key, now: NOW })).toThrow(`does not cover ${left}`)
  }
)

it.each([
  { id: 'half of it is missing', headers: { signature: 'mesh=:AAAA:' } },
  { id: 'it is no structured field', headers: { 'signature-input': 'mesh', signature: 'mesh=:AAAA:' } },
  {
    id: 'the labels differ',
    headers: { 'signature-input': 'a=();created=1;keyid="k"', signature: 'b=:AAAA:' }
  },
  {
    id: 'there are two',
    headers: { 'signature-input': 'a=();keyid="k", b=();keyid="k"', signature: 'a=:AAAA:, b=:AAAA:' }
  },
  { id: 'it names no key', headers: { 'signature-input': 'a=("@method");created=1', signature: 'a=:AAAA:' } },
  {
    id: 'it covers something twice',
    headers: { 'signature-input': 'a=("@method" "@method");keyid="k"', signature: 'a=:AAAA:' }
  },
  {
    id: 'a component has parameters',
    headers: { 'signature-input': 'a=("@method";req);keyid="k"', signature: 'a=:AAAA:' }
  },
  {
    id: 'a parameter comes twice',
    headers: { 'signature-input': 'a=("@method");keyid="k";keyid="j"', signature: 'a=:AAAA:' }
  },
  {
    id: 'it is very long',
    headers: { 'signature-input': `a=("@method");keyid="${'k'.repeat(9000)}"`, signature: 'a=:AAAA:' }
  }
])('refuses to read a signature when $id', ({ headers }) => {
  expect(() => readSignature(headers)).toThrow(unauthenticated('malformed'))
})

it('reads nothing where there is no signature', () => {
  expect(readSignature({ host: 'example.com' })).toBeUndefined()
})

it('refuses a signature without a time or a nonce', () => {
  const headers = { 'signature-input': 'a=("@method");keyid="k"', signature: 'a=:AAAA:' }
  const signature = readSignature(headers)
  if (signature === undefined) throw new Error('there is no signature')
  const key: HttpSignatureKey = { algorithm: 'hmac-sha256', key: secret }
  expect(() => verifyRequest({ ...get, headers }, signature, { key, now: NOW })).toThrow(unauthenticated('malformed'))
})

it("verifies what a node's key has signed by its did:key", () => {
  const { did, privateKey } = createIdentity()
  const jwk = {
    kty: 'OKP',
    crv: 'Ed25519',
    x: Buffer.from(privateKey.publicKey.raw).toString('base64url'),
    d: Buffer.from(privateKey.raw.subarray(0, 32)).toString('base64url')
  }
  const key = createPrivateKey({ format: 'jwk', key: jwk })
  const headers = signRequest(post, { algorithm: 'ed25519', key, keyId: did, created: CREATED, nonce: 'n' })
  const signature = readSignature(headers)
  if (signature === undefined) throw new Error('there is no signature')
  expect(verifyRequest({ ...post, headers }, signature, { key: httpKeyOfDid(signature.keyId), now: NOW })).toEqual({
    nonce: 'n',
    created: CREATED
  })
})

it('signs and reads back any path, query and body', () => {
  fc.assert(
    fc.property(fc.webUrl({ withQueryParameters: true }), fc.uint8Array({ maxLength: 200 }), (url, body) => {
      const request: HttpRequest = { method: 'POST', url: new URL(url), headers: {}, body }
      const [key] = KEYS
      if (key === undefined) throw new Error('no keys')
      expect(check(signed(request, key.mine), key.theirs).created).toBe(CREATED)
    })
  )
})
