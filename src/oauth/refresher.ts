import { clientCredentialsGrant, refreshTokenGrant, type TokenEndpointResponse } from 'openid-client'
import { MeshError } from '../errors.ts'
import type { Store } from '../store/index.ts'
import type { Vault } from '../vault/index.ts'
import {
  LOGIN_METADATA_TTL_MS,
  MAX_LOGIN_BACKOFF_MS,
  MIN_LOGIN_BACKOFF_MS,
  RENEW_BEFORE_MS,
  RENEW_JITTER,
  RENEW_SHARE
} from './constants.ts'
import type { Login, LoginsInit } from './index.ts'
import { readFailure } from './login-errors.ts'
import { type IssuedToken, type IssuerClient, readIssued } from './login-issuer.ts'
import { type LoginRow, saveRefresh, saveRefusal } from './login-rows.ts'

export interface RefresherInit extends Required<Pick<LoginsInit, 'clock' | 'random' | 'schedule'>> {
  readonly row: LoginRow
  readonly store: Store
  readonly vault: Vault
  readonly open: (row: LoginRow) => Promise<IssuerClient>
  /** Told when {@link Refresher.state} may be another. */
  readonly onState: () => void
  /** The issuer answers again: who went without a token may ask. */
  readonly onRecovered: () => void
}

/** An access token in memory. */
export interface HeldToken {
  readonly token: string
  /** Milliseconds since 1970, as is `renewAt`. */
  readonly expiresAt: number
  readonly renewAt: number
}

/** The tokens of one login. */
export class Refresher {
  readonly #init: RefresherInit
  #row: LoginRow
  /** By resource, as many as the login has. */
  readonly #tokens = new Map<string, HeldToken>()
  readonly #flights = new Map<string, Promise<HeldToken>>()
  /** What the issuer won't give, and when to ask again. */
  readonly #denied = new Map<string, { readonly until: number; readonly error: MeshError; readonly reason: string }>()
  #client: { readonly opened: IssuerClient; readonly at: number } | undefined
  /** Requests go one after another: two that used the same refresh token would look like a theft (RFC 9700 §4.14.2). */
  #turn: Promise<unknown> = Promise.resolve()
  #outage: { readonly failures: number; readonly retryAt: number; readonly error: MeshError } | undefined
  #dropRetry = () => {}
  #isClosed = false

  constructor(init: RefresherInit) {
    this.#init = init
    this.#row = init.row
  }

  get row(): LoginRow {
    return this.#row
  }

  get isUsable(): boolean {
    return !this.#isClosed && this.#row.refused === undefined
  }

