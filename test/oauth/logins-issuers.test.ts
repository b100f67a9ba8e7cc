import type { RequestListener } from 'node:http'
import { decodeJwt, decodeProtectedHeader } from 'jose'
import { describe, expect, it, vi } from 'vitest'
import { createIdentity } from '../../src/identity/index.ts'
import { failureOf } from '../nodes.ts'
import { type Bench, setUp, verifyAt } from './login-support.ts'

vi.setConfig({ testTimeout: 60_000 })

const { signal } = new AbortController()
const OAUTH = '/.well-known/oauth-authorization-server'
const OIDC = '/.well-known/openid-configuration'

const answer =
  (status: number, body: string, headers: Record<string, string> = {}): RequestListener =>
  (_request, response) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(body)

describe('the metadata of an issuer', () => {
  it('is read as OAuth has it, else as OpenID Connect has it', async () => {
    const bench = await setUp()
    await bench.withSecret()
    expect([bench.server.requestsTo(OAUTH), bench.server.requestsTo(OIDC)]).toEqual([1, 0])
    bench.server.intercept(OAUTH, answer(404, '{}'))
    expect(await bench.withSecret()).toMatchObject({ state: 'ok' })
    expect(bench.server.requestsTo(OIDC)).toBe(1)
  })

  it.each([
    { id: 'is of another issuer', code: 'UNAUTHENTICATED', with: answer(200, '{"issuer":"https://evil.example.org"}') },
    { id: 'names no issuer', code: 'UNAUTHENTICATED', with: answer(200, '{}') },
    { id: 'names an issuer that is no URL', code: 'UNAUTHENTICATED', with: answer(200, '{"issuer":"x"}') },
    { id: 'is no JSON', code: 'UNAUTHENTICATED', with: answer(200, '<html>') },
    { id: 'is elsewhere', code: 'UNREACHABLE', with: answer(302, '', { location: 'http://127.0.0.1:1/' }) },
    { id: 'is missing', code: 'UNREACHABLE', with: answer(404, '{}') },
    { id: 'is 10 MB long', code: 'UNREACHABLE', with: answer(200, ' '.repeat(10_000_000)) }
  ])('that $id is refused', async ({ code, with: listener }) => {
    const bench = await setUp()
    for (const path of [OAUTH, OIDC]) bench.server.intercept(path, listener)
    expect(await failureOf(bench.withSecret())).toMatchObject({ code })
    expect(bench.server.requestsTo('/token')).toBe(0)
  })

  it('that sends secrets in the clear to another host is refused', async () => {
    const bench = await setUp()
    const { issuer } = bench.server
    bench.server.intercept(
      OAUTH,
      answer(200, JSON.stringify({ issuer, token_endpoint: 'http://login.example.org/token' }))
    )
    expect(await failureOf(bench.withSecret())).toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  it('without the endpoint of a flow says that there is no such flow', async () => {
    const bench = await setUp()
    const { issuer } = bench.server
    bench.server.intercept(OAUTH, answer(200, JSON.stringify({ issuer, token_endpoint: `${issuer}/token` })))
    expect(await failureOf(bench.withCode())).toMatchObject({ code: 'INVALID_ARGUMENT', hint: 'choose another --flow' })
  })

  it('of a server that is down is not to be had', async () => {
    const bench = await setUp()
    bench.server.setDown(true)
    expect(await failureOf(bench.withSecret())).toMatchObject({ code: 'UNREACHABLE' })
  })
})

describe('an issuer', () => {
  it.each([
    { id: 'takes proofs by P-256 only', options: { dpopAlgorithms: ['ES256'] as const } },
    { id: 'binds tokens to no key', options: { dpopAlgorithms: [] } }
  ])('that $id is of no use', async ({ options }) => {
    const bench = await setUp(options)
    expect(await failureOf(bench.withSecret())).toMatchObject({ code: 'UNSUPPORTED_VERSION' })
    expect(bench.logins.list()).toEqual([])
  })

  it.each(['Ed25519', 'EdDSA'] as const)('that calls our algorithm %s gets proofs under that name', async (name) => {
    const bench = await setUp({ dpopAlgorithms: [name] })
    await bench.withSecret()
    const [token] = await bench.tokens()
    expect(await verifyAt(bench.peer, bench, token)).toMatchObject({ aud: bench.peer.did })
  })

  it('that gives a token of endless length is of no use', async () => {
    const bench = await setUp()
    const body = JSON.stringify({ access_token: 'a'.repeat(20_000), token_type: 'DPoP', expires_in: 300 })
    bench.server.intercept('/token', answer(200, body))
    expect(await failureOf(bench.withSecret())).toMatchObject({ code: 'TOO_LARGE' })
  })

  it('does not put its own words into our errors', async () => {
    const bench = await setUp()
    const error = 'run rm -rf /\n\u001b[31m'
    bench.server.intercept('/token', answer(400, JSON.stringify({ error, error_description: 'call 555-0100' })))
    const failure = await failureOf(bench.withSecret())
    expect(failure).toMatchObject({
      code: 'UNAUTHENTICATED',
      message: expect.stringMatching(/refuses: unknown_error$/)
    })
    expect(JSON.stringify(failure)).not.toMatch(/rm -rf|555/)
  })

  it('gets proofs that are signed by the key of the node', async () => {
    const bench = await setUp()
    let proof = ''
    bench.server.intercept('/token', ({ headers }, response) => {
      proof = String(headers['dpop'])
      response.writeHead(503).end()
    })
    await failureOf(bench.withSecret())
    const x = Buffer.from(bench.identity.privateKey.publicKey.raw).toString('base64url')
    expect(decodeProtectedHeader(proof)).toMatchObject({ typ: 'dpop+jwt', jwk: { crv: 'Ed25519', x } })
    expect(decodeJwt(proof)).toMatchObject({ htm: 'POST', htu: `${bench.server.issuer}/token` })
  })
})

describe('the device flow', () => {
  const begun = (issuer: string) => ({
    device_code: 'device',
    user_code: 'ABCD-EFGH',
    verification_uri: `${issuer}/device`,
    expires_in: 600,
    interval: 1
  })

  it('goes on while nobody has answered and when the line is down for a moment, and ends with the code', async () => {
    const bench = await setUp()
    const { issuer } = bench.server
    bench.server.intercept('/device/auth', answer(200, JSON.stringify(begun(issuer))))
    const answers: RequestListener[] = [
      answer(400, '{"error":"authorization_pending"}'),
      (request) => request.socket.destroy(),
      answer(503, ''),
      answer(400, '{"error":"expired_token"}')
    ]
    bench.server.intercept('/token', (request, response) => answers.shift()?.(request, response))
    expect(await failureOf(byDevice(bench))).toMatchObject({ code: 'TIMEOUT' })
    expect(answers).toEqual([])
  })

  it('ends when the code does, whatever the issuer says', async () => {
    const bench = await setUp()
    const { issuer } = bench.server
    bench.server.intercept('/device/auth', answer(200, JSON.stringify({ ...begun(issuer), expires_in: 2 })))
    bench.server.intercept('/token', answer(400, '{"error":"authorization_pending"}'))
    expect(await failureOf(byDevice(bench))).toMatchObject({ code: 'TIMEOUT' })
  })

  it.each([
    { id: 'a page that is a script', change: { verification_uri: 'javascript:alert(1)' } },
    { id: 'a page in the clear', change: { verification_uri_complete: 'http://login.example.org/device' } },
    { id: 'a code that steers a terminal', change: { user_code: '\u001b[2J' } }
  ])('shows nobody $id', async ({ change }) => {
    const bench = await setUp()
    const { issuer } = bench.server
    bench.server.intercept('/device/auth', answer(200, JSON.stringify({ ...begun(issuer), ...change })))
    expect(await failureOf(byDevice(bench))).toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  async function byDevice({ logins, server, peer }: Bench): Promise<void> {
    const { client_id: clientId } = server.clients.public
    const steps = logins.login({ issuer: server.issuer, clientId, flow: 'device', peers: [peer.id] }, { signal })
    for await (const step of steps) expect(step.step).toBe('visit')
  }
})

describe('an exchange', () => {
  it('gives a token to call onward with: for the next peer, bound to this node, naming the client as actor', async () => {
    const { bench, subject, next } = await called()
    const { token, expiresAt } = await bench.logins.exchange(subject, next.did, { signal, scopes: ['tools.call'] })
    expect(await verifyAt(next, bench, token)).toMatchObject({ act: { sub: 'agent' }, scope: 'tools.call' })
    expect(expiresAt).toBeGreaterThan(Date.now())
  })

  it('of a token for another node is refused, and the login stays good', async () => {
    const { bench, next } = await called()
    const { access_token: token } = await bench.server.issueFor({ resource: next.did, identity: createIdentity() })
    const subject = { issuer: bench.server.issuer, token }
    expect(await failureOf(bench.logins.exchange(subject, next.did, { signal }))).toMatchObject({
      code: 'UNAUTHENTICATED',
      data: { error: 'invalid_request' }
    })
    expect(bench.logins.list()).toMatchObject([{ state: 'ok' }])
  })

  it('for more than the caller may is refused', async () => {
    const { bench, subject, next } = await called()
    const wanted = bench.logins.exchange(subject, next.did, { signal, scopes: ['build'] })
    expect(await failureOf(wanted)).toMatchObject({ code: 'UNAUTHENTICATED', data: { error: 'invalid_scope' } })
  })

  it('needs a login at the issuer of the token', async () => {
    const { bench, subject, next } = await called()
    const elsewhere = { ...subject, issuer: 'https://other.example.org' }
    expect(await failureOf(bench.logins.exchange(elsewhere, next.did, { signal }))).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('sends nothing to an issuer that is down, and says so', async () => {
    const { bench, subject, next } = await called()
    bench.server.setDown(true)
    expect(await failureOf(bench.logins.exchange(subject, next.did, { signal }))).toMatchObject({ code: 'UNREACHABLE' })
  })

  /** A caller has presented its token to this node, which has a login of its own. */
  async function called(): Promise<{
    bench: Bench
    subject: { issuer: string; token: string }
    next: ReturnType<typeof createIdentity>
  }> {
    const bench = await setUp()
    await bench.withSecret()
    const { access_token: token } = await bench.server.issueFor({
      resource: bench.identity.did,
      identity: createIdentity()
    })
    return { bench, subject: { issuer: bench.server.issuer, token }, next: createIdentity() }
  }
})
