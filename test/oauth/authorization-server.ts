import { createPublicKey, generateKeyPairSync, type JsonWebKey, randomBytes } from 'node:crypto'
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http'
import {
  createLocalJWKSet,
  decodeProtectedHeader,
  importJWK,
  type JWK,
  type JWTPayload,
  jwtVerify,
  SignJWT
} from 'jose'
import { type Configuration, errors, type KoaContextWithOIDC, Provider } from 'oidc-provider'
import {
  allowInsecureRequests,
  ClientSecretBasic,
  type CryptoKeyPair,
  clientCredentialsGrant,
  discovery,
  getDPoPHandle,
  type TokenEndpointResponse
} from 'openid-client'
import { onTestFinished, vi } from 'vitest'
import type { Identity } from '../../src/identity/index.ts'
import { didFromKey } from '../../src/wire/index.ts'

export const EXCHANGE_GRANT = 'urn:ietf:params:oauth:grant-type:token-exchange'

export interface AuthorizationServerOptions {
  /** Of access tokens; default `jwt`. */
  readonly format?: 'jwt' | 'opaque'
  /** Seconds; default 300. */
  readonly accessTokenTtl?: number
  /** DPoP proofs must have a nonce from the server; default false. */
  readonly requireNonce?: boolean
  /** Algorithms for DPoP proofs; default Ed25519, EdDSA and ES256. An empty list turns DPoP off. */
  readonly dpopAlgorithms?: readonly ('Ed25519' | 'EdDSA' | 'ES256')[]
  /** Whether a refresh token is replaced at each use; default true. */
  readonly rotateRefreshTokens?: boolean
  /** Default http://127.0.0.1/callback, at any port. */
  readonly redirectUris?: readonly string[]
  /** Default `tools.call`, `tools.read` and `build`. */
  readonly scopes?: readonly string[]
}

interface TestClient {
  readonly client_id: string
  readonly client_secret: string
}

export interface AuthorizationServer {
  readonly issuer: string
  readonly clients: {
    readonly confidential: TestClient
    readonly public: { readonly client_id: string }
    /** May introspect, nothing else. */
    readonly introspection: TestClient
  }
  /** Makes a new key that signs from now on; those before stay published. @returns its `kid` */
  rotateKeys(): string
  /** While it is down, connections are cut as soon as something is asked. */
  setDown(down: boolean): void
  /** Answers a path in the server's place, until called with nothing. */
  intercept(path: string, listener?: RequestListener): void
  /** How often a path was asked, intercepted or not, since the start: `/token`, `/jwks`, `/token/introspection`, … */
  requestsTo(path: string): number
  /** A token by the client credentials grant, bound to the key of the identity if one is given. */
  issueFor(
    init: Readonly<{ resource: string; identity?: Identity; scope?: string; client?: TestClient }>
  ): Promise<TokenEndpointResponse>
  /** Signs any claims as an access token, with the present key unless another is given. */
  sign(claims: JWTPayload, header?: Readonly<Record<string, unknown>>, key?: JWK): Promise<string>
  /** A browser whose owner says yes to everything. @returns where it was sent at last, outside of the server */
  visit(url: string): Promise<{ readonly location: string | undefined; readonly body: string }>
  /** What the owner does with the code that a device shows. */
  approveDevice(userCode: string): Promise<void>
  denyDevice(userCode: string): Promise<void>
  /** A token that the server itself can revoke: opaque access tokens, and refresh tokens. */
  revoke(token: string, client?: TestClient): Promise<void>
}

