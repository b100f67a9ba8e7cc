import type { Connection } from '@libp2p/interface'
import { decodeJwt } from 'jose'
import { describe, expect, it, onTestFinished } from 'vitest'
import {
  type Auth,
  type Caller,
  type Credential,
  type CredentialMethod,
  createAuth,
  createMtls,
  type Holder,
  type TrustLevel,
  type Verifier
} from '../../src/auth/index.ts'
import { MeshError } from '../../src/errors.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { createApiKeys, keysMigrations } from '../../src/keys/index.ts'
import { createTokens, tokensMigrations } from '../../src/oauth/index.ts'
import { openStore } from '../../src/store/index.ts'
import { openVault } from '../../src/vault/index.ts'
import { makeCertificate, startTlsServer } from '../auth/certificates.ts'
import { MINUTE, Town } from '../pairing/kit.ts'
import { startAuthorizationServer } from './authorization-server.ts'

const OPTIONS = { signal: AbortSignal.timeout(60_000) }
const DAY_MS = 86_400_000

type Who = 'alice' | 'mallory'

/** A credential of alice's, and what may become of it. */
interface Kit {
  /** Shows it as one of them: what her connection has proven is her own. */
  readonly present: (who: Who) => Promise<{ credential: Credential; trust?: TrustLevel }>
  /** Time passes until it is no longer good. */
  readonly expire: () => void
  readonly revoke: () => void | Promise<unknown>
}

interface Methods {
  readonly verifier: Verifier
  readonly presented: Readonly<Record<string, unknown>>
  readonly holders: Readonly<Record<Who, Holder>>
  readonly expire: () => void
  /** @returns what `Auth.revoke` is told */
  readonly revoke: () => Promise<(credential: Credential) => boolean>
}

async function oauth(): Promise<Methods> {
  const server = await startAuthorizationServer()
  const [self, alice, mallory] = [createIdentity(), createIdentity(), createIdentity()]
  let skewMs = 0
  const clock = () => Date.now() + skewMs
  let matches: (credential: Credential) => boolean = () => false
  const tokens = createTokens({
    identity: self,
    store: await openStore({ migrations: [tokensMigrations] }),
    issuers: [{ issuer: server.issuer }],
    onRevoke: (gone) => (matches = gone),
    clock
  })
  const { access_token: token } = await server.issueFor({ resource: self.did, identity: alice })
  return {
    verifier: tokens.verifier,
    presented: { method: 'oauth', token },
    holders: holdersOf(alice, mallory),
    expire: () => (skewMs = 10 * MINUTE),
    revoke: async () => {
      await tokens.revoke(server.issuer, decodeJwt(token).jti ?? '')
      return matches
    }
  }
}

async function apiKey(): Promise<Methods> {
  const [alice, mallory] = [createIdentity(), createIdentity()]
  const store = await openStore({ migrations: [keysMigrations] })
  onTestFinished(() => store.close())
  let skewMs = 0
  let matches: (credential: Credential) => boolean = () => false
  const keys = createApiKeys({
    store,
    vault: await openVault(),
    clock: () => Date.now() + skewMs,
    onRevoke: (_id, those) => (matches = those)
  })
  const { key, info } = await keys.create({ name: 'ci', pin: alice.id, forMs: DAY_MS })
  return {
    verifier: keys.verifier,
    presented: { method: 'api-key', key },
    holders: holdersOf(alice, mallory),
    expire: () => (skewMs = DAY_MS),
    revoke: async () => {
      await keys.revoke(info.id)
      return matches
    }
  }
}

async function sharedSecret(): Promise<Methods> {
  const town = new Town()
  const [self, alice] = await town.pair()
  const mallory = await town.move({ name: 'mallory' })
  await mallory.pairing.join((await self.pairing.invite()).token)
  const presented = await alice.pairing.prove(self.identity.id)
  return {
    verifier: self.pairing.verifier,
    presented: presented ?? {},
    holders: holdersOf(alice.identity, mallory.identity),
    expire: () => (self.now += 10 * MINUTE),
    revoke: async () => {
      await self.pairing.unpair(alice.identity.id)
      return ({ method, subject }) => method === 'shared-secret' && subject === alice.identity.id
    }
  }
}

