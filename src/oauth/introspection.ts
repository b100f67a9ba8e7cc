import { LRUCache } from 'lru-cache'
import { allowInsecureRequests, ClientSecretBasic, Configuration, customFetch, tokenIntrospection } from 'openid-client'
import { refused } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { readPrivate } from '../store/index.ts'
import { type AccessClaims, readClaims } from './claims.ts'
import {
  INTROSPECTION_TTL_MS,
  ISSUER_REQUEST_TIMEOUT_MS,
  MAX_CLIENT_SECRET_BYTES,
  MAX_INTROSPECTIONS,
  MAX_KEPT_TOKENS
} from './constants.ts'
import { type Issuer, issuerName } from './issuers.ts'
import { isLoopback } from './login-init.ts'

/** What an issuer said about a token; undefined: that it is not active. */
interface Answer {
  readonly claims: AccessClaims | undefined
  readonly at: number
}

/**
 * Asks issuers about tokens that only they can read (RFC 7662), and keeps the answers for {@link INTROSPECTION_TTL_MS}.
 *
 * @returns asks about a token
 * @param hash of the token, by which answers are kept
 * @throws {MeshError} UNAUTHENTICATED `revoked`, `malformed`, `wrong-issuer`; UNREACHABLE, BUSY
 */
export function createIntrospection(
  clock: () => number
): (issuer: Issuer, token: string, hash: string) => Promise<AccessClaims> {
  const answers = new LRUCache<string, Answer>({ max: MAX_KEPT_TOKENS })
  const asked = new Map<string, Promise<Answer>>()

  const askAndKeep = async (issuer: Issuer, token: string, key: string): Promise<Answer> => {
    try {
      const answer = { claims: await ask(issuer, token), at: clock() }
      answers.set(key, answer)
      return answer
    } finally {
      asked.delete(key)
    }
  }

  return async (issuer, token, hash) => {
    const key = `${issuer.issuer} ${hash}`
    let answer = answers.get(key)
    if (answer === undefined || !isGood(answer, clock())) {
      let asking = asked.get(key)
      if (asking === undefined) {
        if (asked.size >= MAX_INTROSPECTIONS) throw new MeshError('BUSY', 'too many tokens are being asked about')
        asking = askAndKeep(issuer, token, key)
        asked.set(key, asking)
      }
      answer = await asking
    }
    if (answer.claims === undefined) throw refused('revoked', 'the issuer says that the token is not active')
    return answer.claims
  }
}

/** That a token has ended needs no asking, for it stays so. */
function isGood({ claims, at }: Answer, now: number): boolean {
  return Math.abs(now - at) < INTROSPECTION_TTL_MS || (claims !== undefined && claims.exp * 1_000 <= now)
}

async function ask(issuer: Issuer, token: string): Promise<AccessClaims | undefined> {
  const answer = await request(issuer, token).catch((cause: unknown) => {
    throw new MeshError('UNREACHABLE', `the issuer ${issuer.issuer} cannot be asked about a token`, { cause })
  })
  if (!answer.active) return undefined
  if (answer.iss !== undefined && issuerName(answer.iss) !== issuerName(issuer.issuer))
    throw refused('wrong-issuer', 'the token is of another issuer')
  return readClaims(answer)
}

async function request({ issuer, introspection, fetch, metadata }: Issuer, token: string) {
  if (introspection === undefined) throw new Error('no client for introspection')
  // Read each time, so that a new secret needs no restart; it is asked for once a minute and token at most
  const secret = (await readSecret(introspection.clientSecretFile)).trim()
  const config = new Configuration(await metadata.get(), introspection.clientId, undefined, ClientSecretBasic(secret))
  config[customFetch] = fetch
  config.timeout = ISSUER_REQUEST_TIMEOUT_MS / 1_000
  if (isLoopback(new URL(issuer))) allowInsecureRequests(config)
  return await tokenIntrospection(config, token, { token_type_hint: 'access_token' })
}

async function readSecret(path: string): Promise<string> {
  const unusable = (): MeshError =>
    new MeshError('INVALID_CONFIG', `${path} holds no client secret`, {
      hint: `at most ${MAX_CLIENT_SECRET_BYTES} bytes`
    })
  const secret = await readPrivate({ path, maxBytes: MAX_CLIENT_SECRET_BYTES, unusable })
  if (secret === undefined) throw unusable()
  return secret
}
