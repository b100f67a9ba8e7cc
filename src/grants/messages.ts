import { z } from 'zod'
import { MAX_DEPTH, MAX_GLOB_LENGTH, MAX_GRANT_ID_LENGTH, MAX_REVOKED_IDS, MAX_USES } from './constants.ts'

const id = z
  .string()
  .max(MAX_GRANT_ID_LENGTH)
  .regex(/^[A-Za-z0-9_-]+$/)
const did = z
  .string()
  .max(80)
  .regex(/^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]+$/)
const sha256 = z.string().regex(/^[A-Za-z0-9_-]{43}$/)
/** NUL stands for what a `*` can be when globs are compared, so no glob may have it. */
const glob = z
  .string()
  .min(1)
  .max(MAX_GLOB_LENGTH)
  .regex(/^[^\p{Cc}]+$/u)
/** RFC 7519 NumericDate: seconds, with the milliseconds as its fraction. */
const time = z.number().min(0).max(8_640_000_000_000)
const uses = z.int().min(1).max(MAX_USES)
const depth = z.int().min(0).max(MAX_DEPTH)

/** What one link of a chain says. A member that this version doesn't know might narrow it, so none is allowed. */
export const grantPayload = z.strictObject({
  v: z.literal(1),
  jti: id,
  iss: did,
  aud: did,
  sub: did,
  act: glob,
  res: glob,
  iat: time,
  nbf: time.exactOptional(),
  exp: time.exactOptional(),
  uses: uses.exactOptional(),
  dep: depth,
  input: sha256.exactOptional(),
  digest: sha256.exactOptional(),
  prf: sha256.exactOptional()
})

/** What an issuer says of the grants it has revoked. */
export const revocationsPayload = z.strictObject({
  v: z.literal(1),
  iss: did,
  seq: z.int().min(1),
  iat: time,
  ids: z.array(id).max(MAX_REVOKED_IDS)
})

/** What the owner may ask for. */
export const grantTerms = z.strictObject({
  act: glob,
  res: glob,
  expiresAt: z.int().min(0).max(8_640_000_000_000_000).exactOptional(),
  uses: uses.exactOptional(),
  depth: depth.exactOptional(),
  input: sha256.exactOptional(),
  digest: sha256.exactOptional()
})

export type GrantPayload = z.infer<typeof grantPayload>
