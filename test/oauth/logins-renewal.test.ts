import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it, onTestFinished, vi } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { loginsMigrations } from '../../src/oauth/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { openVault } from '../../src/vault/index.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { type Bench, setUp, verifyAt } from './login-support.ts'

vi.setConfig({ testTimeout: 60_000 })

const { signal } = new AbortController()
const MINUTE = 60_000

describe('renewal', () => {
  it.each([
    { random: 0, afterMs: 216_000 },
    { random: 0.5, afterMs: 240_000 },
    { random: 1, afterMs: 264_000 }
  ])('is ahead of expiry: of 300 s after $afterMs ms', async ({ random, afterMs }) => {
    const bench = await setUp({ random })
    const login = await bench.withSecret()
    const { renewAt = 0 } = await bench.logins.toPresent(bench.peer.id, bench.peer.did, { signal })
    const expiresAt = Date.parse(login.expiresAt ?? '')
    expect(expiresAt - 300_000 + afterMs - renewAt).toBe(0)
    const [before] = await bench.tokens()
    bench.pass(afterMs - 1)
    expect(await bench.tokens()).toEqual([before])
    bench.pass(1)
    expect(bench.logins.list()).toMatchObject([{ state: 'expiring' }])
    const [after] = await bench.tokens()
    expect(after).not.toBe(before)
    expect(bench.logins.list()).toMatchObject([{ state: 'ok' }])
  })

  it('asks the issuer once, however many callers wait', async () => {
    const bench = await setUp()
    await bench.withCode()
    bench.pass(10 * MINUTE)
    const before = bench.server.requestsTo('/token')
    const got = await Promise.all(Array.from({ length: 50 }, () => bench.tokens()))
    expect(new Set(got.flat()).size).toBe(1)
    expect(bench.server.requestsTo('/token') - before).toBe(1)
  })

  it('of several resources never uses one refresh token twice', async () => {
    const bench = await setUp()
    const others = Array.from({ length: 5 }, () => createIdentity())
    await bench.withCode({ peers: [bench.peer.id, ...others.map(({ id }) => id)] })
    const got = await Promise.all(others.map((each) => bench.logins.toPresent(each.id, each.did, { signal })))
    expect(got.flatMap(({ credentials }) => credentials)).toHaveLength(5)
    expect(bench.logins.list()).toMatchObject([{ state: 'ok' }])
  })

  it('goes on after a crash between keeping the new refresh token and using what came with it', async () => {
    const folder = await tempFolder()
    const path = join(folder, 'mesh.db')
    const vault = await openVault({ path: join(folder, 'secrets.key') })
    const real = await openStore({ path, migrations: [loginsMigrations] })
    let isCrashing = false
    const written = Promise.withResolvers<void>()
    const store: Store = {
      get: (sql, params) => real.get(sql, params),
      all: (sql, params) => real.all(sql, params),
      close: () => real.close(),
      async write(statements) {
        const changes = await real.write(statements)
        if (!isCrashing) return changes
        written.resolve()
        return new Promise(() => {})
      }
    }
    const before = await setUp({ store, vault })
    // A process that crashes stops nothing
    before.logins.stop = async () => {}
    await before.withCode()
    before.pass(10 * MINUTE)
    isCrashing = true
    let isUsed = false
    void before.tokens().then(() => (isUsed = true))
    await written.promise
    await real.close()
    expect(isUsed).toBe(false)

    const reopened = await openStore({ path, migrations: [loginsMigrations] })
    onTestFinished(() => reopened.close())
    const { server, identity, peer } = before
    const after = await setUp({ server, identity, vault, store: reopened })
    const { credentials } = await after.logins.toPresent(peer.id, peer.did, { signal })
    expect(await verifyAt(peer, after, String(credentials[0]?.token))).toMatchObject({ sub: 'alice' })
  })

  it('does not use what the disk has not taken, and loses nothing by it', async () => {
    const real = await openStore({ migrations: [loginsMigrations] })
    let isFull = false
    const store: Store = {
      get: (sql, params) => real.get(sql, params),
      all: (sql, params) => real.all(sql, params),
      close: () => real.close(),
      write: async (statements) => {
        if (isFull) throw new MeshError('IO', 'the disk is full')
        return real.write(statements)
      }
    }
    const bench = await setUp({ store })
    await bench.withCode()
    bench.pass(10 * MINUTE)
    isFull = true
    expect(await bench.tokens()).toEqual([])
    expect(bench.logins.list()).toMatchObject([{ state: 'unreachable', reason: 'IO' }])
    expect(await failureOf(bench.withCode())).toMatchObject({ code: 'IO' })
    isFull = false
    bench.pass(1_000)
    expect(await bench.tokens()).toHaveLength(1)
    expect(bench.logins.list()).toMatchObject([{ state: 'ok' }])
  })

  it('without the key of the vault asks for a new login, and goes on when the key is back', async () => {
    const bench = await setUp()
    await bench.withCode()
    await bench.withSecret()
    const { server, identity, store, vault, peer } = bench
    const other = await setUp({ server, identity, store })
    const before = server.requestsTo('/token')
    expect(await other.logins.toPresent(peer.id, peer.did, { signal })).toEqual({ credentials: [] })
    expect(server.requestsTo('/token')).toBe(before)
    const lost = { state: 'reauth_required', reason: 'unreadable_secret' }
    expect(other.logins.list()).toMatchObject([lost, lost])
    const back = await setUp({ server, identity, store, vault })
    expect((await back.logins.toPresent(peer.id, peer.did, { signal })).credentials).toHaveLength(2)
  })

  it('is not to be had without a refresh token: the login ends with its access token', async () => {
    const bench = await setUp()
    const body = { access_token: 'opaque', token_type: 'DPoP', expires_in: 300 }
    bench.server.intercept('/token', (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    })
    await bench.withCode()
    bench.pass(299_000)
    expect(await bench.tokens()).toEqual(['opaque'])
    bench.pass(1_000)
    const before = bench.server.requestsTo('/token')
    expect(await bench.tokens()).toEqual([])
    expect(bench.server.requestsTo('/token')).toBe(before)
    expect(bench.logins.list()).toMatchObject([{ state: 'reauth_required', reason: 'no_refresh_token' }])
    const { server, identity, store, vault } = bench
    const restarted = await setUp({ server, identity, store, vault })
    expect(restarted.logins.list()).toMatchObject([{ state: 'reauth_required', reason: 'no_refresh_token' }])
  })

  it('that is refused for good asks for a new login, and nothing more of the issuer', async () => {
    const bench = await setUp()
    const { id } = await bench.withCode()
    refuse(bench, 'invalid_grant')
    bench.pass(10 * MINUTE)
    const before = bench.server.requestsTo('/token')
    for (let n = 0; n < 5; n += 1) expect(await bench.tokens()).toEqual([])
    bench.pass(10 * MINUTE)
    expect(bench.server.requestsTo('/token') - before).toBe(1)
    expect(bench.waits()).toEqual([])
    expect(bench.logins.holdsFor(bench.peer.id)).toBe(false)
    expect(bench.logins.list()).toMatchObject([{ id, state: 'reauth_required', reason: 'invalid_grant' }])
    expect(bench.events.at(-1)).toMatchObject({ id, state: 'reauth_required', reason: 'invalid_grant' })

    const { server, identity, store, vault } = bench
    const restarted = await setUp({ server, identity, store, vault })
    expect(restarted.logins.list()).toMatchObject([{ id, state: 'reauth_required', reason: 'invalid_grant' }])
    bench.server.intercept('/token')
    const again = await restarted.withCode()
    expect(again.id).not.toBe(id)
    expect(restarted.logins.list()).toMatchObject([{ id: again.id, state: 'ok' }])
  })

  it('of one resource that the issuer does not know leaves the others alone', async () => {
    const bench = await setUp()
    await bench.withSecret({ resources: [bench.peer.did, 'urn:example:unknown'] })
    expect(await bench.tokens('urn:example:unknown')).toEqual([])
    const before = bench.server.requestsTo('/token')
    expect(await bench.tokens('urn:example:unknown')).toEqual([])
    expect(bench.server.requestsTo('/token')).toBe(before)
    expect(await bench.tokens()).toHaveLength(1)
    expect(bench.logins.list()).toMatchObject([{ state: 'ok', reason: 'invalid_target' }])
    bench.pass(MINUTE + 1)
    expect(await bench.tokens('urn:example:unknown')).toEqual([])
    expect(bench.server.requestsTo('/token')).toBe(before + 1)
  })

  it('waits longer each time while the issuer is down, and tells when it is back', async () => {
    const bench = await setUp()
    const { id } = await bench.withCode()
    const [token] = await bench.tokens()
    bench.server.setDown(true)
    bench.pass(4 * MINUTE)
    // The old one is good for another minute
    expect(await bench.tokens()).toEqual([token])
    expect(bench.logins.list()).toMatchObject([{ id, state: 'unreachable' }])
    const waits: number[] = []
    for (let n = 0; n < 8; n += 1) {
      await expect.poll(() => bench.waits().length).toBe(1)
      const [wait = 0] = bench.waits()
      waits.push(wait)
      bench.pass(wait)
    }
    expect(waits).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000])
    await expect.poll(() => bench.waits().length).toBe(1)
    expect(await bench.tokens()).toEqual([])
    expect(bench.events.map(({ state }) => state)).toEqual(['ok', 'unreachable'])

    bench.server.setDown(false)
    bench.changed.length = 0
    bench.pass(MINUTE)
    await expect.poll(() => bench.changed).toEqual([bench.peer.id])
    expect(bench.events.map(({ state }) => state)).toEqual(['ok', 'unreachable', 'ok'])
    expect(await bench.tokens()).toHaveLength(1)
    expect(bench.waits()).toEqual([])
  })

  it('takes a failing issuer for one that is down', async () => {
    const bench = await setUp()
    await bench.withCode()
    bench.server.intercept('/token', (_request, response) => void response.writeHead(503).end('busy'))
    bench.pass(10 * MINUTE)
    expect(await bench.tokens()).toEqual([])
    expect(bench.logins.list()).toMatchObject([{ state: 'unreachable', reason: 'UNREACHABLE' }])
  })
})

