import { createHash, createHmac, createPublicKey, type JsonWebKey } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import type { RequestListener } from 'node:http'
import { join } from 'node:path'
import fc from 'fast-check'
import { calculateJwkThumbprint, decodeJwt, exportJWK, generateKeyPair, type JWTPayload } from 'jose'
import { describe, expect, it } from 'vitest'
import type { Credential, Holder } from '../../src/auth/index.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import {
  createTokens,
  INTROSPECTION_TTL_MS,
  ISSUER_COOLDOWN_MS,
  ISSUER_KEYS_TTL_MS,
  ISSUER_RETRY_MS,
  type IssuerInit,
  MAX_TOKEN_BYTES,
  type Tokens,
  tokensMigrations
} from '../../src/oauth/index.ts'
import { openStore } from '../../src/store/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer
} from './authorization-server.ts'

const METADATA = '/.well-known/oauth-authorization-server'
const OIDC_METADATA = '/.well-known/openid-configuration'
const MINUTE_MS = 60_000

interface Setup {
  readonly server: AuthorizationServer
  /** The node that is called. */
  readonly self: Identity
  readonly alice: Identity
  readonly mallory: Identity
  readonly tokens: Tokens
  /** What was told of revoked tokens. */
  readonly gone: ((credential: Credential) => boolean)[]
  /** Added to the clock of the node that is called. */
  readonly clock: { skewMs: number }
  /** A token of alice's for this node. */
  readonly issue: () => Promise<string>
  /** Claims of a good token of alice's, to be changed and signed. */
  readonly claims: (changes?: JWTPayload) => Promise<JWTPayload>
  readonly present: (token: unknown, holder?: Holder, extra?: object) => Promise<Credential>
}

async function setUp(
  options: AuthorizationServerOptions = {},
  init: Partial<Omit<IssuerInit, 'issuer'>> & { audience?: string } = {},
  others: readonly IssuerInit[] = []
): Promise<Setup> {
  const server = await startAuthorizationServer(options)
  const [self, alice, mallory] = [createIdentity(), createIdentity(), createIdentity()]
  const clock = { skewMs: 0 }
  const { audience, ...issuer } = init
  const gone: Setup['gone'] = []
  const tokens = createTokens({
    identity: self,
    store: await openStore({ migrations: [tokensMigrations] }),
    issuers: [{ issuer: server.issuer, ...issuer }, ...others],
    onRevoke: (matches) => gone.push(matches),
    clock: () => Date.now() + clock.skewMs,
    ...(audience === undefined ? {} : { audience })
  })
  return {
    server,
    self,
    alice,
    mallory,
    tokens,
    gone,
    clock,
    issue: async () =>
      (await server.issueFor({ resource: audience ?? self.did, identity: alice, scope: 'tools.call build' }))
        .access_token,
    claims: async (changes = {}) => {
      const now = Math.floor(Date.now() / 1_000)
      return {
        iss: server.issuer,
        aud: self.did,
        client_id: 'agent',
        sub: 'agent',
        jti: 'one',
        scope: 'build',
        iat: now,
        exp: now + 300,
        cnf: { jkt: await jktOf(alice) },
        ...changes
      }
    },
    present: (token, holder = { peer: alice.id }, extra = {}) =>
      tokens.verifier.verify({ method: 'oauth', token, ...extra }, holder, { signal: AbortSignal.timeout(10_000) })
  }
}

function jktOf({ privateKey }: Identity): Promise<string> {
  const x = Buffer.from(privateKey.publicKey.raw).toString('base64url')
  return calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x })
}

function refusal(reason: string): object {
  return { code: 'UNAUTHENTICATED', data: { reason } }
}

