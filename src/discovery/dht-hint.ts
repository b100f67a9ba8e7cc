import { parse, rcompare } from 'semver'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { MAX_CLOCK_SKEW_MS } from '../registry/constants.ts'
import { didFromKey, isSigned, keyFromPeerId, peerIdFromKey, publicKeyOf } from '../wire/index.ts'
import { HINT_DOMAIN, MAX_DHT_HINT_BYTES, MAX_HINT_LIFETIME_MS, MAX_HINT_VERSIONS } from './hint-constants.ts'
import type { Refusal } from './refusals.ts'

/** What a provider says of itself under a key, signed. */
export interface DhtHint {
  /** 43 characters: base64url of the key's SHA-256 digest. */
  readonly key: string
  /** PeerId of the provider, who signed it. */
  readonly peer: string
  /** Grows with every hint of the provider under the key; Unix time in milliseconds will do. 0 to 2^48 − 1. */
  readonly seq: number
  /** Milliseconds since 1970, whole seconds. */
  readonly expiresAt: number
  /** Semver versions of what the provider offers under the key, in no order; none under a key of a name space. */
  readonly versions: readonly string[]
  /** It offers versions that did not fit. */
  readonly hasMore: boolean
}

export type HintRefusal = Extract<Refusal, 'bad-hint' | 'expired' | 'forged' | 'wrong-owner'>

// version · key · public key · seq · expires · flags · number of versions; then the versions and the signature
const AT = { key: 1, publicKey: 33, seq: 65, expires: 71, flags: 75, count: 76, versions: 77 } as const
const SEQ_BYTES = 6
const SIGNATURE_BYTES = 64
const LAYOUT = 1
const HAS_MORE = 1

/**
 * Makes and signs a hint of this node. As many versions as fit are in it, the highest first.
 *
 * @param hint its `expiresAt` is rounded down to seconds
 * @throws {MeshError} INVALID_ARGUMENT for a version that isn't semver, or a key that isn't 32 bytes
 */
export async function signHint(
  { id, signBytes }: Pick<Identity, 'id' | 'signBytes'>,
  hint: Pick<DhtHint, 'key' | 'seq' | 'expiresAt' | 'versions'>
): Promise<Uint8Array> {
  const key = Buffer.from(hint.key, 'base64url')
  const wrong = hint.versions.find((version) => !isVersion(version))
  if (key.length !== AT.publicKey - AT.key || wrong !== undefined) {
    throw new MeshError('INVALID_ARGUMENT', wrong === undefined ? 'a key has 32 bytes' : `${wrong} is no version`)
  }
  const { parts, hasMore } = versionsThatFit(hint.versions)
  const head = Buffer.alloc(AT.versions)
  head.writeUInt8(LAYOUT, 0)
  head.set(key, AT.key)
  head.set(keyFromPeerId(id), AT.publicKey)
  head.writeUIntBE(hint.seq, AT.seq, SEQ_BYTES)
  head.writeUInt32BE(Math.floor(hint.expiresAt / 1000), AT.expires)
  head.writeUInt8(hasMore ? HAS_MORE : 0, AT.flags)
  head.writeUInt8(parts.length, AT.count)
  const unsigned = Buffer.concat([head, ...parts])
  return Buffer.concat([unsigned, signBytes(HINT_DOMAIN, unsigned)])
}

/**
 * Reads a hint, and believes nothing: the signature isn't looked at, because whoever keeps hints looks at who gives it first.
 *
 * @param now milliseconds since 1970
 * @returns why it is refused: `bad-hint`, or `expired` when it lives too long or not any more
 */
export function readHint(data: Uint8Array, now: number): DhtHint | HintRefusal {
  const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength)
  if (bytes.length > MAX_DHT_HINT_BYTES || bytes.length < AT.versions + SIGNATURE_BYTES) return 'bad-hint'
  if (bytes.readUInt8(0) !== LAYOUT) return 'bad-hint'
  const versions = readVersions(bytes.subarray(AT.versions, -SIGNATURE_BYTES), bytes.readUInt8(AT.count))
  if (versions === undefined) return 'bad-hint'
  const expiresAt = bytes.readUInt32BE(AT.expires) * 1000
  if (expiresAt <= now || expiresAt > now + MAX_HINT_LIFETIME_MS + MAX_CLOCK_SKEW_MS) return 'expired'
  return {
    key: bytes.toString('base64url', AT.key, AT.publicKey),
    peer: peerIdFromKey(bytes.subarray(AT.publicKey, AT.seq)),
    seq: bytes.readUIntBE(AT.seq, SEQ_BYTES),
    expiresAt,
    versions,
    hasMore: (bytes.readUInt8(AT.flags) & HAS_MORE) !== 0
  }
}

/** True when the provider named in a hint has signed it; takes some 0.1 ms. @param bytes a hint that {@link readHint} takes */
export function isHintSigned(bytes: Uint8Array): boolean {
  const [unsigned, signature] = [bytes.subarray(0, -SIGNATURE_BYTES), bytes.subarray(-SIGNATURE_BYTES)]
  try {
    const key = publicKeyOf(didFromKey(bytes.subarray(AT.publicKey, AT.seq)))
    return isSigned(key, { domain: HINT_DOMAIN, bytes: unsigned, signature })
  } catch {
    return false // 32 bytes that are no point of the curve
  }
}

/**
 * Reads a hint that a holder gave for a key.
 *
 * @param now milliseconds since 1970
 * @returns why it is refused: `bad-hint` (also for another key), `expired`, `forged`
 */
export function verifyHint(bytes: Uint8Array, { key, now }: { key: string; now: number }): DhtHint | HintRefusal {
  const hint = readHint(bytes, now)
  if (typeof hint === 'string') return hint
  if (hint.key !== key) return 'bad-hint'
  return isHintSigned(bytes) ? hint : 'forged'
}

function versionsThatFit(versions: readonly string[]): { parts: Buffer[]; hasMore: boolean } {
  const highestFirst = [...new Set(versions)].sort(rcompare)
  const parts: Buffer[] = []
  let left = MAX_DHT_HINT_BYTES - AT.versions - SIGNATURE_BYTES
  for (const version of highestFirst) {
    const part = Buffer.from(`\0${version}`)
    if (part.length > left || parts.length === MAX_HINT_VERSIONS) continue
    part.writeUInt8(part.length - 1, 0)
    parts.push(part)
    left -= part.length
  }
  return { parts, hasMore: parts.length < highestFirst.length }
}

/** @returns undefined unless the bytes are exactly so many versions */
function readVersions(bytes: Buffer, count: number): readonly string[] | undefined {
  if (count > MAX_HINT_VERSIONS) return undefined
  const versions: string[] = []
  let at = 0
  while (versions.length < count && at < bytes.length) {
    const end = at + 1 + bytes.readUInt8(at)
    const version = bytes.toString('latin1', at + 1, end)
    if (end > bytes.length || !isVersion(version)) return undefined
    versions.push(version)
    at = end
  }
  return versions.length === count && at === bytes.length ? versions : undefined
}

/** The parser bears spaces and a `v` before it. */
function isVersion(text: string): boolean {
  const parsed = parse(text)
  if (parsed === null) return false
  return text === [parsed.version, ...(parsed.build.length > 0 ? [parsed.build.join('.')] : [])].join('+')
}
