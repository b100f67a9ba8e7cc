import { type Credential, type Holder, refused, type Verifier } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { didFromKey, keyFromPeerId, verifyJws } from '../wire/index.ts'
import { MAX_STATEMENT_BYTES, MAX_STATEMENT_SKEW_MS, OWNER_TYPE, STATEMENT_MS } from './constants.ts'
import { ownerProof, ownerStatement } from './messages.ts'

/** Says that a peer is a node of this node's owner. The same each time for the same pair. */
export function signStatement(identity: Identity, peer: string, pairedAt: number): Promise<string> {
  const iat = Math.floor(pairedAt / 1_000)
  return identity.sign(OWNER_TYPE, {
    v: 1,
    iss: identity.did,
    sub: didOf(peer),
    iat,
    exp: iat + STATEMENT_MS / 1_000
  })
}

/**
 * Reads a statement and checks its signature and whom it is about; the times are for the caller to judge.
 *
 * @param about PeerId of the node that it must be about
 * @param by PeerId of the node that must have made it; default any
 * @throws {MeshError} UNAUTHENTICATED
 */
export async function readStatement(
  jws: string,
  { about, by }: { about: string; by?: string }
): Promise<{ owner: string; issuedAt: number; expiresAt: number }> {
  const { did, payload } = await verified(jws)
  const { success, data } = ownerStatement.safeParse(payload)
  if (!success) throw refused('malformed', 'the statement is not one of an owner')
  if (data.iss !== did) throw refused('signature', 'the statement is not signed by the owner that it names')
  if (by !== undefined && did !== didOf(by)) throw refused('signature', 'the statement is by another node')
  if (data.sub !== didOf(about)) throw refused('wrong-peer', 'the statement is about another node')
  return { owner: did, issuedAt: data.iat * 1_000, expiresAt: data.exp * 1_000 }
}

export function createOwnerVerifier(clock: () => number): Verifier {
  const verify = async (presented: Readonly<Record<string, unknown>>, { peer }: Holder): Promise<Credential> => {
    const { success, data } = ownerProof.safeParse(presented)
    if (!success) throw refused('malformed', 'an owner credential holds a jws')
    if (peer === undefined) throw refused('unbound', 'no PeerId is proven here')
    const { owner, issuedAt, expiresAt } = await readStatement(data.jws, { about: peer })
    const now = clock()
    if (expiresAt <= now) throw refused('expired', 'the statement has expired')
    if (issuedAt > now + MAX_STATEMENT_SKEW_MS) throw refused('not-yet-valid', 'the statement is of a later time')
    return { method: 'owner', binding: 'noise', subject: owner, scopes: [], expiresAt }
  }
  return { method: 'owner', verify }
}

async function verified(jws: string): ReturnType<typeof verifyJws> {
  try {
    return await verifyJws(jws, { type: OWNER_TYPE, maxBytes: MAX_STATEMENT_BYTES })
  } catch (err) {
    if (err instanceof MeshError && err.code === 'INVALID_RECORD')
      throw refused('signature', 'the signature of the statement is wrong', err)
    throw refused('malformed', 'that is no signed statement', err)
  }
}

function didOf(peer: string): string {
  return didFromKey(keyFromPeerId(peer))
}