describe('a token', () => {
  it('of the peer that presents it is accepted, bound to the key of the connection', async () => {
    const { server, issue, present, tokens } = await setUp()
    const token = await issue()
    const credential = await present(token)
    expect(credential).toEqual({
      method: 'oauth',
      binding: 'noise',
      subject: 'agent',
      issuer: server.issuer,
      token: decodeJwt(token).jti,
      scopes: ['tools.call', 'build'],
      expiresAt: (decodeJwt(token).exp ?? 0) * 1_000
    })
    expect(tokens.tokenOf(credential)).toBe(token)
    expect(tokens.tokenOf({ ...credential })).toBeUndefined()
  })

  it('that was stolen is refused to another peer, before and after its owner has presented it', async () => {
    const { issue, present, mallory } = await setUp()
    const token = await issue()
    const steal = () => failureOf(present(token, { peer: mallory.id }))
    expect(await steal()).toMatchObject(refusal('wrong-peer'))
    await present(token)
    expect(await steal()).toMatchObject(refusal('wrong-peer'))
  })

  it('may be presented again by the same peer, which asks the issuer nothing', async () => {
    const { server, issue, present } = await setUp()
    const token = await issue()
    await present(token)
    const asked = server.requestsTo(METADATA) + server.requestsTo('/jwks')
    expect(await present(token)).toEqual(await present(token))
    expect(server.requestsTo(METADATA) + server.requestsTo('/jwks')).toBe(asked)
  })

  it('of a user names the client and the user', async () => {
    const { server, claims, present } = await setUp()
    const token = await server.sign(await claims({ sub: 'alice' }))
    expect(await present(token)).toMatchObject({ subject: 'agent#alice' })
  })

  it('for the configured audience is accepted, and so is one for the did:key', async () => {
    const audience = 'https://node.example.org/mesh'
    const { server, self, claims, issue, present, tokens } = await setUp({}, { audience })
    expect(tokens.metadata).toEqual({ resource: audience, issuers: [server.issuer] })
    expect(await present(await issue())).toMatchObject({ binding: 'noise' })
    expect(await present(await server.sign(await claims({ aud: ['urn:other', self.did] })))).toMatchObject({
      binding: 'noise'
    })
  })

  it.each([
    { id: 'for another node', reason: 'wrong-audience', change: { aud: 'did:key:z6Mkother' } },
    { id: 'for nobody', reason: 'malformed', change: { aud: undefined } },
    { id: 'of an issuer that is not configured', reason: 'wrong-issuer', change: { iss: 'https://login.example.org' } },
    { id: 'without issuer', reason: 'wrong-issuer', change: { iss: undefined } },
    { id: 'without an end', reason: 'malformed', change: { exp: undefined } },
    { id: 'that ends beyond all calendars', reason: 'malformed', change: { exp: 1e15 } },
    { id: 'without client', reason: 'malformed', change: { client_id: undefined } },
    { id: "of a client that could be another one's user", reason: 'malformed', change: { client_id: 'agent#alice' } },
    { id: 'with an odd confirmation', reason: 'malformed', change: { cnf: 'me' } },
    { id: 'bound to no key', reason: 'unbound', change: { cnf: undefined } },
    { id: 'bound by what is not known', reason: 'wrong-peer', change: { cnf: { kid: 'alice' } } },
    { id: 'bound to a certificate', reason: 'wrong-peer', change: { cnf: { 'x5t#S256': 'abc' } } },
    {
      id: 'with too many scopes',
      reason: 'malformed',
      change: { scope: Array.from({ length: 65 }, (_, n) => `s${n}`).join(' ') }
    }
  ])('$id is refused as $reason', async ({ reason, change }) => {
    const { server, claims, present } = await setUp()
    expect(await present(await server.sign(await claims()))).toMatchObject({ scopes: ['build'] })
    const failure = await failureOf(present(await server.sign(await claims(change as JWTPayload))))
    expect(failure).toMatchObject(refusal(reason))
  })

  it.each([
    { id: 'an ID token', header: { typ: 'JWT' }, reason: 'malformed' },
    { id: 'a token without type', header: { typ: undefined }, reason: 'malformed' },
    { id: 'a token by a key that its issuer does not have', header: { kid: 'mine' }, reason: 'unknown' }
  ])('$id is refused as $reason', async ({ header, reason }) => {
    const { server, claims, present } = await setUp()
    expect(await failureOf(present(await server.sign(await claims(), header)))).toMatchObject(refusal(reason))
  })

  it('signed with another key than its kid names is refused', async () => {
    const { server, claims, present } = await setUp()
    const other = await startAuthorizationServer()
    const kid = JSON.parse(decoded((await server.sign(await claims())).split('.')[0])).kid
    expect(await failureOf(present(await other.sign(await claims(), { kid })))).toMatchObject(refusal('signature'))
  })

  it.each(['none', 'HS256'])('that chooses the algorithm %s is refused', async (alg) => {
    const { server, claims, present } = await setUp()
    const good = await server.sign(await claims())
    await present(good)
    const [head = '', body = ''] = reheaded(good, { alg }).split('.')
    const { keys } = (await (await fetch(`${server.issuer}/jwks`)).json()) as { keys: JsonWebKey[] }
    const [key] = keys
    if (key === undefined) throw new Error('no key')
    const pem = createPublicKey({ key, format: 'jwk' }).export({ type: 'spki', format: 'pem' })
    const mac = alg === 'none' ? '' : createHmac('sha256', pem).update(`${head}.${body}`).digest('base64url')
    expect(await failureOf(present(`${head}.${body}.${mac}`))).toMatchObject(refusal('signature'))
  })

  it('with any one character changed is refused', async () => {
    const { issue, present } = await setUp()
    const token = await issue()
    await present(token)
    const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~ é'
    await fc.assert(
      fc.asyncProperty(fc.nat(token.length - 1), fc.constantFrom(...alphabet.split('')), async (at, letter) => {
        fc.pre(token[at] !== letter)
        const failure = await failureOf(present(token.slice(0, at) + letter + token.slice(at + 1)))
        expect(failure).toMatchObject({ code: 'UNAUTHENTICATED' })
      }),
      { numRuns: 300 }
    )
    // The last character of a signature has bits that say nothing
    for (const letter of alphabet.slice(0, 64).replace(token.at(-1) ?? '', ''))
      expect(await failureOf(present(token.slice(0, -1) + letter))).toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  it.each([
    { id: 'nothing', token: undefined },
    { id: 'a number', token: 7 },
    { id: 'an empty text', token: '' },
    { id: 'a text with a line break', token: 'abc\ndef' },
    { id: 'a text that is no JWT', token: 'opaque-token' },
    { id: 'three parts of nothing', token: 'eyJ..' },
    { id: 'one that is huge', token: `eyJ${'A'.repeat(MAX_TOKEN_BYTES)}.e30.AA` },
    { id: 'a million characters', token: 'A'.repeat(1_000_000) }
  ])('that is $id is malformed, and no issuer is asked', async ({ token }) => {
    const { server, present } = await setUp()
    expect(await failureOf(present(token))).toMatchObject(refusal('malformed'))
    expect(server.requestsTo(METADATA)).toBe(0)
  })

  it('is never quoted in an error', async () => {
    const { server, claims, present } = await setUp()
    const token = await server.sign(await claims({ aud: 'did:key:z6Mkother' }))
    const failure = await failureOf(present(token))
    const said = JSON.stringify(failure)
    for (const part of token.split('.')) expect(said).not.toContain(part)
  })
})

function reheaded(token: string, change: object): string {
  const [head, ...rest] = token.split('.')
  const header = { ...JSON.parse(decoded(head)), ...change }
  return [Buffer.from(JSON.stringify(header)).toString('base64url'), ...rest].join('.')
}

function decoded(part = ''): string {
  return Buffer.from(part, 'base64url').toString()
}

describe('the clock', () => {
  it.each([
    { id: 'ten minutes ahead', skewMs: 10 * MINUTE_MS, reason: 'expired' },
    { id: 'ten minutes behind', skewMs: -10 * MINUTE_MS, reason: 'not-yet-valid' },
    { id: 'at the very end of the token', skewMs: 300_000, reason: 'expired' },
    { id: 'more seconds behind than are forgiven', skewMs: -7_000, reason: 'not-yet-valid' }
  ])('$id makes a token $reason, whether or not it was accepted before', async ({ skewMs, reason }) => {
    const { clock, issue, present } = await setUp()
    const [before, fresh] = [await issue(), await issue()]
    await present(before)
    clock.skewMs = skewMs
    expect(await failureOf(present(before))).toMatchObject(refusal(reason))
    expect(await failureOf(present(fresh))).toMatchObject(refusal(reason))
  })

  it('may be a few seconds behind that of the issuer', async () => {
    const { clock, issue, present } = await setUp()
    clock.skewMs = -3_000
    expect(await present(await issue())).toMatchObject({ binding: 'noise' })
  })

  it('is asked about nbf, too', async () => {
    const { server, claims, clock, present } = await setUp()
    const soon = Math.floor(Date.now() / 1_000) + 120
    const token = await server.sign(await claims({ nbf: soon }))
    expect(await failureOf(present(token))).toMatchObject(refusal('not-yet-valid'))
    clock.skewMs = 2 * MINUTE_MS
    expect(await present(token)).toMatchObject({ binding: 'noise' })
  })
})

describe('binding', () => {
  it('is dpop for the key of a proof, and mtls for a certificate', async () => {
    const { server, alice, claims, present } = await setUp()
    const bound = await server.sign(await claims())
    expect(await present(bound, { jkt: await jktOf(alice) })).toMatchObject({ binding: 'dpop' })
    const ofCertificate = await server.sign(await claims({ cnf: { 'x5t#S256': 'abc' } }))
    expect(await present(ofCertificate, { x5t: 'abc' })).toMatchObject({ binding: 'mtls' })
    expect(await failureOf(present(ofCertificate, { x5t: 'abd' }))).toMatchObject(refusal('wrong-peer'))
  })

  it('to a key and a certificate asks for both', async () => {
    const { server, alice, claims, present } = await setUp()
    const cnf = { jkt: await jktOf(alice), 'x5t#S256': 'abc' }
    const token = await server.sign(await claims({ cnf }))
    expect(await failureOf(present(token))).toMatchObject(refusal('wrong-peer'))
    expect(await failureOf(present(token, { x5t: 'abc' }))).toMatchObject(refusal('wrong-peer'))
    expect(await present(token, { peer: alice.id, x5t: 'abc' })).toMatchObject({ binding: 'noise' })
  })

  it('of nothing is none, where the owner accepts that', async () => {
    const { server, self, mallory, present } = await setUp({}, { acceptUnbound: true })
    const { access_token } = await server.issueFor({ resource: self.did })
    expect(await present(access_token, { peer: mallory.id })).toMatchObject({ binding: 'none' })
  })

  it('of nothing is refused elsewhere', async () => {
    const { server, self, present } = await setUp()
    const { access_token } = await server.issueFor({ resource: self.did })
    expect(await failureOf(present(access_token))).toMatchObject(refusal('unbound'))
  })
})

describe('keys of the issuer', () => {
  it('that are new are learned, and those before are good as long as they are published', async () => {
    const { server, clock, issue, present } = await setUp({ accessTokenTtl: 3_600 })
    const before = await issue()
    await present(before)
    server.rotateKeys()
    const after = await issue()
    expect(await failureOf(present(after)), 'keys were read just now').toMatchObject(refusal('unknown'))
    clock.skewMs = ISSUER_COOLDOWN_MS
    expect(await present(after)).toMatchObject({ binding: 'noise' })
    expect(await present(before)).toMatchObject({ binding: 'noise' })
    expect(server.requestsTo('/jwks')).toBe(2)
  })

  it('that nobody has cost the issuer one request, however many tokens name them', async () => {
    const { server, claims, clock, issue, present } = await setUp()
    await present(await issue())
    clock.skewMs = ISSUER_COOLDOWN_MS
    const tokens = await Promise.all(
      Array.from({ length: 50 }, async (_, n) => server.sign(await claims(), { kid: `none-${n}` }))
    )
    for (const failure of await Promise.all(tokens.map((token) => failureOf(present(token)))))
      expect(failure).toMatchObject(refusal('unknown'))
    expect(server.requestsTo('/jwks')).toBe(2)
  })

  it.each([
    { alg: 'EdDSA', outcome: 'noise' },
    { alg: 'Ed25519', outcome: 'noise' },
    { alg: 'ES256', outcome: 'noise' },
    { alg: 'RS256', outcome: 'noise' },
    { alg: 'PS256', outcome: 'noise' },
    { alg: 'ES384', outcome: 'signature' },
    { alg: 'RS512', outcome: 'signature' }
  ])('of the algorithm $alg: $outcome', async ({ alg, outcome }) => {
    const { server, claims, present } = await setUp()
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true })
    const keys = [{ ...(await exportJWK(publicKey)), kid: 'k' }]
    server.intercept('/jwks', (_request, response) => void response.end(JSON.stringify({ keys })))
    const token = await server.sign(await claims(), { alg, kid: 'k' }, await exportJWK(privateKey))
    const got = await present(token).catch((err: { data: { reason: string } }) => err.data.reason)
    expect(typeof got === 'string' ? got : got.binding).toBe(outcome)
  })

  it('that are withdrawn are not used for longer than their time, not even for a token known before', async () => {
    const { server, clock, issue, present } = await setUp({ accessTokenTtl: 3_600 })
    const token = await issue()
    await present(token)
    server.intercept('/jwks', (_request, response) => void response.end('{"keys":[]}'))
    clock.skewMs = ISSUER_KEYS_TTL_MS - 1_000
    expect(await present(token)).toMatchObject({ binding: 'noise' })
    clock.skewMs = ISSUER_KEYS_TTL_MS + 1_000
    expect(await failureOf(present(token))).toMatchObject(refusal('unknown'))
  })
})

