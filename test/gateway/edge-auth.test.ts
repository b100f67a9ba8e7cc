import { execFile } from 'node:child_process'
import { createHash, createSecretKey, generateKeyPairSync } from 'node:crypto'
import { readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { calculateJwkThumbprint, exportJWK } from 'jose'
import { describe, expect, it } from 'vitest'
import type { NodeInit } from '../../src/index.ts'
import { didOfKeys, makeCertificate, makeKeys } from '../auth/certificates.ts'
import { addressOf, startNode } from '../nodes.ts'
import { type AuthorizationServer, startAuthorizationServer } from '../oauth/authorization-server.ts'
import { tempFolder } from '../temp.ts'
import { askTls, type Key, makeKey, proofOf, signed } from './edge-clients.ts'
import { type EdgeKit, problemOf, startEdge } from './edge-kit.ts'

const SELF = '/v1/self'

async function selfOf(response: Response): Promise<Record<string, unknown>> {
  expect(response.status).toBe(200)
  return (await response.json()) as Record<string, unknown>
}

describe('the owner', () => {
  it('is who shows the token of the home', async () => {
    const { node, owner } = await startEdge()
    expect(await selfOf(await owner('GET', SELF))).toMatchObject({ peer: node.id, trust: 'owner', binding: 'local' })
  })

  it('has the same token after a restart, in a file that nobody else may read', async () => {
    const home = await tempFolder()
    const first = await startEdge({ home })
    await first.edge.close()
    await first.node.stop()
    const again = await startEdge({ home })
    expect(again.token).toBe(first.token)
    const path = join(home, 'http.token')
    expect((await readFile(path, 'utf8')).trim()).toBe(again.token)
    expect((await stat(path)).mode & 0o777).toBe(0o600)
  })

  it('is nobody with another token', async () => {
    const { url } = await startEdge()
    const response = await fetch(url + SELF, { headers: { authorization: `Bearer mesh_o_${'x'.repeat(43)}` } })
    expect(response.headers.get('www-authenticate')).toMatch(
      /^DPoP .*, error="invalid_token", Bearer .*, error="invalid_token"$/
    )
    expect(await problemOf(response)).toEqual({ status: 401, code: 'UNAUTHENTICATED', reason: 'unknown' })
  })

  it('may use curl', async () => {
    const { url, token, node } = await startEdge()
    const { stdout } = await promisify(execFile)('curl', ['-s', '-H', `Authorization: Bearer ${token}`, url + SELF])
    expect(JSON.parse(stdout)).toMatchObject({ peer: node.id })
  })
})

it('who shows nothing is told the ways', async () => {
  const { url } = await startEdge()
  const response = await fetch(url + SELF)
  expect(response.headers.get('www-authenticate')).toMatch(/^DPoP algs=".*", resource_metadata="http:.*", Bearer /)
  expect(response.headers.get('www-authenticate'), 'RFC 6750 §3.1: no error where nothing was shown').not.toContain(
    'error'
  )
  const problem = (await response.json()) as Record<string, unknown>
  expect(problem).toMatchObject({ status: 401, code: 'UNAUTHENTICATED', detail: 'no credentials were presented' })
  expect(problem['hint']).toContain('Authorization: Bearer')
  expect(problem).not.toHaveProperty('data')
  const metadata = await fetch(`${url}/.well-known/oauth-protected-resource`)
  expect(await metadata.json()).toMatchObject({ bearer_methods_supported: ['header'] })
})

describe('an API key', () => {
  it.each(['authorization', 'x-api-key'])('is taken from %s, and names its caller', async (header) => {
    const { url, node } = await startEdge()
    const { key, info } = await node.keys.create({ name: 'ci', scopes: ['build'], pin: 'off' })
    const headers = { [header]: header === 'authorization' ? `Bearer ${key}` : key }
    expect(await selfOf(await fetch(url + SELF, { headers }))).toMatchObject({
      peer: `api-key:${info.id}`,
      trust: 'unknown',
      binding: 'secret',
      credentials: [{ method: 'api-key', scopes: ['build'] }]
    })
  })

  it('ends at once when it is revoked', async () => {
    const { url, node } = await startEdge()
    const { key, info } = await node.keys.create({ name: 'ci', pin: 'off' })
    const headers = { 'x-api-key': key }
    await selfOf(await fetch(url + SELF, { headers }))
    await node.keys.revoke(info.id)
    const refused = await problemOf(await fetch(url + SELF, { headers }))
    expect(refused).toEqual({ status: 401, code: 'UNAUTHENTICATED', reason: 'revoked' })
  })

  it('ends the session of who holds one', async () => {
    const { node } = await startEdge()
    const { key, info } = await node.keys.create({ name: 'ci', pin: 'off' })
    const claim = { presented: [{ method: 'api-key', key }] }
    const signal = AbortSignal.timeout(5_000)
    const session = await node.edges.authenticate(claim, { signal })
    expect(await node.edges.authenticate(claim, { signal })).toBe(session)
    expect(session.caller).toBe(session.caller)
    await node.keys.revoke(info.id)
    expect(() => session.caller).toThrow(expect.objectContaining({ code: 'UNAUTHENTICATED' }))
  })

  it('that is for one peer needs the key of that peer', async () => {
    const { url, node } = await startEdge()
    const { key } = await node.keys.create({ name: 'ci' })
    const alone = await fetch(url + SELF, { headers: { 'x-api-key': key } })
    expect(await alone.json()).toMatchObject({
      status: 401,
      data: { reason: 'unbound' },
      hint: expect.stringContaining('--pin off')
    })
    const holder = makeKey()
    const byPeer = signed({ url: url + SELF, key: holder.privateKey, keyId: holder.did })
    const answered = await fetch(byPeer.url, { headers: { ...(byPeer.init.headers as object), 'x-api-key': key } })
    expect(await selfOf(answered)).toMatchObject({ peer: holder.peer })
  })
})

describe('a signed request', () => {
  it('is from the peer whose key signed it, with that peer’s standing', async () => {
    const { url, node } = await startEdge()
    const key = makeKey()
    await node.trust.set(key.peer, { level: 'trusted', alias: 'carol' })
    const { init } = signed({ url: url + SELF, key: key.privateKey, keyId: key.did })
    expect(await selfOf(await fetch(url + SELF, init))).toMatchObject({
      peer: key.peer,
      trust: 'trusted',
      binding: 'dpop'
    })
  })

  it('may have a body, which is signed too', async () => {
    const { url, node } = await startEdge()
    const key = makeKey()
    await node.trust.set(key.peer, { level: 'trusted' })
    const call = { target: '@calculator', capability: 'add', input: { a: 1, b: 2 } }
    const sent = signed({ url: `${url}/v1/calls?x=1`, method: 'POST', body: call, key: key.privateKey, keyId: key.did })
    expect(await (await fetch(sent.url, sent.init)).json()).toEqual({ result: 3 })
    const other = signed({ url: `${url}/v1/calls`, method: 'POST', body: call, key: key.privateKey, keyId: key.did })
    const swapped = await fetch(other.url, { ...other.init, body: JSON.stringify({ ...call, input: { a: 1, b: 3 } }) })
    expect(await problemOf(swapped)).toEqual({ status: 401, code: 'UNAUTHENTICATED', reason: 'signature' })
  })

  it('is accepted once', async () => {
    const { url } = await startEdge()
    const key = makeKey()
    const { init } = signed({ url: url + SELF, key: key.privateKey, keyId: key.did })
    const answers = await Promise.all([1, 2, 3].map(() => fetch(url + SELF, init)))
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401, 401])
    expect(await problemOf(await fetch(url + SELF, init))).toMatchObject({ reason: 'replayed' })
  })

  const now = Math.floor(Date.now() / 1_000)
  it.each([
    { id: 'too old', change: { created: now - 120 }, reason: 'expired' },
    { id: 'of the future', change: { created: now + 120 }, reason: 'not-yet-valid' },
    { id: 'not covering the path', change: { components: ['@method', '@authority', '@query'] }, reason: 'signature' },
    { id: 'of another key', change: { key: makeKey().privateKey }, reason: 'signature' },
    { id: 'of no key', change: { keyId: 'did:key:z6Mk' }, reason: 'malformed' },
    { id: 'of nobody who is paired', change: { keyId: `${makeKey().peer}/abc.0` }, reason: 'unknown' }
  ])('is refused when it is $id', async ({ change, reason }) => {
    const { url } = await startEdge()
    const key = makeKey()
    const { init } = signed({ url: url + SELF, key: key.privateKey, keyId: key.did, ...change })
    expect(await problemOf(await fetch(url + SELF, init))).toEqual({ status: 401, code: 'UNAUTHENTICATED', reason })
  })

  it('for another path is refused', async () => {
    const { url } = await startEdge()
    const key = makeKey()
    const { init } = signed({ url: `${url}/v1/status`, key: key.privateKey, keyId: key.did })
    expect(await problemOf(await fetch(url + SELF, init))).toMatchObject({ status: 401, reason: 'signature' })
  })

  it('by a blocked peer is refused whatever the rules say', async () => {
    const { url, node } = await startEdge()
    const key = makeKey()
    await node.trust.set(key.peer, { level: 'blocked' })
    const { init } = signed({ url: url + SELF, key: key.privateKey, keyId: key.did })
    expect(await problemOf(await fetch(url + SELF, init))).toEqual({ status: 403, code: 'FORBIDDEN' })
  })

  it('may be signed with the secret of a pair, until the pair ends', async () => {
    const { url, node } = await startEdge()
    const far = await startNode()
    await far.connect(addressOf(node))
    await far.pairing.join((await node.pairing.invite({ level: 'trusted' })).token)
    const [secret] = await far.edges.secretsOf(node.id)
    if (secret === undefined) throw new Error('there is no secret')
    const send = () =>
      fetch(
        url + SELF,
        signed({
          url: url + SELF,
          algorithm: 'hmac-sha256',
          key: createSecretKey(secret.key),
          keyId: `${far.id}/${secret.keyId}`
        }).init
      )
    expect(await selfOf(await send())).toMatchObject({ peer: far.id, binding: 'hmac', trust: 'trusted' })
    await node.pairing.unpair(far.id)
    expect(await problemOf(await send())).toMatchObject({ status: 401, reason: 'unknown' })
  })
})