  get state(): Login['state'] {
    if (this.#row.refused !== undefined) return 'reauth_required'
    if (this.#outage !== undefined) return 'unreachable'
    const now = this.#init.clock()
    return this.live().some(({ renewAt }) => renewAt <= now) ? 'expiring' : 'ok'
  }

  get reason(): string | undefined {
    const [denied] = this.#denied.values()
    return this.#row.refused ?? this.#outage?.error.code ?? denied?.reason
  }

  /** Tokens that have not expired. */
  live(): readonly HeldToken[] {
    const now = this.#init.clock()
    return [...this.#tokens.values()].filter(({ expiresAt }) => expiresAt > now)
  }

  /** Takes what the login itself has brought. */
  hold(resource: string, issued: IssuedToken, at: number): HeldToken {
    const expiresAt = at + issued.ttlMs
    // Half of it at least: else a short-lived one would be asked for over and over
    const lifeMs = Math.max(Math.min(issued.ttlMs - RENEW_BEFORE_MS, issued.ttlMs * RENEW_SHARE), issued.ttlMs / 2)
    const held = { token: issued.token, expiresAt, renewAt: at + lifeMs * this.#jitter() }
    this.#tokens.set(resource, held)
    return held
  }

  /** @throws {MeshError} UNAUTHENTICATED, UNREACHABLE, UNSUPPORTED_VERSION, IO, INVALID_CONFIG */
  async tokenFor(resource: string): Promise<HeldToken> {
    const { clock } = this.#init
    const held = this.#tokens.get(resource)
    if (this.isUsable && held !== undefined && clock() < held.renewAt) return held
    try {
      this.#checkMayAsk(resource)
      return await this.#single(resource)
    } catch (err) {
      // The one before is good for a while
      if (!this.isUsable || held === undefined || held.expiresAt <= clock()) throw err
      return { ...held, renewAt: Math.min(this.retryAt(resource), held.expiresAt) }
    }
  }

  /** When to ask again for what was not to be had. */
  retryAt(resource: string): number {
    const now = this.#init.clock()
    return Math.max(this.#outage?.retryAt ?? 0, this.#denied.get(resource)?.until ?? 0, now + MIN_LOGIN_BACKOFF_MS)
  }

  /** Its client at the issuer; kept for a while. */
  async client(): Promise<IssuerClient> {
    const { clock, open } = this.#init
    if (this.#client !== undefined && clock() - this.#client.at < LOGIN_METADATA_TTL_MS) return this.#client.opened
    const opened = await open(this.#row)
    this.#client = { opened, at: clock() }
    return opened
  }

  /** Gives out nothing more. @returns when no request is under way */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#dropRetry()
    await this.#turn
  }

  #single(resource: string): Promise<HeldToken> {
    const running = this.#flights.get(resource)
    if (running !== undefined) return running
    const flight = this.#turn.then(() => this.#ask(resource)).finally(() => this.#flights.delete(resource))
    this.#flights.set(resource, flight)
    this.#turn = flight.catch(() => {})
    return flight
  }

  async #ask(resource: string): Promise<HeldToken> {
    // What was asked before may have changed it
    this.#checkMayAsk(resource)
    try {
      if (!this.#canRenew) throw new MeshError('UNAUTHENTICATED', 'the issuer gave nothing to renew with')
      const at = this.#init.clock()
      const client = await this.client()
      const issued = readIssued(client.issuer, await this.#request(client, resource))
      if (issued.refreshToken !== undefined) await this.#keep(issued.refreshToken)
      const held = this.hold(resource, issued, at)
      this.#denied.delete(resource)
      this.#recover()
      return held
    } catch (err) {
      throw await this.#fail(err, resource)
    }
  }

  get #canRenew(): boolean {
    return this.#row.flow === 'client-credentials' || this.#row.sealedRefresh !== undefined
  }

  async #request({ config, dpop }: IssuerClient, resource: string): Promise<TokenEndpointResponse> {
    const { scopes, sealedRefresh } = this.#row
    if (sealedRefresh === undefined) {
      const scope = scopes.length === 0 ? {} : { scope: scopes.join(' ') }
      return clientCredentialsGrant(config, { resource, ...scope }, { DPoP: dpop })
    }
    return refreshTokenGrant(config, await this.#init.vault.open(sealedRefresh), { resource }, { DPoP: dpop })
  }

  /** On disk before the access token that came with it is used: after a crash the old one may be worth nothing. */
  async #keep(refreshToken: string): Promise<void> {
    const sealed = await this.#init.vault.seal(refreshToken)
    this.#row = { ...this.#row, sealedRefresh: sealed }
    await this.#init.store.write([saveRefresh(this.#row.id, sealed)])
  }

  /** @throws {MeshError} */
  #checkMayAsk(resource: string): void {
    const now = this.#init.clock()
    if (this.#isClosed) throw new MeshError('CANCELLED', 'the login is gone')
    if (this.#row.refused !== undefined) throw loginNeeded(this.#row)
    const denied = this.#denied.get(resource)
    if (denied !== undefined && now < denied.until) throw denied.error
    if (this.#outage !== undefined && now < this.#outage.retryAt) throw this.#outage.error
  }

  async #fail(err: unknown, resource: string): Promise<MeshError> {
    const { error, verdict, reason = error.code } = readFailure(err, this.#row.issuer)
    if (this.#isClosed) return error
    if (!this.#canRenew) {
      if (this.live().length === 0) this.#refuse('no_refresh_token')
      return error
    }
    if (error.code === 'INVALID_CONFIG') this.#refuse('unreadable_secret')
    else if (verdict === 'login') {
      this.#refuse(reason)
      // If the disk refuses, the issuer will be asked once more after a restart
      await this.#init.store.write([saveRefusal(this.#row.id, reason)]).catch(() => {})
    } else if (verdict === 'request') {
      this.#denied.set(resource, { until: this.#init.clock() + MAX_LOGIN_BACKOFF_MS, error, reason })
      this.#recover()
    } else this.#retryLater(resource, error)
    return error
  }

  #refuse(reason: string): void {
    this.#row = { ...this.#row, refused: reason, sealedRefresh: undefined }
    this.#tokens.clear()
    this.#outage = undefined
    this.#dropRetry()
    this.#init.onState()
  }

  #retryLater(resource: string, error: MeshError): void {
    const { clock, schedule, onState } = this.#init
    const failures = (this.#outage?.failures ?? 0) + 1
    const waitMs = Math.min(MIN_LOGIN_BACKOFF_MS * 2 ** Math.min(failures - 1, 16), MAX_LOGIN_BACKOFF_MS)
    const afterMs = Math.ceil(waitMs * this.#jitter())
    this.#outage = { failures, retryAt: clock() + afterMs, error }
    this.#client = undefined
    this.#dropRetry()
    this.#dropRetry = schedule(() => this.#retry(resource), afterMs)
    onState()
  }

  #retry(resource: string): void {
    // A timer may be a millisecond early by the clock
    if (this.#outage !== undefined) this.#outage = { ...this.#outage, retryAt: 0 }
    // A failure has told of itself, and set the next timer
    void this.tokenFor(resource).catch(() => {})
  }

  #recover(): void {
    const wasOut = this.#outage !== undefined
    this.#outage = undefined
    this.#dropRetry()
    if (!wasOut) return
    this.#init.onState()
    this.#init.onRecovered()
  }

  #jitter(): number {
    return 1 + RENEW_JITTER * (2 * this.#init.random() - 1)
  }
}

export function loginNeeded({ issuer, refused }: LoginRow): MeshError {
  return new MeshError('UNAUTHENTICATED', `${issuer} does not renew this login: ${refused}`, {
    data: { error: refused },
    hint: 'log in again: pryx-mesh login'
  })
}