async function mtls(): Promise<Methods> {
  const [shown, other] = [await makeCertificate(), await makeCertificate()]
  const server = await startTlsServer()
  const [proven, others] = [await server.shows(shown), await server.shows(other)]
  if (proven === undefined || others === undefined) throw new Error('the server has seen no certificate')
  let skewMs = 0
  const clock = () => Date.now() + skewMs
  const pins = [{ spki: shown.spki, name: 'alice' }]
  let current = await createMtls({ pins, clock })
  return {
    verifier: { method: 'mtls', verify: (...presented) => current.verify(...presented) },
    presented: { method: 'mtls', certificate: proven.certificate },
    holders: { alice: { x5t: proven.x5t }, mallory: { x5t: others.x5t } },
    expire: () => (skewMs = 2 * DAY_MS),
    // The owner takes the pin out, and starts the node again
    revoke: async () => {
      current = await createMtls({ clock })
      return ({ method, subject }) => method === 'mtls' && subject === 'alice'
    }
  }
}

function holdersOf(alice: Identity, mallory: Identity): Methods['holders'] {
  return { alice: { peer: alice.id }, mallory: { peer: mallory.id } }
}

const METHODS = { oauth, 'api-key': apiKey, 'shared-secret': sharedSecret, mtls } as const

async function kitOf(method: keyof typeof METHODS): Promise<Kit> {
  const { verifier, presented, holders, ...fate } = await METHODS[method]()
  return {
    present: async (who) => ({ credential: await verifier.verify(presented, holders[who], OPTIONS) }),
    ...fate
  }
}

/** The key of the connection, which every peer has and none presents. */
function noise(): Kit {
  const names = { alice: createIdentity(), mallory: createIdentity() }
  let skewMs = 0
  let level: TrustLevel = 'unknown'
  const auth = createAuth({ standingOf: () => ({ level }), clock: () => Date.now() + skewMs })
  return {
    async present(who) {
      const { credentials, trust } = callerOn(auth, names[who])
      const [first] = credentials
      if (first === undefined) throw new Error('nothing is proven')
      return { credential: first.subject === names.alice.id ? { ...first, subject: 'alice' } : first, trust }
    },
    expire: () => (skewMs = 3_650 * DAY_MS),
    revoke: () => {
      level = 'blocked'
    }
  }
}

function callerOn(auth: Auth, { peerId }: Identity): Caller {
  return auth.sessionOf(connectionOf(peerId)).caller
}

/** As much of a connection as authentication looks at. */
function connectionOf(remotePeer: Identity['peerId']): Connection {
  const connection = { remotePeer, encryption: '/noise', status: 'open', addEventListener: () => {} }
  return connection as Partial<Connection> as Connection
}

const CASES: Readonly<Record<string, (kit: Kit) => ReturnType<Kit['present']>>> = {
  valid: ({ present }) => present('alice'),
  expired: ({ present, expire }) => {
    expire()
    return present('alice')
  },
  revoked: async ({ present, revoke }) => {
    await revoke()
    return present('alice')
  },
  replayed: async ({ present }) => {
    await present('alice')
    return present('alice')
  },
  'of another peer': ({ present }) => present('mallory'),
  'of another peer, after its owner': async ({ present }) => {
    await present('alice')
    return present('mallory')
  }
}

/** The binding of the credential that the caller then has, or why it has none. */
async function outcomeOf(presented: ReturnType<Kit['present']>): Promise<string> {
  try {
    const { credential, trust } = await presented
    return trust === 'blocked' ? 'blocked' : credential.binding
  } catch (err) {
    const { code, data } = MeshError.from(err)
    return `${code} ${(data as { reason?: string } | undefined)?.reason}`
  }
}