describe('an access token', () => {
  interface Login {
    readonly kit: EdgeKit
    readonly server: AuthorizationServer
    readonly token: (claims?: Record<string, unknown>) => Promise<string>
  }

  async function start(init: NodeInit['auth'] = {}): Promise<Login> {
    const server = await startAuthorizationServer()
    const kit = await startEdge({ auth: { issuers: [{ issuer: server.issuer }], ...init } })
    const now = Math.floor(Date.now() / 1_000)
    const claims = {
      iss: server.issuer,
      aud: kit.node.did,
      client_id: 'app',
      sub: 'ann',
      scope: 'build',
      iat: now,
      exp: now + 300
    }
    return { kit, server, token: (more) => server.sign({ ...claims, ...more }) }
  }

  const thumbprint = async (key: Pick<Key, 'publicKey'>) => calculateJwkThumbprint(await exportJWK(key.publicKey))

  it('is taken with a proof of the key that it is bound to; an Ed25519 key is a peer', async () => {
    const { kit, token } = await start()
    const key = makeKey()
    const access = await token({ cnf: { jkt: await thumbprint(key) } })
    const dpop = await proofOf({ key, url: kit.url + SELF, token: access })
    const response = await fetch(kit.url + SELF, { headers: { authorization: `DPoP ${access}`, dpop } })
    expect(await selfOf(response)).toMatchObject({
      peer: key.peer,
      binding: 'dpop',
      credentials: [{ method: 'oauth', subject: 'app#ann', scopes: ['build'] }]
    })
  })

  it('bound to a key that is no PeerId names its caller by issuer and subject', async () => {
    const { kit, server, token } = await start()
    const key = generateKeyPairSync('ec', { namedCurve: 'P-256' })
    const access = await token({ cnf: { jkt: await thumbprint(key) } })
    const dpop = await proofOf({ key, url: `${kit.url}${SELF}`, token: access, alg: 'ES256' })
    const response = await fetch(`${kit.url}${SELF}?a=b`, { headers: { authorization: `DPoP ${access}`, dpop } })
    expect(await selfOf(response)).toMatchObject({ peer: `oauth:${server.issuer}#app#ann`, binding: 'dpop' })
  })

  it('is taken with one proof once', async () => {
    const { kit, token } = await start()
    const key = makeKey()
    const access = await token({ cnf: { jkt: await thumbprint(key) } })
    const dpop = await proofOf({ key, url: kit.url + SELF, token: access })
    const headers = { authorization: `DPoP ${access}`, dpop }
    const answers = await Promise.all([1, 2, 3].map(() => fetch(kit.url + SELF, { headers })))
    expect(answers.map(({ status }) => status).toSorted((a, b) => a - b)).toEqual([200, 401, 401])
    expect(await problemOf(await fetch(kit.url + SELF, { headers }))).toMatchObject({ reason: 'replayed' })
  })

  const now = Math.floor(Date.now() / 1_000)
  it.each([
    { id: 'another method', change: { method: 'POST' }, reason: 'signature' },
    { id: 'another URL', change: { url: 'http://127.0.0.1/v1/self' }, reason: 'signature' },
    { id: 'another token', change: { token: 'x' }, reason: 'signature' },
    { id: 'another time', change: { claims: { iat: now - 120 } }, reason: 'expired' },
    { id: 'a later time', change: { claims: { iat: now + 120 } }, reason: 'not-yet-valid' },
    { id: 'no id', change: { claims: { jti: undefined } }, reason: 'malformed' },
    { id: 'another purpose', change: { header: { typ: 'JWT' } }, reason: 'signature' },
    { id: 'another key', change: { key: makeKey() }, reason: 'wrong-peer' }
  ])('is refused with a proof for $id', async ({ change, reason }) => {
    const { kit, token } = await start()
    const key = makeKey()
    const access = await token({ cnf: { jkt: await thumbprint(key) } })
    const dpop = await proofOf({ key, url: kit.url + SELF, token: access, ...change })
    const response = await fetch(kit.url + SELF, { headers: { authorization: `DPoP ${access}`, dpop } })
    expect(await problemOf(response)).toEqual({ status: 401, code: 'UNAUTHENTICATED', reason })
  })

  it.each([
    { id: 'as Bearer', scheme: 'Bearer', reason: 'wrong-peer' },
    { id: 'without its proof', scheme: 'DPoP', reason: 'malformed' },
    { id: 'by Basic', scheme: 'Basic', reason: 'unsupported' }
  ])('that is bound to a key is refused $id', async ({ scheme, reason }) => {
    const { kit, token } = await start()
    const access = await token({ cnf: { jkt: await thumbprint(makeKey()) } })
    const response = await fetch(kit.url + SELF, { headers: { authorization: `${scheme} ${access}` } })
    expect(await problemOf(response)).toMatchObject({ status: 401, reason })
  })

  it('bound to the key of a peer is taken in a request that the peer signed', async () => {
    const { kit, token } = await start()
    const key = makeKey()
    const access = await token({ cnf: { jkt: await thumbprint(key) } })
    const { init } = signed({ url: kit.url + SELF, key: key.privateKey, keyId: key.did })
    const headers = { ...(init.headers as object), authorization: `Bearer ${access}` }
    expect(await selfOf(await fetch(kit.url + SELF, { headers }))).toMatchObject({
      peer: key.peer,
      credentials: [{ method: 'http-signature' }, { method: 'oauth' }]
    })
  })

  it('of one peer in a request that another signed is refused', async () => {
    const { kit, token } = await start()
    const [one, other] = [makeKey(), makeKey()]
    const access = await token({ cnf: { jkt: await thumbprint(one) } })
    const dpop = await proofOf({ key: one, url: kit.url + SELF, token: access })
    const { init } = signed({ url: kit.url + SELF, key: other.privateKey, keyId: other.did })
    const headers = { ...(init.headers as object), authorization: `DPoP ${access}`, dpop }
    expect(await problemOf(await fetch(kit.url + SELF, { headers }))).toMatchObject({
      status: 401,
      reason: 'wrong-peer'
    })
  })

  it('that is bound to nothing counts only where a rule says so', async () => {
    const server = await startAuthorizationServer()
    const kit = await startEdge({ auth: { issuers: [{ issuer: server.issuer, acceptUnbound: true }] } })
    const at = Math.floor(Date.now() / 1_000)
    const access = await server.sign({
      iss: server.issuer,
      aud: kit.node.did,
      client_id: 'app',
      scope: 'build',
      iat: at,
      exp: at + 300
    })
    const headers = { authorization: `Bearer ${access}`, 'content-type': 'application/json' }
    const body = JSON.stringify({ target: '@calculator', capability: 'add', input: { a: 1, b: 2 } })
    const call = () => fetch(`${kit.url}/v1/calls`, { method: 'POST', headers, body })
    const rule = { id: 'ci', effect: 'allow', who: 'scope:build', act: '*.call', res: '*' } as const
    await kit.node.policy.put([rule])
    expect(await problemOf(await call())).toMatchObject({ status: 403 })
    await kit.node.policy.put([{ ...rule, when: { binding: ['none'] } }])
    expect(await (await call()).json()).toEqual({ result: 3 })
  })
})

