import { describe, expect, it, vi } from 'vitest'
import { createIdentity, fingerprintOf } from '../../src/identity/index.ts'
import { type LoginInit, MAX_LOGINS } from '../../src/oauth/index.ts'
import { failureOf } from '../nodes.ts'
import { type Bench, setUp, verifyAt, walk } from './login-support.ts'

// The device flow polls every five seconds, as the server asks
vi.setConfig({ testTimeout: 60_000 })

const { signal } = new AbortController()
const MINUTE = 60_000

describe('a login', () => {
  it.each([false, true])(
    'by client credentials gets a token for the peer, bound to this node; nonce: %s',
    async (requireNonce) => {
      const bench = await setUp({ requireNonce })
      const login = await bench.withSecret()
      expect(login).toMatchObject({ state: 'ok', flow: 'client-credentials', peers: [bench.peer.id] })
      const [token] = await bench.tokens()
      expect(await verifyAt(bench.peer, bench, token)).toMatchObject({ scope: 'tools.call', client_id: 'agent' })
      expect(bench.events).toEqual([{ id: login.id, issuer: bench.server.issuer, state: 'ok' }])
      expect(bench.changed).toEqual([bench.peer.id])
    }
  )

  it.each([false, true])('by code sends the owner to a browser and gets a token; nonce: %s', async (requireNonce) => {
    const bench = await setUp({ requireNonce })
    const { identity, logins, server, peer } = bench
    const steps = await walk(logins.login(codeInit(bench), { signal }), server)
    expect(steps).toMatchObject([
      { step: 'visit', fingerprint: fingerprintOf(identity.id) },
      { step: 'done', login: { state: 'ok', flow: 'code' } }
    ])
    const [token] = await bench.tokens()
    expect(await verifyAt(peer, bench, token)).toMatchObject({ sub: 'alice', scope: 'tools.call' })
  })

  it('by device shows a code, and waits until the owner has typed it', async () => {
    const bench = await setUp()
    const steps = await walk(bench.logins.login({ ...codeInit(bench), flow: 'device' }, { signal }), bench.server)
    expect(steps).toMatchObject([
      { step: 'visit', userCode: expect.any(String), fingerprint: fingerprintOf(bench.identity.id) },
      { step: 'done', login: { flow: 'device' } }
    ])
    const [token] = await bench.tokens()
    expect(await verifyAt(bench.peer, bench, token)).toMatchObject({ sub: 'alice' })
    bench.pass(4 * MINUTE + 1)
    const [renewed] = await bench.tokens()
    expect(renewed).not.toBe(token)
    await verifyAt(bench.peer, bench, renewed)
  })

  it('by device ends when the owner says no', async () => {
    const bench = await setUp()
    const steps = bench.logins.login({ ...codeInit(bench), flow: 'device' }, { signal })
    const failure = await failureOf(
      (async () => {
        for await (const step of steps) if (step.step === 'visit') await bench.server.denyDevice(step.userCode ?? '')
      })()
    )
    expect(failure).toMatchObject({ code: 'UNAUTHENTICATED', data: { error: 'access_denied' } })
    expect(bench.logins.list()).toEqual([])
  })

  it('serves several peers, each with a token of its own', async () => {
    const bench = await setUp()
    const other = createIdentity()
    await bench.withCode({ peers: [bench.peer.id, other.id] })
    const [one] = await bench.tokens()
    const { credentials } = await bench.logins.toPresent(other.id, other.did, { signal })
    expect(await verifyAt(bench.peer, bench, one)).toMatchObject({ aud: bench.peer.did })
    expect(await verifyAt(other, bench, String(credentials[0]?.token))).toMatchObject({ aud: other.did })
  })

  it('presents a token for a URL only when the owner has named it', async () => {
    const bench = await setUp()
    await bench.withSecret({ resources: ['https://node.example.org/'] })
    expect(await bench.tokens('https://node.example.org/')).toHaveLength(1)
    expect(await bench.tokens('https://bank.example.org/')).toEqual([])
    expect(await bench.tokens()).toEqual([])
  })

  it('presents nothing to peers that it does not list, nor to one that calls itself another', async () => {
    const bench = await setUp()
    const other = createIdentity()
    await bench.withSecret({ peers: [bench.peer.id, other.id] })
    const stranger = createIdentity()
    const before = bench.server.requestsTo('/token')
    expect(bench.logins.holdsFor(stranger.id)).toBe(false)
    expect(bench.logins.holdsFor(other.id)).toBe(true)
    expect(await bench.logins.toPresent(stranger.id, stranger.did, { signal })).toEqual({ credentials: [] })
    expect(await bench.logins.toPresent(other.id, bench.peer.did, { signal })).toEqual({ credentials: [] })
    expect(bench.server.requestsTo('/token')).toBe(before)
  })

  it('is cancelled by its signal, and leaves no port open', async () => {
    const bench = await setUp()
    const stop = new AbortController()
    let port = ''
    const failure = await failureOf(
      (async () => {
        for await (const step of bench.logins.login(codeInit(bench), { signal: stop.signal })) {
          if (step.step === 'visit') port = new URL(step.url).searchParams.get('redirect_uri') ?? ''
          stop.abort()
        }
      })()
    )
    expect(failure).toMatchObject({ code: 'CANCELLED' })
    await expect(fetch(port)).rejects.toThrow('fetch failed')
  })

  it('leaves no port open when the loop is left', async () => {
    const bench = await setUp()
    let port = ''
    for await (const step of bench.logins.login(codeInit(bench), { signal })) {
      if (step.step === 'visit') port = new URL(step.url).searchParams.get('redirect_uri') ?? ''
      break
    }
    await expect(fetch(port)).rejects.toThrow('fetch failed')
  })

  it('stops at the limit', async () => {
    const bench = await setUp()
    for (let n = 0; n < MAX_LOGINS; n += 1) await bench.withSecret()
    expect(await failureOf(bench.withSecret())).toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(bench.logins.list()).toHaveLength(MAX_LOGINS)
  })

  const bad: readonly { id: string; init: Partial<LoginInit> }[] = [
    { id: 'an issuer by http', init: { issuer: 'http://login.example.org' } },
    { id: 'an issuer that is no URL', init: { issuer: 'login' } },
    { id: 'an issuer with a query', init: { issuer: 'https://login.example.org/?a=b' } },
    { id: 'an issuer with a password', init: { issuer: 'https://me:secret@login.example.org/' } },
    { id: 'a file as issuer', init: { issuer: 'file:///etc/passwd' } },
    { id: 'no peer', init: { peers: [] } },
    { id: 'a peer that is none', init: { peers: ['carol'] } },
    { id: 'a scope with a space', init: { scopes: ['a b'] } },
    { id: 'an empty client id', init: { clientId: '' } },
    { id: 'a resource with a fragment', init: { resources: ['https://node.example.org/#a'] } },
    { id: 'a resource that is no URI', init: { resources: ['node'] } }
  ]
  it.each(bad)('refuses $id', async ({ init }) => {
    const bench = await setUp()
    expect(await failureOf(bench.withSecret(init))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('by client credentials needs a secret, and the right one', async () => {
    const bench = await setUp()
    const { clientSecret: _, ...open } = { ...codeInit(bench), clientSecret: '' }
    const without = failureOf(
      walk(bench.logins.login({ ...open, flow: 'client-credentials' }, { signal }), bench.server)
    )
    expect(await without).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await failureOf(bench.withSecret({ clientSecret: 'guess' }))).toMatchObject({
      code: 'UNAUTHENTICATED',
      data: { error: 'invalid_client' }
    })
  })
})

describe('an answer at the redirect', () => {
  const change = async (bench: Bench, alter: (url: URL) => void): Promise<{ status: number; failure: unknown }> => {
    let status = 0
    const failure = await failureOf(
      (async () => {
        for await (const step of bench.logins.login(codeInit(bench), { signal })) {
          if (step.step !== 'visit') continue
          const { location = '' } = await bench.server.visit(step.url)
          const url = new URL(location)
          alter(url)
          status = (await fetch(url)).status
        }
      })()
    )
    return { status, failure }
  }

  it('with another state is refused, and the right one still counts', async () => {
    const bench = await setUp()
    const statuses: number[] = []
    for await (const step of bench.logins.login(codeInit(bench), { signal })) {
      if (step.step !== 'visit') continue
      const { location = '' } = await bench.server.visit(step.url)
      const forged = new URL(location)
      forged.searchParams.set('state', 'another')
      const twice = `${location}&state=another`
      const elsewhere = location.replace('/callback', '/other')
      for (const url of [forged, twice, elsewhere]) statuses.push((await fetch(url)).status)
      const response = await fetch(location)
      statuses.push(response.status)
      expect(await response.text()).toContain('You can close this')
    }
    expect(statuses).toEqual([400, 400, 400, 200])
    expect(await bench.tokens()).toHaveLength(1)
  })

  it('of another issuer ends the login (RFC 9207)', async () => {
    const bench = await setUp()
    const { failure } = await change(bench, (url) => url.searchParams.set('iss', 'https://evil.example.org'))
    expect(failure).toMatchObject({ code: 'UNAUTHENTICATED' })
    expect(bench.server.requestsTo('/token')).toBe(0)
  })

  it('without an issuer ends the login, when the issuer says that it names itself', async () => {
    const bench = await setUp()
    const { failure } = await change(bench, (url) => url.searchParams.delete('iss'))
    expect(failure).toMatchObject({ code: 'UNAUTHENTICATED' })
  })

  it('that says no ends the login', async () => {
    const bench = await setUp()
    const { failure, status } = await change(bench, (url) => {
      url.searchParams.delete('code')
      url.searchParams.set('error', 'access_denied')
    })
    expect(status).toBe(200)
    expect(failure).toMatchObject({ code: 'UNAUTHENTICATED', data: { error: 'access_denied' } })
  })
})

function codeInit({ server, peer }: Bench): LoginInit {
  const { client_id: clientId } = server.clients.public
  return { issuer: server.issuer, clientId, flow: 'code', scopes: ['tools.call'], peers: [peer.id] }
}
