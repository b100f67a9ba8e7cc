import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { create as createDigest } from 'multiformats/hashes/digest'
import { CAPABILITY_KINDS, type CapabilityKind, type Query } from '../registry/messages.ts'
import { CAPABILITY_PREFIX } from './constants.ts'

const SHA2_256 = 0x12

/** The part of a capability name that is its name space: up to the first `.` or `/`. */
export function firstSegment(name: string): string {
  return name.split(/[./]/, 1)[0] ?? name
}

/** The name space that every match of a glob is in, if there is one. */
export function fixedSegment(glob: string): string | undefined {
  const star = glob.indexOf('*')
  if (star === -1) return firstSegment(glob)
  const segment = firstSegment(glob)
  return segment.length < star ? segment : undefined
}

export function capabilityTopic(kind: CapabilityKind, segment: string): string {
  return `${CAPABILITY_PREFIX}/${kind}/${segment}`
}

/** Provider key of those who offer the capability of this name. */
export function nameKey(kind: CapabilityKind, name: string): CID {
  return keyOf(`${CAPABILITY_PREFIX}/${kind}/${name}`)
}

/** Provider key of those who offer anything in the name space; also where the members of its topic meet. */
export function segmentKey(kind: CapabilityKind, segment: string): CID {
  return keyOf(`${CAPABILITY_PREFIX}/${kind}/${segment}.*`)
}

/**
 * Provider key of a share of those under another key, who are too many for one.
 *
 * @param bits the first bits that their {@link shardBits} has, as `0` and `1`
 */
export function shardKey(root: CID, bits: string): CID {
  return keyOf(`${CAPABILITY_PREFIX}/shard/${root.toString()}/${bits}`)
}

/** The first bits of a node's place among the shards: of the SHA-256 of its PeerId's text. */
export function shardBits(peer: string, count: number): string {
  const [first = 0, second = 0] = createHash('sha256').update(peer).digest()
  return (first * 256 + second).toString(2).padStart(16, '0').slice(0, count)
}

/** Provider keys under which whatever matches is announced; undefined when the DHT can't serve the query. */
export function queryKeys(query: Query): readonly CID[] | undefined {
  const { name } = query
  if (name === undefined) return undefined
  const kinds = query.kind === undefined ? CAPABILITY_KINDS : [query.kind]
  if (!name.includes('*')) return kinds.map((kind) => nameKey(kind, name))
  const segment = fixedSegment(name)
  return segment === undefined ? undefined : kinds.map((kind) => segmentKey(kind, segment))
}

/** Topics on which whatever matches is announced; none when the query is wider than a name space. */
export function queryTopics(query: Query): readonly string[] {
  const segment = query.name === undefined ? undefined : fixedSegment(query.name)
  if (segment === undefined || segment === '') return []
  const kinds = query.kind === undefined ? CAPABILITY_KINDS : [query.kind]
  return kinds.map((kind) => capabilityTopic(kind, segment))
}

function keyOf(text: string): CID {
  return CID.createV1(raw.code, createDigest(SHA2_256, createHash('sha256').update(text).digest()))
}