/** A real authorization server on loopback, in this process, stopped when the test has finished. */
export async function startAuthorizationServer(options: AuthorizationServerOptions = {}): Promise<AuthorizationServer> {
  const counts = new Map<string, number>()
  const intercepted = new Map<string, RequestListener>()
  let isDown = false
  let keys = [newKey('EdDSA'), rsaKey()]
  let listener: RequestListener = () => {}

  const http = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '/', 'http://localhost')
    counts.set(pathname, (counts.get(pathname) ?? 0) + 1)
    if (isDown) request.socket.destroy()
    else (intercepted.get(pathname) ?? listener)(request, response)
  })
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    http.closeAllConnections()
    http.close()
  })
  const address = http.address()
  if (address === null || typeof address === 'string') throw new Error('the server has no port')
  const issuer = `http://127.0.0.1:${address.port}`
  const cookieKey = randomBytes(16).toString('hex')
  const nonceSecret = randomBytes(32)
  const renew = () => {
    listener = listenerOf(issuer, { ...options, keys, cookieKey, nonceSecret })
  }
  renew()
  const browser = createBrowser(issuer)

  return {
    issuer,
    clients: CLIENTS,
    rotateKeys() {
      const key = newKey('EdDSA')
      keys = [key, ...keys]
      renew()
      return key.kid
    },
    setDown(down) {
      isDown = down
      if (down) http.closeAllConnections()
    },
    intercept(path, handler) {
      if (handler === undefined) intercepted.delete(path)
      else intercepted.set(path, handler)
    },
    requestsTo: (path) => counts.get(path) ?? 0,
    async issueFor({ resource, identity, scope = 'tools.call', client = CLIENTS.confidential }) {
      const config = await discovery(
        new URL(issuer),
        client.client_id,
        undefined,
        ClientSecretBasic(client.client_secret),
        { execute: [allowInsecureRequests], algorithm: 'oauth2' }
      )
      const dpop = identity === undefined ? {} : { DPoP: getDPoPHandle(config, await proofKeys(identity)) }
      return clientCredentialsGrant(config, { scope, resource }, dpop)
    },
    async sign(claims, header = {}, key = keys[0]) {
      if (key === undefined) throw new Error('no key')
      const protectedHeader = { typ: 'at+jwt', alg: 'EdDSA', ...(key.kid && { kid: key.kid }), ...header }
      return new SignJWT(claims).setProtectedHeader(protectedHeader).sign(await importJWK(key, protectedHeader.alg))
    },
    visit: (url) => browser.visit(url),
    async approveDevice(userCode) {
      await browser.submit(`/device?user_code=${userCode}`, { confirm: 'yes' })
    },
    async denyDevice(userCode) {
      await browser.submit(`/device?user_code=${userCode}`, { abort: 'yes' })
    },
    async revoke(token, { client_id, client_secret } = CLIENTS.confidential) {
      const authorization = `Basic ${Buffer.from(`${client_id}:${client_secret}`).toString('base64')}`
      const body = new URLSearchParams({ token })
      const response = await fetch(`${issuer}/token/revocation`, { method: 'POST', headers: { authorization }, body })
      if (!response.ok) throw new Error(`the server does not revoke: ${await response.text()}`)
    }
  }
}

/** The key of a node as WebCrypto has it: what its DPoP proofs are signed with. */
export async function proofKeys({ privateKey }: Identity): Promise<CryptoKeyPair> {
  const x = Buffer.from(privateKey.publicKey.raw).toString('base64url')
  const jwk = { kty: 'OKP', crv: 'Ed25519', x }
  const d = Buffer.from(privateKey.raw.subarray(0, 32)).toString('base64url')
  const [secret, open] = await Promise.all([
    crypto.subtle.importKey('jwk', { ...jwk, d }, 'Ed25519', false, ['sign']),
    crypto.subtle.importKey('jwk', jwk, 'Ed25519', true, ['verify'])
  ])
  return { privateKey: secret, publicKey: open }
}

const CLIENTS = {
  confidential: { client_id: 'agent', client_secret: 'the-secret-of-the-agent' },
  public: { client_id: 'desktop' },
  introspection: { client_id: 'introspector', client_secret: 'the-secret-of-the-introspector' }
} as const

type SigningKey = JWK & { readonly kid: string }

function newKey(alg: 'EdDSA' | 'RS256'): SigningKey {
  const pair = alg === 'EdDSA' ? generateKeyPairSync('ed25519') : generateKeyPairSync('rsa', { modulusLength: 2048 })
  // Node's own type of a JWK lacks the index that jose's has
  const jwk = pair.privateKey.export({ format: 'jwk' }) as JWK
  return { ...jwk, kid: `${alg}-${randomBytes(4).toString('hex')}`, use: 'sig', alg }
}

