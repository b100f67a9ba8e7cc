import { hash, type KeyObject } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { didFromKey, isSigned, keyFromPeerId, parseJson, publicKeyOf } from '../wire/index.ts'
import {
  MAX_BATCH_MESSAGES,
  MAX_KEPT_SIGNATURES,
  MAX_RECEIPTS_BYTES,
  MAX_SIGNATURE_BYTES,
  MESSAGES_DOMAIN,
  RECEIPTS_DOMAIN
} from './constants.ts'
import { type Receipt, receipts } from './messages.ts'

type Signing = Pick<Identity, 'did' | 'signBytes'>

/** Base64url SHA-256 of an envelope's text. */
export function digestOf(text: string): string {
  return hash('sha256', text, 'base64url')
}

/** One signature for messages that leave together. @see protocols/decisions/011-messages-are-signed-in-batches.md */
export function signBatch(identity: Signing, texts: readonly string[]): string {
  const digests = Buffer.concat(texts.map((text) => hash('sha256', text, 'buffer')))
  return signed(identity, MESSAGES_DOMAIN, digests, digests.toString('base64url'))
}

export function signReceipts(identity: Signing, items: readonly Receipt[]): string {
  const text = JSON.stringify(items)
  return signed(identity, RECEIPTS_DOMAIN, Buffer.from(text), text)
}

/** What a signature vouches for. */
export interface VerifiedBatch {
  /** did:key of the node that sends. */
  readonly did: string
  readonly digests: ReadonlySet<string>
}

/**
 * Makes what checks signatures of batches, each text once.
 *
 * Throws MeshError INVALID_RECORD when one isn't by the node it names, INVALID_MESSAGE, TOO_LARGE.
 */
export function createBatchVerifier(): (text: string) => VerifiedBatch {
  const known = new LRUCache<string, VerifiedBatch>({ max: MAX_KEPT_SIGNATURES })
  const keyOf = createKeys()
  return (text) => {
    const before = known.get(text)
    if (before !== undefined) return before
    const verified = verifyBatch(text, keyOf)
    known.set(text, verified)
    return verified
  }
}

function verifyBatch(text: string, keyOf: KeyOf): VerifiedBatch {
  const { did, signature, content } = split(text, MAX_SIGNATURE_BYTES)
  const bytes = fromBase64url(content)
  const count = bytes.length / DIGEST_BYTES
  if (!Number.isInteger(count) || count < 1 || count > MAX_BATCH_MESSAGES)
    throw new MeshError('INVALID_MESSAGE', 'not a signature of messages')
  check(keyOf(did), { domain: MESSAGES_DOMAIN, bytes, signature })
  const digests = Array.from({ length: count }, (_, index) =>
    bytes.toString('base64url', index * DIGEST_BYTES, (index + 1) * DIGEST_BYTES)
  )
  return { did, digests: new Set(digests) }
}

/** @returns who says so, as did:key, and what @throws {MeshError} INVALID_RECORD, INVALID_MESSAGE, TOO_LARGE */
export function verifyReceipts(text: string, keyOf: KeyOf = publicKeyOf): { did: string; items: readonly Receipt[] } {
  const { did, signature, content } = split(text, MAX_RECEIPTS_BYTES)
  check(keyOf(did), { domain: RECEIPTS_DOMAIN, bytes: Buffer.from(content), signature })
  const { success, data } = receipts.safeParse(parseJson(content))
  if (!success) throw new MeshError('INVALID_MESSAGE', 'not receipts')
  return { did, items: data }
}

const DIGEST_BYTES = 32
const SIGNATURE_BYTES = 64

function signed({ did, signBytes }: Signing, domain: string, bytes: Uint8Array, content: string): string {
  return `${did}.${Buffer.from(signBytes(domain, bytes)).toString('base64url')}.${content}`
}

/** Signer, signature and what is signed: the first two have no dots. */
function split(text: string, maxBytes: number): { did: string; signature: Buffer; content: string } {
  if (text.length > maxBytes)
    throw new MeshError('TOO_LARGE', `a signature is over the limit of ${maxBytes} characters`)
  const first = text.indexOf('.')
  const second = text.indexOf('.', first + 1)
  const signature = fromBase64url(text.slice(first + 1, second))
  if (first === -1 || second === -1 || signature.length !== SIGNATURE_BYTES)
    throw new MeshError('INVALID_MESSAGE', 'not a signature')
  return { did: text.slice(0, first), signature, content: text.slice(second + 1) }
}

function check(key: KeyObject, statement: Parameters<typeof isSigned>[1]): void {
  if (!isSigned(key, statement)) throw new MeshError('INVALID_RECORD', 'the signature is not by the key it names')
}

function fromBase64url(text: string): Buffer {
  const bytes = Buffer.from(text, 'base64url')
  // Buffer skips what it can't read; the same bytes must not have a second text
  if (bytes.toString('base64url') !== text) throw new MeshError('INVALID_MESSAGE', 'a signature is not base64url')
  return bytes
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