describe('an issuer that is down', () => {
  it('makes tokens UNREACHABLE until it is back, and is left alone for a while', async () => {
    const { server, clock, issue, present } = await setUp()
    const token = await issue()
    server.setDown(true)
    const before = server.requestsTo(METADATA) // the test has used it, too
    const failures = await Promise.all(Array.from({ length: 5 }, () => failureOf(present(token))))
    for (const failure of failures) expect(failure).toMatchObject({ code: 'UNREACHABLE', retryable: true })
    expect(await failureOf(present(token))).toMatchObject({ code: 'UNREACHABLE' })
    expect(server.requestsTo(METADATA)).toBe(before + 1)
    server.setDown(false)
    clock.skewMs = ISSUER_RETRY_MS
    expect(await present(token)).toMatchObject({ binding: 'noise' })
  })

  it('is not missed while its keys are known', async () => {
    const { server, clock, issue, present } = await setUp({ accessTokenTtl: 3_600 })
    const [first, second] = [await issue(), await issue()]
    await present(first)
    server.setDown(true)
    expect(await present(second)).toMatchObject({ binding: 'noise' })
    clock.skewMs = ISSUER_KEYS_TTL_MS
    for (const token of [first, second]) expect(await failureOf(present(token))).toMatchObject({ code: 'UNREACHABLE' })
  })

  it('with only OpenID Connect metadata is read all the same', async () => {
    const { server, issue, present } = await setUp()
    const token = await issue()
    server.intercept(METADATA, (_request, response) => void response.writeHead(404).end())
    expect(await present(token)).toMatchObject({ binding: 'noise' })
    expect(server.requestsTo(OIDC_METADATA)).toBe(1)
  })
})