/** For ID tokens, which nobody looks at: takes a while to make, so all servers have the same. */
const rsaKey = (() => {
  let key: SigningKey | undefined
  return () => {
    key ??= newKey('RS256')
    return key
  }
})()

function publicKey({ kid, alg, ...jwk }: SigningKey): JWK {
  const open = createPublicKey({ key: jwk as JsonWebKey, format: 'jwk' }).export({ format: 'jwk' })
  return { ...open, kid, ...(alg && { alg }) } as JWK
}

interface ProviderInit extends AuthorizationServerOptions {
  readonly keys: readonly SigningKey[]
  readonly cookieKey: string
  readonly nonceSecret: Buffer
}

/** The provider can't change its keys, so each set of keys has a provider of its own; what they have issued they share. */
function listenerOf(issuer: string, init: ProviderInit): RequestListener {
  const exchanged = new WeakMap<object, JWTPayload>()
  const provider = quietly(() => new Provider(issuer, configurationOf(init, exchanged)))
  addTokenExchange(provider, init, exchanged)
  const callback = provider.callback()
  return (request, response) => {
    if (request.url?.startsWith('/interaction/') !== true) {
      void callback(request, response)
      return
    }
    sayYes(provider, request, response).catch((err: unknown) => {
      response.statusCode = 500
      response.end(String(err))
    })
  }
}

/** The provider tells on the console, once, that it isn't set up for production. */
function quietly<T>(make: () => T): T {
  const [info, warn] = [vi.spyOn(console, 'info'), vi.spyOn(console, 'warn')]
  try {
    for (const spy of [info, warn]) spy.mockImplementation(() => {})
    return make()
  } finally {
    for (const spy of [info, warn]) spy.mockRestore()
  }
}

function configurationOf(init: ProviderInit, exchanged: WeakMap<object, JWTPayload>): Configuration {
  const { rotateRefreshTokens = true, accessTokenTtl = 300 } = init
  const { dpopAlgorithms = ['Ed25519', 'EdDSA', 'ES256'] } = init
  return {
    jwks: { keys: [...init.keys] as NonNullable<Configuration['jwks']>['keys'] },
    cookies: { keys: [init.cookieKey] },
    scopes: ['openid', 'offline_access', ...scopesOf(init)],
    clientAuthMethods: ['client_secret_basic', 'none'],
    clients: clientsOf(init),
    clientBasedCORS: () => false,
    findAccount: (_ctx, sub) => ({ accountId: sub, claims: () => ({ sub }) }),
    interactions: { url: (_ctx, { uid }) => `/interaction/${uid}` },
    issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
    rotateRefreshToken: rotateRefreshTokens,
    renderError: (ctx, out) => {
      ctx.type = 'json'
      ctx.body = out
    },
    ttl: {
      AccessToken: accessTokenTtl,
      ClientCredentials: accessTokenTtl,
      RefreshToken: 86_400,
      Grant: 86_400,
      AuthorizationCode: 60,
      DeviceCode: 600,
      IdToken: 300,
      Interaction: 600,
      Session: 600
    },
    formats: {
      customizers: { jwt: (_ctx, token, { payload }) => void Object.assign(payload, exchanged.get(token)) }
    },
    ...(dpopAlgorithms.length > 0 && { enabledJWA: { dPoPSigningAlgValues: [...dpopAlgorithms] } }),
    features: {
      devInteractions: { enabled: false },
      rpInitiatedLogout: { enabled: false },
      clientCredentials: { enabled: true },
      deviceFlow: {
        enabled: true,
        userCodeInputSource: showForm,
        userCodeConfirmSource: showForm,
        successSource: (ctx) => {
          ctx.body = 'done'
        }
      },
      introspection: { enabled: true, allowedPolicy: (_ctx, client) => client.clientId === 'introspector' },
      revocation: { enabled: true, allowedPolicy: (_ctx, client, token) => client.clientId === token.clientId },
      dPoP: {
        enabled: dpopAlgorithms.length > 0,
        nonceSecret: init.nonceSecret,
        requireNonce: () => init.requireNonce === true
      },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => undefined as never, // none: the type knows no such answer
        useGrantedResource: () => true,
        getResourceServerInfo: (_ctx, resource) => resourceServer(init, resource)
      }
    }
  }
}

