import { randomBytes } from 'node:crypto'
import { type CryptoKeyPair, genericGrantRequest, tokenRevocation } from 'openid-client'
import { abortable, abortError, MeshError, throwIfAborted } from '../errors.ts'
import { fingerprintOf } from '../identity/index.ts'
import { LOGIN_TIMEOUT_MS, MAX_LOGINS, MAX_TOKENS_PER_PEER } from './constants.ts'
import type { Login, LoginInit, LoginStep, Logins, LoginsInit } from './index.ts'
import { readFailure } from './login-errors.ts'
import { runFlow } from './login-flows.ts'
import { checkLogin, checkResource, didOf, type LoginPlan } from './login-init.ts'
import { type IssuedToken, type IssuerClient, openIssuer, proofKeys, readIssued } from './login-issuer.ts'
import { deleteLogin, insertLogin, type LoginRow, readLogin } from './login-rows.ts'
import { loginNeeded, Refresher } from './refresher.ts'

export { loginsMigrations } from './login-rows.ts'

/** How long a stop waits for an answer of an issuer: it may hold a new refresh token, and the old one is spent. */
const STOP_GRACE_MS = 2_000

const EXCHANGE_GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange'
const ACCESS_TOKEN_TYPE = 'urn:ietf:params:oauth:token-type:access_token'

export async function createLogins(init: LoginsInit): Promise<Logins> {
  return new OwnLogins(init, await proofKeys(init.identity))
}

class OwnLogins implements Logins {
  readonly #init: LoginsInit
  readonly #clock: () => number
  readonly #keys: CryptoKeyPair
  readonly #logins = new Map<string, Refresher>()
  /** Of logins that can be used; asked for each call. */
  #peers: ReadonlySet<string> = new Set()
  /** What was told last. */
  readonly #states = new Map<string, Login['state']>()
  readonly #stopped = new AbortController()

  constructor(init: LoginsInit, keys: CryptoKeyPair) {
    this.#init = init
    this.#clock = init.clock ?? Date.now
    this.#keys = keys
    for (const row of init.store.all('SELECT * FROM login ORDER BY created_at, id')) this.#add(loaded(readLogin(row)))
  }

