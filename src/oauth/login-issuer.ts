import {
  allowInsecureRequests,
  ClientError,
  ClientSecretBasic,
  ClientSecretPost,
  type Configuration,
  type CryptoKeyPair,
  customFetch,
  type DPoPHandle,
  discovery,
  getDPoPHandle,
  modifyAssertion,
  None,
  type TokenEndpointResponse
} from 'openid-client'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { DEFAULT_TOKEN_TTL_SECONDS, LOGIN_REQUEST_TIMEOUT_MS, MAX_ISSUED_TOKEN_LENGTH } from './constants.ts'
import { readFailure } from './login-errors.ts'
import { issuerFetch } from './login-fetch.ts'
import { isLoopback } from './login-init.ts'

export interface IssuerClientInit {
  readonly issuer: string
  readonly clientId: string
  readonly clientSecret: string | undefined
  readonly keys: CryptoKeyPair
  readonly stopped: AbortSignal
}

/** One client at one issuer. */
export interface IssuerClient {
  /** As its metadata spells it, which is how tokens do. */
  readonly issuer: string
  readonly config: Configuration
  /** Signs proofs with the node's key and keeps the issuer's nonce. */
  readonly dpop: DPoPHandle
}

/** The node's key as openid-client wants it: proofs by it bind tokens to the PeerId. */
export async function proofKeys({ privateKey }: Pick<Identity, 'privateKey'>): Promise<CryptoKeyPair> {
  const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('base64url')
  // libp2p's raw private key is the seed followed by the public key
  const jwk = { kty: 'OKP', crv: 'Ed25519', x: text(privateKey.publicKey.raw) }
  const seed = { ...jwk, d: text(privateKey.raw.subarray(0, 32)) }
  const algorithm = { name: 'Ed25519' }
  return {
    privateKey: await crypto.subtle.importKey('jwk', seed, algorithm, false, ['sign']),
    publicKey: await crypto.subtle.importKey('jwk', jwk, algorithm, true, ['verify'])
  }
}

/**
 * Reads an issuer's metadata: RFC 8414, else OpenID Connect Discovery.
 *
 * @throws {MeshError} UNREACHABLE, UNAUTHENTICATED, UNSUPPORTED_VERSION when it takes no proofs by an Ed25519 key
 */
export async function openIssuer(init: IssuerClientInit): Promise<IssuerClient> {
  const config = await readMetadata(init)
  const { issuer, dpop_signing_alg_values_supported: algorithms } = config.serverMetadata()
  // openid-client lets some well-known issuers name another one
  if (new URL(issuer).href !== new URL(init.issuer).href) {
    throw new MeshError('UNAUTHENTICATED', `${init.issuer} says that it is another issuer`)
  }
  const name = proofAlgorithm(issuer, algorithms)
  const dpop = getDPoPHandle(config, init.keys, { [modifyAssertion]: (header) => void (header['alg'] = name) })
  return { issuer, config, dpop }
}

async function readMetadata(init: IssuerClientInit): Promise<Configuration> {
  const fail = (err: unknown) => readFailure(err, init.issuer).error
  try {
    return await discover(init, 'oauth2')
  } catch (err) {
    // Who can't be reached has no other page either
    if (!hasAnswered(err)) throw fail(err)
    return await discover(init, 'oidc').catch((second: unknown) => {
      throw fail(err).code === 'UNAUTHENTICATED' ? fail(err) : fail(second)
    })
  }
}

function hasAnswered(err: unknown): boolean {
  if (!(err instanceof ClientError)) return err instanceof TypeError
  return !(err.cause instanceof MeshError) && err.code !== 'OAUTH_TIMEOUT' && err.code !== 'OAUTH_ABORT'
}

function discover({ issuer, clientId, clientSecret, stopped }: IssuerClientInit, algorithm: 'oauth2' | 'oidc') {
  const url = new URL(issuer)
  return discovery(url, clientId, undefined, clientAuth(clientSecret), {
    algorithm,
    // Seconds
    timeout: LOGIN_REQUEST_TIMEOUT_MS / 1_000,
    execute: url.protocol === 'http:' && isLoopback(url) ? [allowInsecureRequests] : [],
    [customFetch]: issuerFetch({ issuer, stopped })
  })
}

/** By header, which RFC 6749 makes every issuer take; in the body only if the issuer names that alone. */
function clientAuth(secret: string | undefined): ReturnType<typeof None> {
  if (secret === undefined) return None()
  const [basic, post] = [ClientSecretBasic(secret), ClientSecretPost(secret)]
  return (server, client, body, headers) => {
    const methods = server.token_endpoint_auth_methods_supported ?? ['client_secret_basic']
    const isPostOnly = methods.includes('client_secret_post') && !methods.includes('client_secret_basic')
    return (isPostOnly ? post : basic)(server, client, body, headers)
  }
}

/** `Ed25519` (RFC 9864) or the older name for the same, `EdDSA`. */
function proofAlgorithm(issuer: string, supported: readonly string[] | undefined): string {
  const name = supported === undefined ? 'Ed25519' : ['Ed25519', 'EdDSA'].find((each) => supported.includes(each))
  if (name !== undefined) return name
  throw new MeshError('UNSUPPORTED_VERSION', `${issuer} can't bind tokens to an Ed25519 key`, {
    hint: "its dpop_signing_alg_values_supported must have Ed25519 or EdDSA: see its administrator's pages on DPoP"
  })
}

/** An access token and how long it is good. */
export interface IssuedToken {
  readonly token: string
  readonly ttlMs: number
  readonly refreshToken?: string
}

/**
 * Checks a token endpoint's answer beyond what the library does.
 *
 * @throws {MeshError} UNSUPPORTED_VERSION when the token isn't bound to our key, TOO_LARGE
 */
export function readIssued(issuer: string, answer: TokenEndpointResponse): IssuedToken {
  const { access_token: token, token_type: type, expires_in: seconds, refresh_token: refreshToken } = answer
  if (type.toLowerCase() !== 'dpop') {
    throw new MeshError('UNSUPPORTED_VERSION', `${issuer} gives tokens that are bound to no key`, {
      hint: 'turn on DPoP-bound access tokens (RFC 9449) for this client'
    })
  }
  if (token.length > MAX_ISSUED_TOKEN_LENGTH || (refreshToken?.length ?? 0) > MAX_ISSUED_TOKEN_LENGTH) {
    throw new MeshError('TOO_LARGE', `${issuer} gives tokens of more than ${MAX_ISSUED_TOKEN_LENGTH} characters`)
  }
  const ttlMs = (seconds ?? DEFAULT_TOKEN_TTL_SECONDS) * 1_000
  return { token, ttlMs, ...(refreshToken === undefined ? {} : { refreshToken }) }
}