describe('a stop', () => {
  it('waits for an issuer a little, then no longer, and renews nothing after it', async () => {
    const bench = await setUp()
    await bench.withCode()
    const asked = Promise.withResolvers<void>()
    bench.server.intercept('/token', () => asked.resolve())
    bench.pass(10 * MINUTE)
    const waiting = bench.tokens()
    await asked.promise
    await bench.logins.stop()
    expect(await waiting).toEqual([])
    const before = bench.server.requestsTo('/token')
    expect(await bench.tokens()).toEqual([])
    expect(bench.server.requestsTo('/token')).toBe(before)
    expect([bench.waits(), bench.logins.list()]).toMatchObject([[], [{ state: 'ok' }]])
  })

  it('ends a login that waits for its owner', async () => {
    const bench = await setUp()
    const steps = bench.logins.login(
      { issuer: bench.server.issuer, clientId: 'desktop', flow: 'code', peers: [bench.peer.id] },
      { signal }
    )
    const iterator = steps[Symbol.asyncIterator]()
    await iterator.next()
    const rest = failureOf(iterator.next())
    await bench.logins.stop()
    expect(await rest).toMatchObject({ code: 'CANCELLED' })
  })
})

describe('logout', () => {
  it('revokes at the issuer and forgets', async () => {
    const bench = await setUp()
    const { id } = await bench.withCode()
    const row = bench.store.get('SELECT sealed_refresh FROM login')
    const refreshToken = await bench.vault.open(String(row?.['sealed_refresh']))
    bench.changed.length = 0
    expect(await bench.logins.logout(id, { signal })).toEqual({ revoked: true })
    expect(bench.logins.list()).toEqual([])
    expect(bench.logins.holdsFor(bench.peer.id)).toBe(false)
    expect(await bench.tokens()).toEqual([])
    expect(bench.changed).toEqual([bench.peer.id])
    expect(bench.store.all('SELECT * FROM login')).toEqual([])
    const body = new URLSearchParams({ grant_type: 'refresh_token', refresh_token: refreshToken, client_id: 'desktop' })
    const answer = await fetch(`${bench.server.issuer}/token`, { method: 'POST', body })
    expect(await answer.json()).toMatchObject({ error: 'invalid_grant' })
  })

  it('forgets without the issuer, and says so', async () => {
    const bench = await setUp()
    const { id } = await bench.withCode()
    bench.server.setDown(true)
    expect(await bench.logins.logout(id, { signal })).toEqual({ revoked: false })
    expect(bench.logins.list()).toEqual([])
    expect(await failureOf(bench.logins.logout(id, { signal }))).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('does not claim to have revoked a JWT that the issuer can not revoke', async () => {
    const bench = await setUp()
    const { id } = await bench.withSecret()
    expect(await bench.logins.logout(id, { signal })).toEqual({ revoked: false })
  })
})

describe('what is kept', () => {
  it('has no secret in the database, the errors, the events and the list', async () => {
    const folder = await tempFolder()
    const store = await openStore({ path: join(folder, 'mesh.db'), migrations: [loginsMigrations] })
    onTestFinished(() => store.close())
    const bench = await setUp({ store })
    const { client_secret: clientSecret } = bench.server.clients.confidential
    await bench.withSecret()
    await bench.withCode()
    const tokens = await bench.tokens()
    const row = store.get("SELECT sealed_refresh FROM login WHERE flow = 'code'")
    const secrets = [clientSecret, ...tokens, await bench.vault.open(String(row?.['sealed_refresh']))]
    expect(secrets).toHaveLength(4)
    refuse(bench, 'invalid_grant')
    bench.pass(10 * MINUTE)
    await bench.tokens()
    const failure = await failureOf(bench.withSecret())
    const told = JSON.stringify([bench.logins.list(), bench.events, failure])
    const files = await Promise.all((await readdir(folder)).map((name) => readFile(join(folder, name), 'latin1')))
    for (const secret of secrets) {
      expect(told).not.toContain(secret)
      for (const bytes of files) expect(bytes.includes(secret)).toBe(false)
    }
  })
})

function refuse({ server }: Bench, error: string): void {
  server.intercept('/token', (_request, response) => {
    response.writeHead(400, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
  })
}