describe('over TLS', () => {
  async function startTls(init: NodeInit = {}) {
    const folder = await tempFolder()
    const own = await makeCertificate({ subject: 'CN=127.0.0.1' })
    const [certFile, keyFile] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
    await Promise.all([writeFile(certFile, own.cert), writeFile(keyFile, own.key)])
    return startEdge(init, { tls: { certFile, keyFile } })
  }

  it('a certificate that a node signed itself is that node', async () => {
    const { url } = await startTls()
    const keys = await makeKeys('Ed25519')
    const did = await didOfKeys(keys)
    const certificate = await makeCertificate({ keys, uris: [did] })
    const { status, body } = await askTls(url + SELF, {}, certificate)
    expect(status).toBe(200)
    expect(body).toMatchObject({ binding: 'mtls', credentials: [{ method: 'mtls', subject: did }] })
    expect(body['peer']).toMatch(/^12D3KooW/)
  })

  it('a certificate that is pinned has the name of its pin', async () => {
    const certificate = await makeCertificate()
    const { url } = await startTls({
      auth: { mtls: { pins: [{ spki: certificate.spki, name: 'ci', scopes: ['build'] }] } }
    })
    const { body } = await askTls(url + SELF, {}, certificate)
    expect(body).toMatchObject({ peer: 'mtls:ci', binding: 'mtls', credentials: [{ scopes: ['build'] }] })
  })

  it('a certificate of nobody is refused, and a token bound to it is taken', async () => {
    const server = await startAuthorizationServer()
    const { url, node } = await startTls({ auth: { issuers: [{ issuer: server.issuer }] } })
    const certificate = await makeCertificate()
    const alone = await askTls(url + SELF, {}, certificate)
    expect(alone).toMatchObject({ status: 401, body: { data: { reason: 'unknown' } } })
    const x5t = createHash('sha256').update(certificate.der).digest('base64url')
    const at = Math.floor(Date.now() / 1_000)
    const claims = { iss: server.issuer, aud: node.did, client_id: 'app', iat: at, exp: at + 300 }
    const access = await server.sign({ ...claims, cnf: { 'x5t#S256': x5t } })
    const headers = { authorization: `Bearer ${access}` }
    expect(await askTls(url + SELF, headers, certificate)).toMatchObject({ status: 200, body: { binding: 'mtls' } })
    expect(await askTls(url + SELF, headers)).toMatchObject({ status: 401, body: { data: { reason: 'wrong-peer' } } })
  })

  it('answers say that there is nothing but TLS', async () => {
    const { url } = await startTls()
    expect(url).toMatch(/^https:/)
    expect((await askTls(url + SELF)).status).toBe(401)
  })
})

it('no credential comes back in an answer, whatever is wrong with it', async () => {
  const { url, token } = await startEdge()
  const secrets = [
    `${token.slice(0, -1)}x`,
    `mesh_k_${'a'.repeat(11)}_${'b'.repeat(49)}`,
    'eyJhbGciOiJub25lIn0.e30.secret'
  ]
  for (const secret of secrets) {
    const text = await (await fetch(url + SELF, { headers: { authorization: `Bearer ${secret}` } })).text()
    expect(text).not.toContain(secret)
    expect(text).not.toContain(secret.slice(-12))
  }
})
