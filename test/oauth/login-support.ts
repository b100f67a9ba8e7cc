import { calculateJwkThumbprint, createRemoteJWKSet, type JWTPayload, jwtVerify } from 'jose'
import { onTestFinished } from 'vitest'
import type { MeshEvents } from '../../src/events.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import {
  createLogins,
  type Login,
  type LoginInit,
  type LoginStep,
  type Logins,
  loginsMigrations
} from '../../src/oauth/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { openVault, type Vault } from '../../src/vault/index.ts'
import {
  type AuthorizationServer,
  type AuthorizationServerOptions,
  startAuthorizationServer
} from './authorization-server.ts'

export interface BenchOptions extends AuthorizationServerOptions {
  readonly server?: AuthorizationServer
  readonly identity?: Identity
  readonly store?: Store
  readonly vault?: Vault
  /** 0 to 1; default 0.5, no jitter. */
  readonly random?: number
}

/** One node's logins, with a real authorization server, and time in the test's hand. */
export interface Bench {
  readonly server: AuthorizationServer
  readonly identity: Identity
  /** Whom the tokens are for. */
  readonly peer: Identity
  readonly store: Store
  readonly vault: Vault
  readonly logins: Logins
  readonly events: MeshEvents['login:changed'][]
  /** Peers, as `onChange` tells of them. */
  readonly changed: string[]
  /** Waits that have not been dropped, in milliseconds. */
  waits(): readonly number[]
  /** Lets time pass, and runs what waits no longer than that. */
  pass(ms: number): void
  /** Logs in by client credentials for the peer. */
  withSecret(more?: Partial<LoginInit>): Promise<Login>
  /** Logs in by code, with a browser that says yes. */
  withCode(more?: Partial<LoginInit>): Promise<Login>
  /** What would be presented to the peer. */
  tokens(resource?: string): Promise<string[]>
}

export async function setUp(options: BenchOptions = {}): Promise<Bench> {
  const { random = 0.5, ...serverOptions } = options
  const server = options.server ?? (await startAuthorizationServer(serverOptions))
  const [identity, peer] = [options.identity ?? createIdentity(), createIdentity()]
  const store = options.store ?? (await openStore({ migrations: [loginsMigrations] }))
  const vault = options.vault ?? (await openVault())
  const events: MeshEvents['login:changed'][] = []
  const changed: string[] = []
  let now = Date.now()
  const timers = new Set<{ readonly run: () => void; readonly at: number }>()
  const logins = await createLogins({
    identity,
    store,
    vault,
    emit: (event, detail) => {
      if (event === 'login:changed') events.push(detail as MeshEvents['login:changed'])
    },
    onChange: (each) => changed.push(each),
    clock: () => now,
    random: () => random,
    schedule(run, afterMs) {
      const timer = { run, at: now + afterMs }
      timers.add(timer)
      return () => timers.delete(timer)
    }
  })
  const { confidential, public: open } = server.clients
  const finish = async (init: LoginInit): Promise<Login> => {
    const steps = await walk(logins.login(init, { signal }), server)
    const last = steps.at(-1)
    if (last?.step !== 'done') throw new Error('the login did not end')
    return last.login
  }
  const { signal } = new AbortController()
  onTestFinished(() => logins.stop())
  return {
    server,
    identity,
    peer,
    store,
    vault,
    logins,
    events,
    changed,
    waits: () => [...timers].map(({ at }) => at - now),
    pass(ms) {
      now += ms
      for (const timer of timers) {
        if (timer.at > now) continue
        timers.delete(timer)
        timer.run()
      }
    },
    withSecret: (more = {}) =>
      finish({
        issuer: server.issuer,
        clientId: confidential.client_id,
        clientSecret: confidential.client_secret,
        flow: 'client-credentials',
        scopes: ['tools.call'],
        peers: [peer.id],
        ...more
      }),
    withCode: (more = {}) =>
      finish({
        issuer: server.issuer,
        clientId: open.client_id,
        flow: 'code',
        scopes: ['tools.call'],
        peers: [peer.id],
        ...more
      }),
    async tokens(resource = peer.did) {
      const { credentials } = await logins.toPresent(peer.id, resource, { signal })
      return credentials.map(({ token }) => String(token))
    }
  }
}

/** Goes through the steps of a login and does what they ask for. */
export async function walk(steps: AsyncIterable<LoginStep>, server: AuthorizationServer): Promise<LoginStep[]> {
  const seen: LoginStep[] = []
  for await (const step of steps) {
    seen.push(step)
    if (step.step === 'visit' && step.userCode !== undefined) await server.approveDevice(step.userCode)
    else if (step.step === 'visit') await fetch((await server.visit(step.url)).location ?? '')
  }
  return seen
}

/** What a peer does with a token: signature, issuer, audience, and whose key it is bound to. */
export async function verifyAt(peer: Identity, { server, identity }: Bench, token = ''): Promise<JWTPayload> {
  const { payload } = await jwtVerify(token, createRemoteJWKSet(new URL(`${server.issuer}/jwks`)), {
    issuer: server.issuer,
    audience: peer.did,
    typ: 'at+jwt'
  })
  const x = Buffer.from(identity.privateKey.publicKey.raw).toString('base64url')
  const jkt = await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x })
  if ((payload['cnf'] as { jkt?: string } | undefined)?.jkt !== jkt) throw new Error('bound to another key')
  return payload
}