describe('an issuer that misbehaves', () => {
  const json =
    (body: unknown): RequestListener =>
    (_request, response) =>
      void response.setHeader('content-type', 'application/json').end(JSON.stringify(body))

  it.each<{ id: string; path: string; answer: (issuer: string) => RequestListener }>([
    {
      id: 'redirects its metadata',
      path: METADATA,
      answer: (issuer) => (_request, response) =>
        void response.writeHead(302, { location: `${issuer}${OIDC_METADATA}` }).end()
    },
    {
      id: 'redirects its keys',
      path: '/jwks',
      answer: (issuer) => (_request, response) => void response.writeHead(302, { location: `${issuer}/jwks` }).end()
    },
    {
      id: 'says that it is another one',
      path: METADATA,
      answer: (issuer) => json({ issuer: 'https://login.example.org', jwks_uri: `${issuer}/jwks` })
    },
    { id: 'has no keys', path: METADATA, answer: (issuer) => json({ issuer }) },
    {
      id: 'has its keys where others can read along',
      path: METADATA,
      answer: (issuer) => json({ issuer, jwks_uri: 'http://192.0.2.1/jwks' })
    },
    {
      id: 'sends ten megabytes of metadata',
      path: METADATA,
      answer: (issuer) => json({ issuer, jwks_uri: `${issuer}/jwks`, filler: 'x'.repeat(10_000_000) })
    },
    {
      id: 'sends ten megabytes of keys',
      path: '/jwks',
      answer: () => json({ keys: [], filler: 'x'.repeat(10_000_000) })
    },
    { id: 'sends no JSON', path: '/jwks', answer: () => (_request, response) => void response.end('<html>') },
    { id: 'sends keys of another shape', path: '/jwks', answer: () => json({ keys: 'none' }) },
    { id: 'fails', path: '/jwks', answer: () => (_request, response) => void response.writeHead(500).end() }
  ])('and $id is UNREACHABLE, and nothing is accepted', async ({ path, answer }) => {
    const { server, issue, present } = await setUp()
    const token = await issue()
    server.intercept(path, answer(server.issuer))
    const failure = await failureOf(present(token))
    expect(failure).toMatchObject({
      code: 'UNREACHABLE',
      message: `the issuer ${server.issuer} cannot be asked`
    })
  })

  it('and never answers is given up, by the caller or after a few seconds', async () => {
    const { server, tokens, alice, issue, present } = await setUp()
    const token = await issue()
    server.intercept(METADATA, () => {})
    const waiting = present(token)
    const presented = { method: 'oauth', token }
    const signal = AbortSignal.timeout(50)
    expect(await failureOf(tokens.verifier.verify(presented, { peer: alice.id }, { signal }))).toMatchObject({
      code: 'TIMEOUT'
    })
    expect(await failureOf(waiting)).toMatchObject({ code: 'UNREACHABLE' })
  })

  it('with keys that forge the shape of others lets nothing in', async () => {
    const { server, claims, present } = await setUp()
    server.intercept('/jwks', json({ keys: [{ kty: 'oct', k: 'AAAA', kid: 'k', alg: 'HS256' }, { kty: 'odd' }] }))
    expect(await failureOf(present(await server.sign(await claims(), { kid: 'k' })))).toMatchObject(refusal('unknown'))
  })
})