function clientsOf({ redirectUris = ['http://127.0.0.1/callback'] }: ProviderInit): Configuration['clients'] {
  const flows = ['authorization_code', 'refresh_token', 'urn:ietf:params:oauth:grant-type:device_code']
  const interactive = {
    application_type: 'native', // any port of loopback, RFC 8252 §7.3
    redirect_uris: [...redirectUris],
    response_types: ['code' as const]
  } as const
  return [
    { ...CLIENTS.confidential, ...interactive, grant_types: [...flows, 'client_credentials', EXCHANGE_GRANT] },
    { ...CLIENTS.public, ...interactive, grant_types: flows, token_endpoint_auth_method: 'none' },
    { ...CLIENTS.introspection, grant_types: [], redirect_uris: [], response_types: [] }
  ]
}

function scopesOf({ scopes = ['tools.call', 'tools.read', 'build'] }: AuthorizationServerOptions): readonly string[] {
  return scopes
}

function resourceServer(init: ProviderInit, resource: string) {
  if (!resource.startsWith('did:key:') && !resource.startsWith('https://')) throw new errors.InvalidTarget()
  const { format = 'jwt', accessTokenTtl = 300 } = init
  const kid = init.keys[0]?.kid ?? ''
  return {
    scope: scopesOf(init).join(' '),
    audience: resource,
    accessTokenTTL: accessTokenTtl,
    accessTokenFormat: format,
    ...(format === 'jwt' && { jwt: { sign: { alg: 'EdDSA' as const, kid } } })
  }
}

function showForm(ctx: KoaContextWithOIDC, form: string): void {
  ctx.type = 'html'
  ctx.body = form
}

/** Logs the owner in and consents to whatever is asked. */
async function sayYes(provider: Provider, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { prompt, params, session, grantId } = await provider.interactionDetails(request, response)
  if (prompt.name === 'login') {
    await provider.interactionFinished(request, response, { login: { accountId: 'alice' } })
    return
  }
  const known = grantId === undefined ? undefined : await provider.Grant.find(grantId)
  const grant =
    known ?? new provider.Grant({ accountId: session?.accountId ?? 'alice', clientId: String(params['client_id']) })
  const { missingOIDCScope = [], missingResourceScopes = {} } = prompt.details as {
    missingOIDCScope?: string[]
    missingResourceScopes?: Record<string, string[]>
  }
  grant.addOIDCScope(missingOIDCScope.join(' '))
  for (const [resource, scopes] of Object.entries(missingResourceScopes))
    grant.addResourceScope(resource, scopes.join(' '))
  await provider.interactionFinished(
    request,
    response,
    { consent: { grantId: await grant.save() } },
    { mergeWithLastSubmission: true }
  )
}

