import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, decodeJwt, decodeProtectedHeader, errors, type JWTPayload, jwtVerify } from 'jose'
import { LRUCache } from 'lru-cache'
import { type Binding, type Credential, type Holder, type Refusal, refused } from '../auth/index.ts'
import { abortable, MeshError } from '../errors.ts'
import { keyFromPeerId } from '../wire/index.ts'
import { type AccessClaims, credentialFrom, judgeClaims, readClaims } from './claims.ts'
import { CLOCK_TOLERANCE_SECONDS, MAX_KEPT_THUMBPRINTS, MAX_KEPT_TOKENS, MAX_TOKEN_BYTES } from './constants.ts'
import { createDenylist } from './denylist.ts'
import type { Tokens, TokensInit } from './index.ts'
import { createIntrospection } from './introspection.ts'
import { type Issuer, issuerName, type KeySet, openIssuers } from './issuers.ts'

/** A token whose issuer stands by it; who presents it is another question. */
interface Read {
  readonly issuer: Issuer
  readonly claims: AccessClaims
}

export function createTokens(init: TokensInit): Tokens {
  const { identity, audience, clock = Date.now } = init
  const audiences = audience === undefined ? [identity.did] : [identity.did, audience]
  const issuers = openIssuers(init.issuers, clock)
  const readJwt = createJwtReader(issuers, { audiences, clock })
  const introspect = createIntrospection(clock)
  const bindingOf = createBindings()
  const denied = createDenylist(init.store, clock)
  const shown = new WeakMap<Credential, string>()

  const read = async (token: string, named: unknown): Promise<Read> => {
    if (isJwt(token)) return readJwt(token, hashOf(token))
    const issuer = introspecting(issuers, named)
    return { issuer, claims: await introspect(issuer, token, hashOf(token)) }
  }

  const verify = async (
    presented: Readonly<Record<string, unknown>>,
    holder: Holder,
    { signal }: { signal: AbortSignal }
  ): Promise<Credential> => {
    const token = readToken(presented['token'])
    const { issuer, claims } = await abortable(read(token, presented['issuer']), signal)
    judgeClaims(claims, clock(), audiences)
    const id = claims.jti ?? hashOf(token)
    if (denied.has(issuer.issuer, id)) throw refused('revoked', 'the token has been revoked here')
    const binding = await bindingOf(claims, holder, issuer)
    const credential = credentialFrom(claims, { issuer: issuer.issuer, token: id }, binding)
    shown.set(credential, token)
    return credential
  }

  return {
    verifier: { method: 'oauth', verify },
    metadata: { resource: audience ?? identity.did, issuers: [...issuers.values()].map(({ issuer }) => issuer) },
    tokenOf: (credential) => shown.get(credential),
    async revoke(issuer, id) {
      if (!issuers.has(issuerName(issuer)))
        throw new MeshError('INVALID_ARGUMENT', 'this node does not accept tokens of that issuer', {
          hint: 'give the issuer as config.json has it'
        })
      const listed = denied.add(issuer, id)
      init.onRevoke?.(
        (credential) =>
          credential.token === id &&
          credential.issuer !== undefined &&
          issuerName(credential.issuer) === issuerName(issuer)
      )
      await listed
    }
  }
}

/** @throws {MeshError} UNAUTHENTICATED `malformed` */
function readToken(token: unknown): string {
  if (typeof token !== 'string' || token.length > MAX_TOKEN_BYTES)
    throw refused('malformed', `a token is a text of at most ${MAX_TOKEN_BYTES} characters`)
  // RFC 6750 §2.1
  if (!/^[\w.~+/-]+=*$/.test(token)) throw refused('malformed', 'a token has only letters, digits and -._~+/=')
  return token
}

/** Every JSON object begins so in base64url; what else an issuer makes, it alone can read. */
function isJwt(token: string): boolean {
  return token.startsWith('eyJ') && token.split('.').length === 3
}

function hashOf(token: string): string {
  return createHash('sha256').update(token).digest('base64url')
}

/** Who is asked about an opaque token: nobody who may not be its issuer. @throws {MeshError} UNAUTHENTICATED */
function introspecting(issuers: ReadonlyMap<string, Issuer>, named: unknown): Issuer {
  const able = [...issuers.values()].filter(({ introspection }) => introspection !== undefined)
  if (typeof named === 'string') {
    const issuer = able.find((each) => issuerName(each.issuer) === issuerName(named))
    if (issuer === undefined) throw refused('wrong-issuer', 'this node asks no such issuer about tokens')
    return issuer
  }
  const [only, ...others] = able
  if (only === undefined) throw refused('malformed', 'the token is no JWT, and this node asks no issuer about others')
  if (others.length > 0) throw refused('malformed', 'say the issuer of a token that is no JWT')
  return only
}