/** By method, in the order of {@link CASES}. */
const OUTCOMES: Readonly<Record<Exclude<CredentialMethod, 'local' | 'owner'>, readonly string[]>> = {
  // A connection can't be shown again, nor by another: its key signs a handshake that is new each time
  noise: ['noise', 'noise', 'blocked', 'noise', 'noise', 'noise'],
  oauth: ['noise', 'expired', 'revoked', 'noise', 'wrong-peer', 'wrong-peer'],
  'api-key': ['noise', 'expired', 'revoked', 'noise', 'wrong-peer', 'wrong-peer'],
  // A proof is made anew for each hello
  'shared-secret': ['hmac', 'expired', 'revoked', 'replayed', 'wrong-peer', 'wrong-peer'],
  // A certificate proves nothing without the handshake that it was shown in
  mtls: ['mtls', 'expired', 'unknown', 'mtls', 'wrong-peer', 'wrong-peer']
}
const BINDINGS = ['noise', 'hmac', 'mtls', 'blocked']

describe('a credential', () => {
  const rows = Object.entries(OUTCOMES).flatMap(([method, outcomes]) =>
    Object.keys(CASES).map((name, at) => ({ method, name, outcome: outcomes[at] ?? '' }))
  )
  it.each(rows)('$method, $name: $outcome', async ({ method, name, outcome }) => {
    const kit = method === 'noise' ? noise() : await kitOf(method as keyof typeof METHODS)
    const expected = BINDINGS.includes(outcome) ? outcome : `UNAUTHENTICATED ${outcome}`
    const presented = CASES[name]?.(kit)
    expect(presented && (await outcomeOf(presented))).toBe(expected)
  })

  it('noise, of another peer: names that peer', async () => {
    const { present } = noise()
    expect((await present('alice')).credential.subject).toBe('alice')
    expect((await present('mallory')).credential.subject).not.toBe('alice')
  })
})

describe('a session', () => {
  /** A session with one credential beside that of the connection. */
  async function sessionWith(method: Exclude<keyof typeof METHODS, 'mtls'>) {
    const { verifier, presented, holders, revoke } = await METHODS[method]()
    let now = Date.now()
    // The session knows its peer from the connection; the verifier is told alice's name, who is at the other end
    const asAlice: Verifier = {
      method: verifier.method,
      verify: (shown, _holder, options) => verifier.verify(shown, holders.alice, options)
    }
    const auth = createAuth({ standingOf: () => ({ level: 'unknown' }), verifiers: [asAlice], clock: () => now })
    const session = auth.sessionOf(connectionOf(createIdentity().peerId))
    expect(await auth.present(session, [presented], OPTIONS)).toMatchObject([{ ok: true }])
    const methods = () => session.caller.credentials.map((credential) => credential.method)
    expect(methods()).toEqual(['noise', method])
    return { auth, methods, revoke, pass: (ms: number) => (now += ms) }
  }

  it.each(['oauth', 'api-key', 'shared-secret'] as const)('loses %s as soon as it is revoked', async (method) => {
    const { auth, methods, revoke } = await sessionWith(method)
    auth.revoke(await revoke())
    expect(methods()).toEqual(['noise'])
  })

  it.each([
    { method: 'oauth', forMs: 6 * MINUTE, left: ['noise'] },
    { method: 'api-key', forMs: DAY_MS, left: ['noise'] },
    // It was proven for the connection, not for a time
    { method: 'shared-secret', forMs: 365 * DAY_MS, left: ['noise', 'shared-secret'] }
  ] as const)('after the time of $method has $left', async ({ method, forMs, left }) => {
    const { methods, pass } = await sessionWith(method)
    pass(forMs)
    expect(methods()).toEqual(left)
  })
})