/** RFC 8693: who was called swaps the caller's token for one to call onward with, bound to its own key. */
function addTokenExchange(provider: Provider, init: ProviderInit, exchanged: WeakMap<object, JWTPayload>): void {
  const publicKeys = createLocalJWKSet({ keys: init.keys.map(publicKey) })
  const parameters = 'subject_token subject_token_type requested_token_type audience resource scope'.split(' ')
  const grant = async (ctx: KoaContextWithOIDC): Promise<void> => {
    const { client } = ctx.oidc
    // Koa's own type has anything in it; the form that was sent has texts
    const params = ctx.oidc.params as Readonly<Record<string, string | undefined>> | undefined
    if (client === undefined || params === undefined) throw new errors.InvalidRequest('no client')
    const proof = await validateDpop(provider, ctx)
    const { payload: subject } = await jwtVerify<{ scope?: string }>(params['subject_token'] ?? '', publicKeys, {
      issuer: provider.issuer,
      typ: 'at+jwt'
    }).catch(() => {
      throw new errors.InvalidRequest('the subject token is not valid')
    })
    const exchanger = ownerOfProof(ctx)
    if (proof === undefined || exchanger === undefined || subject.aud !== exchanger.did)
      throw new errors.InvalidRequest('the subject token is not for who asks')
    const resource = params['resource'] ?? ''
    const held = (subject.scope ?? '').split(' ')
    const wanted = params['scope']?.split(' ') ?? held
    if (!wanted.every((scope) => held.includes(scope))) throw new errors.InvalidScope('more than the subject has', '')
    const token = new provider.ClientCredentials({ client, scope: wanted.join(' ') })
    token.resourceServer = new provider.ResourceServer(resource, resourceServer(init, resource))
    token.setThumbprint('jkt', proof.thumbprint)
    const actor = { sub: client.clientId, ...(subject['act'] === undefined ? {} : { act: subject['act'] }) }
    const exp = Math.min(subject.exp ?? 0, Math.floor(Date.now() / 1_000) + (init.accessTokenTtl ?? 300))
    exchanged.set(token, { sub: subject.sub ?? '', act: actor, exp })
    ctx.body = {
      access_token: await token.save(),
      issued_token_type: 'urn:ietf:params:oauth:token-type:access_token',
      token_type: 'DPoP',
      expires_in: exp - Math.floor(Date.now() / 1_000),
      scope: wanted.join(' ')
    }
  }
  provider.registerGrantType(EXCHANGE_GRANT, grant, parameters)
}

/** The key of a proof whose signature has been checked before. */
function ownerOfProof(ctx: KoaContextWithOIDC): { readonly did: string } | undefined {
  const { jwk } = decodeProtectedHeader(ctx.get('dpop'))
  return jwk?.crv === 'Ed25519' ? { did: didFromKey(Buffer.from(jwk.x ?? '', 'base64url')) } : undefined
}

type ValidateDpop = (provider: Provider, ctx: KoaContextWithOIDC) => Promise<{ thumbprint: string } | undefined>
// The package keeps its check of proofs to itself; grants of its own have it
const PROOF_CHECK: string = 'oidc-provider/lib/helpers/validate_dpop.js'
const { default: validateDpop } = (await import(PROOF_CHECK)) as { default: ValidateDpop }

/** As much of a browser as a login needs: cookies, redirects, forms. */
function createBrowser(issuer: string) {
  const cookies = new Map<string, string>()

  const open = async (url: string, init: RequestInit = {}): Promise<Response> => {
    const cookie = [...cookies].map(([name, value]) => `${name}=${value}`).join('; ')
    const response = await fetch(new URL(url, issuer), { ...init, redirect: 'manual', headers: { cookie } })
    for (const line of response.headers.getSetCookie()) {
      const [pair = ''] = line.split(';')
      const at = pair.indexOf('=')
      cookies.set(pair.slice(0, at), pair.slice(at + 1))
    }
    return response
  }

  const follow = async (first: Response): Promise<{ location: string | undefined; body: string }> => {
    let response = first
    for (let hops = 0; hops < 20; hops += 1) {
      const location = response.headers.get('location')
      if (location === null) return { location: undefined, body: await response.text() }
      const next = new URL(location, issuer)
      if (next.origin !== issuer) return { location: next.href, body: '' }
      await response.body?.cancel()
      response = await open(next.href)
    }
    throw new Error('the server redirects for ever')
  }

  return {
    visit: async (url: string) => follow(await open(url)),
    /** Opens a page with a form for a user code, and presses its button. */
    async submit(path: string, answer: Readonly<Record<string, string>>): Promise<void> {
      const { body } = await follow(await open(path))
      const hidden = [...body.matchAll(/<input[^>]*name="([^"]+)"[^>]*value="([^"]*)"/g)]
      const fields = Object.fromEntries(hidden.map(([, name = '', value = '']) => [name, value]))
      if (fields['user_code'] === undefined) throw new Error(`no form for a code: ${body}`)
      const form = new URLSearchParams({ ...fields, ...answer })
      await follow(await open('/device', { method: 'POST', body: form }))
    }
  }
}