describe('revocation', () => {
  it('here is at once, for that token only', async () => {
    const { server, tokens, gone, issue, present } = await setUp()
    const [revoked, kept] = [await issue(), await issue()]
    const [first, second] = [await present(revoked), await present(kept)]
    await tokens.revoke(server.issuer, decodeJwt(revoked).jti ?? '')
    expect(gone.map((matches) => [matches(first), matches(second)])).toEqual([[true, false]])
    expect(await failureOf(present(revoked))).toMatchObject(refusal('revoked'))
    expect(await present(kept)).toMatchObject({ binding: 'noise' })
  })

  it('of a token without a name of its own goes by its hash', async () => {
    const { server, tokens, claims, present } = await setUp()
    const token = await server.sign(await claims({ jti: undefined as never }))
    await present(token)
    await tokens.revoke(`${server.issuer}/`, createHash('sha256').update(token).digest('base64url'))
    expect(await failureOf(present(token))).toMatchObject(refusal('revoked'))
  })

  it('of a token of one issuer leaves that of the same name of another', async () => {
    const other = await startAuthorizationServer()
    const { server, tokens, claims, present } = await setUp({}, {}, [{ issuer: other.issuer }])
    await tokens.revoke(other.issuer, 'one')
    expect(await present(await server.sign(await claims()))).toMatchObject({ subject: 'agent' })
  })

  it('of a token of an issuer that is not accepted is INVALID_ARGUMENT', async () => {
    const { tokens } = await setUp()
    const failure = await failureOf(tokens.revoke('https://login.example.org', 'one'))
    expect(failure).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('outlives a restart', async () => {
    const [server, identity] = [await startAuthorizationServer(), createIdentity()]
    const path = join(await tempFolder(), 'mesh.db')
    const { access_token: token } = await server.issueFor({ resource: identity.did, identity })
    const opened = async () => {
      const store = await openStore({ path, migrations: [tokensMigrations] })
      return { store, tokens: createTokens({ identity, store, issuers: [{ issuer: server.issuer }] }) }
    }
    const before = await opened()
    await before.tokens.revoke(server.issuer, decodeJwt(token).jti ?? '')
    await before.store.close()
    const { store, tokens } = await opened()
    const signal = AbortSignal.timeout(10_000)
    const presented = tokens.verifier.verify({ method: 'oauth', token }, { peer: identity.id }, { signal })
    expect(await failureOf(presented)).toMatchObject(refusal('revoked'))
    await store.close()
  })
})

describe('an opaque token', () => {
  async function setUpOpaque(secret = 'the-secret-of-the-introspector') {
    const clientSecretFile = join(await tempFolder(), 'secret')
    await writeFile(clientSecretFile, `${secret}\n`, { mode: 0o600 })
    return setUp({ format: 'opaque' }, { introspection: { clientId: 'introspector', clientSecretFile } })
  }
  const asked = (server: AuthorizationServer) => server.requestsTo('/token/introspection')

  it('is asked about once a minute, and bound like any other', async () => {
    const { server, mallory, clock, issue, present } = await setUpOpaque()
    const token = await issue()
    const [credential] = await Promise.all([present(token), present(token), present(token)])
    expect(credential).toMatchObject({
      method: 'oauth',
      binding: 'noise',
      subject: 'agent',
      issuer: server.issuer,
      token: expect.any(String),
      scopes: ['tools.call', 'build'],
      expiresAt: expect.any(Number)
    })
    expect(await failureOf(present(token, { peer: mallory.id }))).toMatchObject(refusal('wrong-peer'))
    expect(asked(server)).toBe(1)
    clock.skewMs = INTROSPECTION_TTL_MS
    await present(token)
    expect(asked(server)).toBe(2)
  })

  it('that its issuer revokes is refused within a minute', async () => {
    const { server, clock, issue, present } = await setUpOpaque()
    const token = await issue()
    await present(token)
    await server.revoke(token)
    clock.skewMs = INTROSPECTION_TTL_MS
    expect(await failureOf(present(token))).toMatchObject(refusal('revoked'))
  })

  it('that has expired is refused, without asking again', async () => {
    const { server, clock, issue, present } = await setUpOpaque()
    const token = await issue()
    await present(token)
    clock.skewMs = 10 * MINUTE_MS
    expect(await failureOf(present(token))).toMatchObject(refusal('expired'))
    expect(asked(server)).toBe(1)
  })

  it('for another node is refused', async () => {
    const { server, alice, mallory, present } = await setUpOpaque()
    const { access_token } = await server.issueFor({ resource: mallory.did, identity: alice })
    expect(await failureOf(present(access_token))).toMatchObject(refusal('wrong-audience'))
  })

  it.each([
    { id: 'of another issuer', change: { iss: 'https://login.example.org' }, failure: refusal('wrong-issuer') },
    { id: 'without audience', change: { aud: undefined }, failure: refusal('malformed') },
    { id: 'without an end', change: { exp: undefined }, failure: refusal('malformed') },
    { id: 'that is not valid yet', change: { nbf: 9_999_999_999 }, failure: refusal('not-yet-valid') },
    { id: 'bound to no key', change: { cnf: undefined }, failure: refusal('unbound') },
    { id: 'not active, whatever else is said', change: { active: false }, failure: refusal('revoked') },
    { id: 'active in a way', change: { active: 'yes' }, failure: { code: 'UNREACHABLE' } },
    { id: 'of endless content', change: { filler: 'x'.repeat(10_000_000) }, failure: { code: 'UNREACHABLE' } }
  ])('that its issuer says to be $id is refused', async ({ change, failure }) => {
    const { server, claims, present } = await setUpOpaque()
    const answer = { active: true, ...(await claims()) }
    const say = (body: object) =>
      server.intercept('/token/introspection', (_request, response) => {
        response.setHeader('content-type', 'application/json').end(JSON.stringify(body))
      })
    say(answer)
    expect(await present('one')).toMatchObject({ binding: 'noise' })
    say({ ...answer, ...change })
    expect(await failureOf(present('another'))).toMatchObject(failure)
  })

  it('is not taken to where its issuer redirects the question', async () => {
    const { server, issue, present } = await setUpOpaque()
    const elsewhere = await startAuthorizationServer()
    const location = `${elsewhere.issuer}/token/introspection`
    server.intercept('/token/introspection', (_request, response) => void response.writeHead(307, { location }).end())
    expect(await failureOf(present(await issue()))).toMatchObject({ code: 'UNREACHABLE' })
    expect(asked(elsewhere)).toBe(0)
  })

  it('is only asked about at the issuer that its bearer names, if that is configured', async () => {
    const { server, alice, issue, present } = await setUpOpaque()
    const holder = { peer: alice.id }
    const token = await issue()
    const elsewhere = present(token, holder, { issuer: 'https://login.example.org' })
    expect(await failureOf(elsewhere)).toMatchObject(refusal('wrong-issuer'))
    expect(asked(server)).toBe(0)
    expect(await present(token, holder, { issuer: server.issuer })).toMatchObject({ subject: 'agent' })
  })

  it('must say its issuer where there are several', async () => {
    const [server, other] = [await startAuthorizationServer({ format: 'opaque' }), await startAuthorizationServer()]
    const clientSecretFile = join(await tempFolder(), 'secret')
    await writeFile(clientSecretFile, 'the-secret-of-the-introspector', { mode: 0o600 })
    const introspection = { clientId: 'introspector', clientSecretFile }
    const [self, alice] = [createIdentity(), createIdentity()]
    const issuers = [server, other].map(({ issuer }) => ({ issuer, introspection }))
    const store = await openStore({ migrations: [tokensMigrations] })
    const { verifier } = createTokens({ identity: self, store, issuers })
    const { access_token: token } = await server.issueFor({ resource: self.did, identity: alice })
    const present = (more: object) =>
      verifier.verify({ method: 'oauth', token, ...more }, { peer: alice.id }, { signal: AbortSignal.timeout(5_000) })
    expect(await failureOf(present({}))).toMatchObject(refusal('malformed'))
    expect(asked(server) + asked(other)).toBe(0)
    expect(await present({ issuer: server.issuer })).toMatchObject({ issuer: server.issuer })
    expect(asked(other)).toBe(0)
  })

  it.each([
    { id: 'the secret is wrong', secret: 'wrong', down: false },
    { id: 'the issuer is down', secret: undefined, down: true }
  ])('is UNREACHABLE when $id', async ({ secret, down }) => {
    const { server, issue, present } = await setUpOpaque(secret)
    const token = await issue()
    server.setDown(down)
    const failure = await failureOf(present(token))
    expect(failure).toMatchObject({ code: 'UNREACHABLE' })
    expect(JSON.stringify(failure)).not.toContain('secret')
  })

  it('is UNREACHABLE when the secret can not be read, and its path stays here', async () => {
    const introspection = { clientId: 'introspector', clientSecretFile: '/nonexistent/secret' }
    const { issue, present } = await setUp({ format: 'opaque' }, { introspection })
    const failure = await failureOf(present(await issue()))
    expect(failure).toMatchObject({ code: 'UNREACHABLE' })
    expect(JSON.stringify(failure)).not.toContain('nonexistent')
  })

  it('is BUSY when too many are asked about', async () => {
    const { server, issue, present } = await setUpOpaque()
    const tokens = await Promise.all(Array.from({ length: 17 }, issue))
    await present(tokens[0])
    const held: (() => void)[] = []
    server.intercept('/token/introspection', (_request, response) => {
      held.push(() => response.setHeader('content-type', 'application/json').end('{"active":false}'))
    })
    const others = Array.from({ length: 16 }, (_, n) => failureOf(present(tokens[n + 1])))
    await expect.poll(() => held.length).toBe(16)
    expect(await failureOf(present('one-more'))).toMatchObject({ code: 'BUSY' })
    for (const release of held) release()
    for (const failure of await Promise.all(others)) expect(failure).toMatchObject(refusal('revoked'))
  })
})

describe('the configuration', () => {
  it.each([
    { id: 'an issuer without encryption', issuers: ['http://login.example.org'] },
    { id: 'an issuer with a query', issuers: ['https://login.example.org/?tenant=1'] },
    { id: 'an issuer twice', issuers: ['https://login.example.org', 'https://login.example.org/'] },
    { id: 'no URL', issuers: ['login'] },
    { id: 'too many issuers', issuers: Array.from({ length: 9 }, (_, n) => `https://login${n}.example.org`) }
  ])('with $id is INVALID_CONFIG', async ({ issuers }) => {
    const store = await openStore({ migrations: [tokensMigrations] })
    const create = () =>
      createTokens({ identity: createIdentity(), store, issuers: issuers.map((issuer) => ({ issuer })) })
    expect(create).toThrow(expect.objectContaining({ code: 'INVALID_CONFIG' }))
  })

  it('without issuers accepts nothing', async () => {
    const identity = createIdentity()
    const store = await openStore({ migrations: [tokensMigrations] })
    const { metadata, verifier } = createTokens({ identity, store, issuers: [] })
    expect(metadata).toEqual({ resource: identity.did, issuers: [] })
    const server = await startAuthorizationServer()
    const { access_token: token } = await server.issueFor({ resource: identity.did, identity })
    const failure = await failureOf(
      verifier.verify({ method: 'oauth', token }, { peer: identity.id }, { signal: AbortSignal.timeout(1_000) })
    )
    expect(failure).toMatchObject(refusal('wrong-issuer'))
  })
})
