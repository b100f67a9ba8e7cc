import { createHash } from 'node:crypto'
import { calculateJwkThumbprint, EmbeddedJWK, type JWK, jwtVerify } from 'jose'
import { refused } from '../../auth/index.ts'
import { peerIdFromKey } from '../../wire/index.ts'
import { MAX_CREDENTIAL_LENGTH, PROOF_WINDOW_MS } from './constants.ts'

export interface DpopRequest {
  readonly method: string
  /** As the client wrote it. */
  readonly url: URL
  /** The access token that came with it. */
  readonly token: string
  /** Milliseconds since 1970. */
  readonly now: number
}

/** A proof of possession that fits its request. Whether it was used before is for the caller to say. */
export interface DpopProof {
  /** RFC 7638 thumbprint of the key. */
  readonly jkt: string
  /** PeerId, of an Ed25519 key. */
  readonly peer?: string
  readonly jti: string
  /** Milliseconds since 1970. */
  readonly at: number
}

// RFC 9864 renames EdDSA. No RSA: its keys would make up most of the headers
const ALGORITHMS = ['EdDSA', 'Ed25519', 'ES256']

/**
 * Checks a DPoP proof, RFC 9449 §4.3; without nonces of ours, since each proof is accepted once.
 *
 * @throws {MeshError} UNAUTHENTICATED
 */
export async function checkDpop(proof: string, { method, url, token, now }: DpopRequest): Promise<DpopProof> {
  if (proof.length > MAX_CREDENTIAL_LENGTH) throw refused('malformed', 'the DPoP proof is too long')
  const { payload, protectedHeader } = await verified(proof, now)
  const { jti, htm, htu, iat, ath } = payload
  if (typeof jti !== 'string' || typeof iat !== 'number') throw refused('malformed', 'the DPoP proof has no jti or iat')
  if (htm !== method || pathOf(htu) !== url.origin + url.pathname)
    throw refused('signature', 'the DPoP proof is for another request')
  if (ath !== createHash('sha256').update(token).digest('base64url'))
    throw refused('signature', 'the DPoP proof is for another access token')
  const at = iat * 1_000
  if (at < now - PROOF_WINDOW_MS) throw refused('expired', 'the DPoP proof is too old; the clocks may differ')
  if (at > now + PROOF_WINDOW_MS)
    throw refused('not-yet-valid', 'the DPoP proof is of a later time; the clocks may differ')
  const { jwk = {} } = protectedHeader
  const peer = peerOf(jwk)
  return { jti, at, jkt: await calculateJwkThumbprint(jwk), ...(peer === undefined ? {} : { peer }) }
}

/** jose refuses a private key in the header, and whatever isn't an asymmetric one. */
async function verified(proof: string, now: number): ReturnType<typeof jwtVerify> {
  try {
    return await jwtVerify(proof, EmbeddedJWK, {
      typ: 'dpop+jwt',
      algorithms: ALGORITHMS,
      // Judged here, by iat alone
      currentDate: new Date(now)
    })
  } catch (err) {
    throw refused('signature', 'the DPoP proof is not good', err)
  }
}

/** RFC 9449 §4.3: without query and fragment; scheme and host in lower case, as URL has them. */
function pathOf(htu: unknown): string | undefined {
  if (typeof htu !== 'string' || !URL.canParse(htu)) return undefined
  const { origin, pathname } = new URL(htu)
  return origin + pathname
}

function peerOf({ kty, crv, x }: JWK): string | undefined {
  if (kty !== 'OKP' || crv !== 'Ed25519' || x === undefined) return undefined
  return peerIdFromKey(Buffer.from(x, 'base64url'))
}
