import { randomBytes, timingSafeEqual } from 'node:crypto'
import { type Credential, type Holder, refused, type Verifier } from '../auth/index.ts'
import type { Store } from '../store/index.ts'
import { LAST_USED_EVERY_MS } from './constants.ts'
import { readKeyId } from './format.ts'
import { type KeyRow, stateOf } from './rows.ts'

interface VerifierInit {
  readonly store: Store
  readonly clock: () => number
  readonly hash: (key: string) => Buffer
  readonly rowOf: (id: string) => KeyRow | undefined
}

/** Checks keys that callers present; `hashOf` tells by which secret a credential was given. */
export function createVerifier(init: VerifierInit): {
  verifier: Verifier
  hashOf: (credential: Credential) => Buffer | undefined
} {
  const { store, clock, hash, rowOf } = init
  const hashes = new WeakMap<Credential, Buffer>()
  const nobody = randomBytes(32)

  /** The key's row, when the key is good now. @throws {MeshError} UNAUTHENTICATED */
  const judge = (id: string, presented: Buffer): KeyRow => {
    const row = rowOf(id)
    const known = row === undefined ? [nobody] : hashesAt(row, clock())
    const fits = known.filter((each) => timingSafeEqual(presented, each)).length > 0
    // The state is told to who has the secret, not to who guesses ids
    if (row === undefined || !fits) throw unknownOrOld(row, presented)
    const state = stateOf(row, clock())
    if (state !== 'active') throw refused(state, `the API key ${id} is ${state}`)
    return row
  }

  const noteUse = ({ id, lastUsedAt = 0 }: KeyRow): void => {
    const now = clock()
    if (now - lastUsedAt < LAST_USED_EVERY_MS) return
    const sql = 'UPDATE api_key SET last_used_at = ?1 WHERE id = ?2 AND (last_used_at IS NULL OR last_used_at <= ?3)'
    // For people only: that the disk refuses it is no reason to refuse the caller
    store.write([{ sql, params: [now, id, now - LAST_USED_EVERY_MS] }]).catch(() => {})
  }

  const verify = async (presented: Readonly<Record<string, unknown>>, { peer }: Holder): Promise<Credential> => {
    const { key } = presented
    const id = readKeyId(key)
    if (typeof key !== 'string' || id === undefined)
      throw refused('malformed', 'that is no API key, or its checksum is wrong')
    const presentedHash = hash(key)
    let row = judge(id, presentedHash)
    if (row.pin === 'first' && row.peer === undefined) {
      await pinTo(store, row, peer)
      // Another peer may have been faster, and the owner may have revoked it meanwhile
      row = judge(id, presentedHash)
    }
    if (row.pin !== 'off' && row.peer !== peer) throw refused('wrong-peer', `the API key ${id} belongs to another peer`)
    noteUse(row)
    const credential: Credential = {
      method: 'api-key',
      binding: row.pin === 'off' ? 'secret' : 'noise',
      subject: id,
      scopes: row.scopes,
      expiresAt: isOld(row, presentedHash) ? Math.min(row.expiresAt, row.overlapUntil ?? 0) : row.expiresAt
    }
    hashes.set(credential, presentedHash)
    return credential
  }
  return { verifier: { method: 'api-key', verify }, hashOf: (credential) => hashes.get(credential) }
}

/** Secrets that are accepted at a time, newest first. */
export function hashesAt({ hash, oldHash, overlapUntil = 0 }: KeyRow, now: number): readonly Uint8Array[] {
  return oldHash === undefined || overlapUntil <= now ? [hash] : [hash, oldHash]
}

/** On disk before the key is accepted; of two peers at once one changes the row, the other nothing. */
async function pinTo(store: Store, { id }: KeyRow, peer: string | undefined): Promise<void> {
  if (peer === undefined) {
    throw refused('unbound', `the API key ${id} is for one peer, and no PeerId is proven here`)
  }
  const sql = "UPDATE api_key SET peer = ? WHERE id = ? AND pin = 'first' AND peer IS NULL AND revoked_at IS NULL"
  await store.write([{ sql, params: [peer, id] }])
}

function isOld({ hash }: KeyRow, presented: Buffer): boolean {
  return !timingSafeEqual(presented, hash)
}

function unknownOrOld(row: KeyRow | undefined, presented: Buffer): Error {
  const wasRotatedOut = row?.oldHash !== undefined && timingSafeEqual(presented, row.oldHash)
  if (!wasRotatedOut) return refused('unknown', 'there is no such API key')
  return refused(row.revoked ? 'revoked' : 'expired', 'the API key has been rotated; use its new secret')
}
