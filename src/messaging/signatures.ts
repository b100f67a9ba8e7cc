import { hash, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { didFromKey, keyFromPeerId, publicKeyOf, verifyJws } from '../wire/index.ts'
import {
  MAX_KEPT_SIGNATURES,
  MAX_RECEIPTS_BYTES,
  MAX_SIGNATURE_BYTES,
  MESSAGES_TYPE,
  RECEIPTS_TYPE
} from './constants.ts'
import { type Receipt, signedMessages, signedReceipts } from './messages.ts'

/** Base64url SHA-256 of an envelope's text. */
export function digestOf(text: string): string {
  return hash('sha256', text, 'base64url')
}

/** One signature for messages that leave together. @see protocols/decisions/011-messages-are-signed-in-batches.md */
export function signBatch(identity: Identity, texts: readonly string[]): Promise<string> {
  return identity.sign(MESSAGES_TYPE, { v: 1, iss: identity.did, digests: texts.map(digestOf) })
}

export function signReceipts(identity: Identity, items: readonly Receipt[]): Promise<string> {
  return identity.sign(RECEIPTS_TYPE, { v: 1, iss: identity.did, items })
}

/** What a signature vouches for. */
export interface VerifiedBatch {
  /** did:key of the node that sends. */
  readonly did: string
  readonly digests: ReadonlySet<string>
}

/**
 * Checks the signature of a batch.
 *
 * @throws {MeshError} INVALID_RECORD when it isn't by the node it names, INVALID_MESSAGE, TOO_LARGE
 */
async function verifyBatch(jws: string, keyOf: KeyOf = publicKeyOf): Promise<VerifiedBatch> {
  const { did, payload } = await verifyJws(jws, { type: MESSAGES_TYPE, maxBytes: MAX_SIGNATURE_BYTES, keyOf })
  const { success, data } = signedMessages.safeParse(payload)
  if (!success) throw new MeshError('INVALID_MESSAGE', 'not a signature of messages')
  if (data.iss !== did) throw new MeshError('INVALID_RECORD', 'messages signed in the name of another')
  return { did, digests: new Set(data.digests) }
}

/** As {@link verifyBatch}, once for each text. */
export function createBatchVerifier(): (jws: string) => Promise<VerifiedBatch> {
  const known = new LRUCache<string, VerifiedBatch>({ max: MAX_KEPT_SIGNATURES })
  const keyOf = createKeys()
  return async (jws) => {
    const before = known.get(jws)
    if (before !== undefined) return before
    const verified = await verifyBatch(jws, keyOf)
    known.set(jws, verified)
    return verified
  }
}

/** @returns who says so, as did:key, and what @throws {MeshError} INVALID_RECORD, INVALID_MESSAGE, TOO_LARGE */
export async function verifyReceipts(
  jws: string,
  keyOf: KeyOf = publicKeyOf
): Promise<{ did: string; items: readonly Receipt[] }> {
  const { did, payload } = await verifyJws(jws, { type: RECEIPTS_TYPE, maxBytes: MAX_RECEIPTS_BYTES, keyOf })
  const { success, data } = signedReceipts.safeParse(payload)
  if (!success) throw new MeshError('INVALID_MESSAGE', 'not receipts')
  if (data.iss !== did) throw new MeshError('INVALID_RECORD', 'receipts signed in the name of another')
  return { did, items: data.items }
}

type KeyOf = (did: string) => KeyObject

/** Keys of signers, kept. */
export function createKeys(): KeyOf {
  const known = new LRUCache<string, KeyObject>({ max: MAX_KEPT_SIGNATURES })
  return (did) => {
    const before = known.get(did)
    if (before !== undefined) return before
    const key = publicKeyOf(did)
    known.set(did, key)
    return key
  }
}

/** The did:key of a PeerId; kept, for each message asks for it. */
export function createDids(): (peer: string) => string {
  const known = new LRUCache<string, string>({ max: MAX_KEPT_SIGNATURES })
  return (peer) => {
    const before = known.get(peer)
    if (before !== undefined) return before
    const did = didFromKey(keyFromPeerId(peer))
    known.set(peer, did)
    return did
  }
}