/** Reads JWTs (RFC 9068) with the keys of their issuers; one that has been read costs a hash, until the keys are read anew. */
function createJwtReader(
  issuers: ReadonlyMap<string, Issuer>,
  options: { readonly audiences: readonly string[]; readonly clock: () => number }
): (token: string, hash: string) => Promise<Read> {
  const verified = new LRUCache<string, Read & { readonly keys: KeySet }>({ max: MAX_KEPT_TOKENS })

  return async (token, hash) => {
    const known = verified.get(hash)
    if (known !== undefined && known.issuer.keys.peek() === known.keys) return known
    const issuer = issuerOf(token, issuers)
    const keys = await issuer.keys.get()
    let used = keys
    let payload = await check(token, keys, options)
    if (payload === undefined) {
      // Perhaps the issuer has a new key
      used = await issuer.keys.renew()
      payload = used === keys ? undefined : await check(token, used, options)
    }
    if (payload === undefined) throw refused('unknown', 'the token is signed with a key that its issuer does not have')
    const read = { issuer, claims: readClaims(payload), keys: used }
    verified.set(hash, read)
    return read
  }
}

/** The configured issuer that the token names, unproven yet; nobody else's page is ever fetched. */
function issuerOf(token: string, issuers: ReadonlyMap<string, Issuer>): Issuer {
  // What isn't signed must not have a second spelling: revoked tokens may be known by their hash
  if (!token.split('.').every(isCanonical)) throw refused('malformed', 'the token is not base64url')
  let iss: unknown
  try {
    decodeProtectedHeader(token)
    ;({ iss } = decodeJwt(token))
  } catch (err) {
    throw refused('malformed', 'the token is no JWT', err)
  }
  const issuer = typeof iss === 'string' ? issuers.get(issuerName(iss)) : undefined
  if (issuer === undefined) throw refused('wrong-issuer', 'this node does not accept tokens of that issuer')
  return issuer
}

function isCanonical(part: string): boolean {
  return Buffer.from(part, 'base64url').toString('base64url') === part
}

/** RFC 9864 renames EdDSA; RSA and P-256 are what most issuers have. No HMAC: there is no secret that only two know. */
const ALGORITHMS = ['EdDSA', 'Ed25519', 'ES256', 'RS256', 'PS256']

/** @returns undefined when there is no key of the token's `kid` @throws {MeshError} UNAUTHENTICATED */
async function check(
  token: string,
  { issuer, getKey }: KeySet,
  { audiences, clock }: { readonly audiences: readonly string[]; readonly clock: () => number }
): Promise<JWTPayload | undefined> {
  try {
    const { payload } = await jwtVerify(token, getKey, {
      typ: 'at+jwt',
      algorithms: ALGORITHMS,
      issuer,
      audience: [...audiences],
      currentDate: new Date(clock()),
      clockTolerance: CLOCK_TOLERANCE_SECONDS,
      requiredClaims: ['exp', 'client_id']
    })
    return payload
  } catch (err) {
    if (err instanceof errors.JWKSNoMatchingKey) return undefined
    throw refused(...reasonOf(err), err)
  }
}

const CLAIM_REFUSALS: Readonly<Record<string, Refusal>> = {
  aud: 'wrong-audience',
  iss: 'wrong-issuer',
  nbf: 'not-yet-valid'
}

function reasonOf(err: unknown): [Refusal, string] {
  if (err instanceof errors.JWTExpired) return ['expired', 'the token has expired']
  if (err instanceof errors.JWTClaimValidationFailed) {
    const reason = err.reason === 'check_failed' ? CLAIM_REFUSALS[err.claim] : undefined
    return [reason ?? 'malformed', `the token's ${err.claim} is not what it must be`]
  }
  const isBad = err instanceof errors.JWSInvalid || err instanceof errors.JWTInvalid
  if (isBad) return ['malformed', 'the token is no JWT']
  // A forged signature, an algorithm that is not allowed, a key that can't be used
  if (err instanceof errors.JOSEError) return ['signature', 'the signature of the token is not good']
  throw MeshError.from(err)
}

/** What ties a token to who presents it. */
function createBindings(): (claims: AccessClaims, holder: Holder, issuer: Issuer) => Promise<Binding> {
  const thumbprints = new LRUCache<string, string>({ max: MAX_KEPT_THUMBPRINTS })
  const thumbprintOf = async (peer: string): Promise<string> => {
    const known = thumbprints.get(peer)
    if (known !== undefined) return known
    const x = Buffer.from(keyFromPeerId(peer)).toString('base64url')
    const thumbprint = await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x })
    thumbprints.set(peer, thumbprint)
    return thumbprint
  }
  return async ({ cnf }, holder, { acceptUnbound = false }) => {
    if (cnf === undefined) {
      if (acceptUnbound) return 'none'
      throw refused('unbound', 'the token is bound to no key (cnf)')
    }
    const { jkt, 'x5t#S256': x5t } = cnf
    const isOfCertificate = x5t !== undefined && x5t === holder.x5t
    if (jkt === undefined && isOfCertificate) return 'mtls'
    if (jkt !== undefined && (x5t === undefined || isOfCertificate)) {
      if (holder.peer !== undefined && jkt === (await thumbprintOf(holder.peer))) return 'noise'
      if (jkt === holder.jkt) return 'dpop'
    }
    throw refused('wrong-peer', 'the token is bound to the key of somebody else')
  }
}