  async *login(init: LoginInit, { signal }: { signal: AbortSignal }): AsyncGenerator<LoginStep> {
    const plan = checkLogin(init)
    if (this.#list().length - this.#replaced(plan).length >= MAX_LOGINS) throw tooMany()
    throwIfAborted(signal)
    const within = AbortSignal.any([signal, this.#stopped.signal, AbortSignal.timeout(LOGIN_TIMEOUT_MS)])
    try {
      const client = await abortable(this.#open(plan.issuer, plan.clientId, plan.clientSecret), within)
      const fingerprint = fingerprintOf(this.#init.identity.id)
      const answer = yield* runFlow({ client, plan, fingerprint, now: this.#clock(), signal: within })
      const login = await this.#save({ ...plan, issuer: client.issuer }, readIssued(client.issuer, answer))
      yield { step: 'done', login }
    } catch (err) {
      throw within.aborted ? abortError(within) : readFailure(err, plan.issuer).error
    }
  }

  list(): readonly Login[] {
    return this.#list().map((each) => describe(each))
  }

  async logout(id: string, { signal }: { signal: AbortSignal }): Promise<{ readonly revoked: boolean }> {
    const login = this.#logins.get(id)
    if (login === undefined) {
      throw new MeshError('NOT_FOUND', `there is no login ${id.slice(0, 80)}`, { hint: 'pryx-mesh logins list' })
    }
    const tokens = login.live().map(({ token }) => token)
    // From here on nobody gets a token; a renewal under way brings the last refresh token
    const closed = login.close()
    this.#changed(login)
    const revoked = await abortable(
      closed.then(() => this.#revoke(login, tokens)),
      signal
    ).catch(() => false)
    await this.#init.store.write([deleteLogin(id)])
    this.#logins.delete(id)
    this.#states.delete(id)
    return { revoked }
  }

  holdsFor(peer: string): boolean {
    return this.#peers.has(peer)
  }

  async toPresent(
    peer: string,
    resource: string,
    { signal }: { signal: AbortSignal }
  ): ReturnType<Logins['toPresent']> {
    // A peer that calls itself another would get a token for that one
    if (resource.startsWith('did:') && resource !== didOf(peer)) return { credentials: [] }
    const fitting = this.#list().filter(
      ({ isUsable, row }) => isUsable && row.peers.includes(peer) && row.resources.includes(resource)
    )
    const asked = fitting.slice(0, MAX_TOKENS_PER_PEER).map(async (login) => {
      const held = await abortable(login.tokenFor(resource), signal).catch(() => undefined)
      return held ?? { token: undefined, renewAt: login.isUsable ? login.retryAt(resource) : Number.POSITIVE_INFINITY }
    })
    const got = await Promise.all(asked)
    throwIfAborted(signal)
    const renewAt = Math.min(...got.map((each) => each.renewAt))
    return {
      credentials: got.flatMap(({ token }) => (token === undefined ? [] : [{ method: 'oauth', token }])),
      ...(renewAt === Number.POSITIVE_INFINITY ? {} : { renewAt })
    }
  }

  async exchange(
    subject: { issuer: string; token: string },
    resource: string,
    { signal, scopes = [] }: { signal: AbortSignal; scopes?: readonly string[] }
  ): ReturnType<Logins['exchange']> {
    checkResource(resource)
    const fitting = this.#list().filter(({ row }) => row.issuer === subject.issuer)
    // Issuers let confidential clients exchange, if any
    const login = fitting.find(({ isUsable, row }) => isUsable && row.sealedSecret !== undefined) ?? fitting[0]
    if (login === undefined) {
      throw new MeshError('NOT_FOUND', `no login at ${subject.issuer}`, { hint: 'log in there: pryx-mesh login' })
    }
    if (!login.isUsable) throw loginNeeded(login.row)
    const at = this.#clock()
    try {
      const { token, ttlMs } = await abortable(exchangeAt(login, { subject, resource, scopes }), signal)
      return { token, expiresAt: at + ttlMs }
    } catch (err) {
      throw signal.aborted ? abortError(signal) : readFailure(err, subject.issuer).error
    }
  }

  async stop(): Promise<void> {
    const timer = setTimeout(() => this.#stopped.abort(), STOP_GRACE_MS)
    await Promise.all(this.#list().map((login) => login.close()))
    clearTimeout(timer)
    this.#stopped.abort()
  }

  #list(): readonly Refresher[] {
    return [...this.#logins.values()]
  }

  #open(issuer: string, clientId: string, clientSecret: string | undefined): Promise<IssuerClient> {
    return openIssuer({ issuer, clientId, clientSecret, keys: this.#keys, stopped: this.#stopped.signal })
  }

  #add(row: LoginRow): Refresher {
    const { store, vault, random = Math.random, schedule = later } = this.#init
    const login = new Refresher({
      row,
      store,
      vault,
      random,
      schedule,
      clock: this.#clock,
      open: async ({ issuer, clientId, sealedSecret }) =>
        this.#open(issuer, clientId, sealedSecret === undefined ? undefined : await vault.open(sealedSecret)),
      onState: () => this.#tell(login),
      onRecovered: () => this.#changed(login)
    })
    this.#logins.set(row.id, login)
    this.#states.set(row.id, login.state)
    this.#index()
    return login
  }

  async #save(plan: LoginPlan, issued: IssuedToken): Promise<Login> {
    const { store, vault } = this.#init
    const { issuer, clientId, clientSecret, flow, scopes, peers, resources } = plan
    const now = this.#clock()
    const row: LoginRow = {
      id: randomBytes(8).toString('base64url'),
      issuer,
      clientId,
      flow,
      scopes,
      peers,
      resources,
      createdAt: now,
      refused: undefined,
      sealedSecret: clientSecret === undefined ? undefined : await vault.seal(clientSecret),
      sealedRefresh: issued.refreshToken === undefined ? undefined : await vault.seal(issued.refreshToken)
    }
    const replaced = this.#replaced(plan)
    const changes = await store.write([...replaced.map(deleteLogin), insertLogin(row, MAX_LOGINS)])
    for (const id of replaced) {
      this.#logins.delete(id)
      this.#states.delete(id)
    }
    if (changes.at(-1) !== 1) throw tooMany()
    const login = this.#add(row)
    login.hold(resources[0] ?? '', issued, now)
    this.#init.emit('login:changed', { id: row.id, issuer, state: login.state })
    this.#changed(login)
    return describe(login)
  }

  /** Ids of those that a new login takes the place of: the same client's, which the issuer doesn't renew. */
  #replaced({ issuer, clientId, flow }: LoginInit): readonly string[] {
    return this.#list()
      .filter(({ row }) => row.issuer === issuer && row.clientId === clientId && row.flow === flow)
      .flatMap(({ row, state }) => (state === 'reauth_required' ? [row.id] : []))
  }

  /** Tells of a state that is another than before. */
  #tell(login: Refresher): void {
    const { state, reason, row } = login
    if (this.#states.get(row.id) === state || !this.#logins.has(row.id)) return
    this.#states.set(row.id, state)
    this.#init.emit('login:changed', {
      id: row.id,
      issuer: row.issuer,
      state,
      ...(reason === undefined ? {} : { reason })
    })
    if (state === 'reauth_required') this.#changed(login)
  }

  /** What its peers are presented is another. */
  #changed({ row }: Refresher): void {
    this.#index()
    for (const peer of row.peers) this.#init.onChange?.(peer)
  }

  #index(): void {
    this.#peers = new Set(this.#list().flatMap(({ isUsable, row }) => (isUsable ? row.peers : [])))
  }

  /** RFC 7009. The refresh token first: an issuer ends the access tokens with it, if it can end them at all. */
  async #revoke(login: Refresher, accessTokens: readonly string[]): Promise<boolean> {
    const { sealedRefresh } = login.row
    const { config } = await login.client()
    if (config.serverMetadata().revocation_endpoint === undefined) return false
    if (sealedRefresh !== undefined) {
      const token = await this.#init.vault.open(sealedRefresh)
      await tokenRevocation(config, token, { token_type_hint: 'refresh_token' })
    }
    const ends = await Promise.allSettled(
      accessTokens.map((token) => tokenRevocation(config, token, { token_type_hint: 'access_token' }))
    )
    return sealedRefresh !== undefined || ends.every(({ status }) => status === 'fulfilled')
  }
}

/** Access tokens don't outlive the process: without a refresh token, nothing is left of a login. */
function loaded(row: LoginRow): LoginRow {
  const isSpent = row.flow !== 'client-credentials' && row.sealedRefresh === undefined && row.refused === undefined
  return isSpent ? { ...row, refused: 'no_refresh_token' } : row
}

interface ExchangeInit {
  readonly subject: { readonly token: string }
  readonly resource: string
  readonly scopes: readonly string[]
}

async function exchangeAt(login: Refresher, { subject, resource, scopes }: ExchangeInit): Promise<IssuedToken> {
  const { config, dpop, issuer } = await login.client()
  const wanted = {
    subject_token: subject.token,
    subject_token_type: ACCESS_TOKEN_TYPE,
    resource,
    requested_token_type: ACCESS_TOKEN_TYPE,
    ...(scopes.length === 0 ? {} : { scope: scopes.join(' ') })
  }
  return readIssued(issuer, await genericGrantRequest(config, EXCHANGE_GRANT, wanted, { DPoP: dpop }))
}

function describe(login: Refresher): Login {
  const { row, state, reason } = login
  const { id, issuer, clientId, flow, scopes, peers, createdAt } = row
  const first = Math.min(...login.live().map(({ expiresAt }) => expiresAt))
  return {
    id,
    issuer,
    clientId,
    flow,
    scopes,
    peers,
    state,
    ...(first === Number.POSITIVE_INFINITY ? {} : { expiresAt: new Date(first).toISOString() }),
    createdAt: new Date(createdAt).toISOString(),
    ...(reason === undefined ? {} : { reason })
  }
}

function later(run: () => void, afterMs: number): () => void {
  const timer = setTimeout(run, afterMs).unref()
  return () => clearTimeout(timer)
}

function tooMany(): MeshError {
  return new MeshError('LIMIT_EXCEEDED', `a node has at most ${MAX_LOGINS} logins`, { hint: 'pryx-mesh logins list' })
}
