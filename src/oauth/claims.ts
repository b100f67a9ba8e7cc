import { z } from 'zod'
import { type Credential, refused } from '../auth/index.ts'
import { CLOCK_TOLERANCE_SECONDS, MAX_TOKEN_SCOPES } from './constants.ts'

/** Seconds since 1970, up to the year 9999: later ones have no date in text. */
const time = z.number().min(0).max(253_402_300_799)
const name = z.string().regex(/^[^\p{Cc}\p{Cs}]{1,255}$/u)

/** What is read of an access token (RFC 9068 §2.2) and of an introspection (RFC 7662 §2.2). */
const accessClaims = z.object({
  exp: time,
  nbf: time.optional(),
  iat: time.optional(),
  aud: z.union([z.string(), z.array(z.string())]),
  // Between client and user stands #: a client with one in its name could be taken for another one's user
  client_id: name.regex(/^[^#]+$/),
  sub: name.optional(),
  jti: name.optional(),
  scope: z.string().optional(),
  cnf: z.looseObject({ jkt: z.string().optional(), 'x5t#S256': z.string().optional() }).optional()
})
export type AccessClaims = z.infer<typeof accessClaims>

/** @throws {MeshError} UNAUTHENTICATED `malformed` */
export function readClaims(payload: unknown): AccessClaims {
  const { success, data, error } = accessClaims.safeParse(payload)
  if (!success) {
    const path = error.issues[0]?.path.join('.') ?? ''
    throw refused('malformed', `the token's ${path === '' ? 'content' : path} is missing or not valid`)
  }
  const scopes = scopesOf(data)
  if (scopes.length > MAX_TOKEN_SCOPES || scopes.some((scope) => scope.length > 256))
    throw refused('malformed', `the token has more than ${MAX_TOKEN_SCOPES} scopes, or too long ones`)
  return data
}

/**
 * Judges what changes with time and is the same for every holder.
 *
 * @param now milliseconds since 1970
 * @param audiences names of this node
 * @throws {MeshError} UNAUTHENTICATED `wrong-audience`, `expired`, `not-yet-valid`
 */
export function judgeClaims(
  { aud, exp, nbf = 0, iat = 0 }: AccessClaims,
  now: number,
  audiences: readonly string[]
): void {
  const named = typeof aud === 'string' ? [aud] : aud
  if (!audiences.some((audience) => named.includes(audience)))
    throw refused('wrong-audience', 'the token is for another node')
  // No tolerance here: what it gives would end in the past
  if (exp * 1_000 <= now) throw refused('expired', 'the token has expired')
  if (Math.max(nbf, iat) > now / 1_000 + CLOCK_TOLERANCE_SECONDS)
    throw refused('not-yet-valid', 'the token is not valid yet')
}

/** The credential that a good token is. */
/** @param from the issuer, and what names the token there */
export function credentialFrom(
  claims: AccessClaims,
  from: { readonly issuer: string; readonly token: string },
  binding: Credential['binding']
): Credential {
  const { client_id, sub, exp } = claims
  return {
    method: 'oauth',
    binding,
    // A client that acts for itself is its own subject
    subject: sub === undefined || sub === client_id ? client_id : `${client_id}#${sub}`,
    ...from,
    scopes: scopesOf(claims),
    expiresAt: Math.floor(exp * 1_000)
  }
}

function scopesOf({ scope = '' }: AccessClaims): string[] {
  return [...new Set(scope.split(' ').filter((each) => each !== ''))]
}
