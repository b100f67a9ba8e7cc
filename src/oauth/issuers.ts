import { createLocalJWKSet, type JSONWebKeySet, type JWTVerifyGetKey } from 'jose'
import {
  allowInsecureRequests,
  ClientError,
  type Configuration,
  customFetch,
  discovery,
  None,
  type ServerMetadata
} from 'openid-client'
import { z } from 'zod'
import { MAX_ISSUERS } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { parseJson } from '../wire/index.ts'
import {
  ISSUER_COOLDOWN_MS,
  ISSUER_KEYS_TTL_MS,
  ISSUER_METADATA_TTL_MS,
  ISSUER_REQUEST_TIMEOUT_MS,
  ISSUER_RETRY_MS
} from './constants.ts'
import type { IssuerInit } from './index.ts'
import { createKept, type Kept } from './kept.ts'
import { issuerFetch } from './login-fetch.ts'
import { checkIssuer, isLoopback } from './login-init.ts'

/** The keys of an issuer as they were at one time. */
export interface KeySet {
  /** The issuer as its metadata spells it, and hence its tokens. */
  readonly issuer: string
  readonly getKey: JWTVerifyGetKey
}

/** An issuer whose tokens are accepted. */
export interface Issuer extends IssuerInit {
  readonly fetch: ReturnType<typeof issuerFetch>
  readonly metadata: Kept<ServerMetadata>
  readonly keys: Kept<KeySet>
}

/** By what {@link issuerName} makes of their identifiers. @throws {MeshError} INVALID_CONFIG */
export function openIssuers(inits: readonly IssuerInit[], clock: () => number): ReadonlyMap<string, Issuer> {
  if (inits.length > MAX_ISSUERS) throw new MeshError('INVALID_CONFIG', `more than ${MAX_ISSUERS} issuers`)
  const issuers = new Map<string, Issuer>()
  for (const init of inits) {
    try {
      checkIssuer(init.issuer)
    } catch (cause) {
      const { message, hint } = MeshError.from(cause)
      throw new MeshError('INVALID_CONFIG', `${init.issuer}: ${message}`, { cause, ...(hint && { hint }) })
    }
    const name = issuerName(init.issuer)
    if (issuers.has(name)) throw new MeshError('INVALID_CONFIG', `the issuer ${init.issuer} is there twice`)
    issuers.set(name, openIssuer(init, clock))
  }
  return issuers
}

/** The same for `https://login.example.org` and `https://login.example.org/`, which owners confuse; any text for what is no URL. */
export function issuerName(issuer: string): string {
  return URL.canParse(issuer) ? new URL(issuer).href : issuer
}

function openIssuer(init: IssuerInit, clock: () => number): Issuer {
  // Requests end by their own deadline; nothing else has to end them
  const fetch = issuerFetch({ issuer: init.issuer, stopped: new AbortController().signal })
  const times = { clock, retryMs: ISSUER_RETRY_MS, cooldownMs: ISSUER_COOLDOWN_MS }
  const metadata = createKept({
    ...times,
    ttlMs: ISSUER_METADATA_TTL_MS,
    load: () => told(init.issuer, async () => (await readMetadata(init.issuer, fetch)).serverMetadata())
  })
  const keys = createKept({
    ...times,
    ttlMs: ISSUER_KEYS_TTL_MS,
    load: () => told(init.issuer, async () => readKeys(await metadata.get(), fetch))
  })
  return { ...init, fetch, metadata, keys }
}

/** What goes wrong with an issuer is no fault of the peer, and no news for it. */
async function told<T>(issuer: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    throw new MeshError('UNREACHABLE', `the issuer ${issuer} cannot be asked`, { cause })
  }
}

/** RFC 8414; where there is no such page, OpenID Connect Discovery. */
async function readMetadata(issuer: string, fetch: Issuer['fetch']): Promise<Configuration> {
  try {
    return await discover(issuer, fetch, 'oauth2')
  } catch (err) {
    const isMissing = err instanceof ClientError && err.cause instanceof Response && err.cause.status >= 400
    if (!isMissing) throw err
    return await discover(issuer, fetch, 'oidc')
  }
}

async function discover(issuer: string, fetch: Issuer['fetch'], algorithm: 'oauth2' | 'oidc'): Promise<Configuration> {
  const url = new URL(issuer)
  // This node is no client when it asks for metadata; the library wants a name all the same
  const config = await discovery(url, 'resource-server', undefined, None(), {
    algorithm,
    timeout: ISSUER_REQUEST_TIMEOUT_MS / 1_000,
    execute: isLoopback(url) ? [allowInsecureRequests] : [],
    [customFetch]: fetch
  })
  // The library lets some well-known issuers name another one
  if (issuerName(config.serverMetadata().issuer) !== issuerName(issuer)) throw new Error('it names another issuer')
  return config
}

const keySet = z.object({ keys: z.array(z.looseObject({ kty: z.string() })) })

async function readKeys({ issuer, jwks_uri }: ServerMetadata, fetch: Issuer['fetch']): Promise<KeySet> {
  if (jwks_uri === undefined) throw new Error('its metadata names no keys')
  const response = await fetch(jwks_uri, {
    method: 'GET',
    headers: { accept: 'application/jwk-set+json, application/json' },
    body: undefined,
    redirect: 'manual',
    signal: AbortSignal.timeout(ISSUER_REQUEST_TIMEOUT_MS)
  })
  if (response.status !== 200) throw new Error(`its keys are answered with HTTP ${response.status}`)
  const read = keySet.parse(parseJson(new Uint8Array(await response.arrayBuffer())))
  // Each key's own members are judged by the library when it is used
  return { issuer, getKey: createLocalJWKSet(read as JSONWebKeySet) }
}
