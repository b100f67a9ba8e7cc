import { compare } from 'semver'
import { TRUST_LEVELS, type TrustLevel } from '../auth/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { type Match, peerOf } from './cache.ts'
import type { NamedProvider } from './dht-holders.ts'

export interface RankingComponents {
  readonly trustOf: (peer: string) => TrustLevel
  /** Whether a peer is this node or connected to it. */
  readonly isNear: (peer: string) => boolean
  readonly match: Match
}

/**
 * Records in the order in which they are of use: the most trusted owners' first, for a version is what anybody may claim; then
 * those that are near, the highest version of what matches, the newest.
 */
export function rankRecords(
  records: readonly SignedRecord[],
  { trustOf, isNear, match }: RankingComponents
): readonly SignedRecord[] {
  const ranked = records.map((signed) => {
    const peer = peerOf(signed.record.id)
    const versions = match(signed.record).map(({ version }) => version)
    return {
      signed,
      trust: TRUST_LEVELS.indexOf(trustOf(peer)),
      near: Number(isNear(peer)),
      version: versions.reduce((a, b) => (compare(a, b) < 0 ? b : a), '0.0.0-0')
    }
  })
  ranked.sort(
    (a, b) =>
      b.trust - a.trust || b.near - a.near || compare(b.version, a.version) || b.signed.record.seq - a.signed.record.seq
  )
  return ranked.map(({ signed }) => signed)
}

/**
 * Those that a holder names, in the order in which they are asked: the most trusted first, last those that say themselves that
 * they have none of the versions that are looked for. No version goes before another: it isn't true yet.
 */
export function rankNamed(
  named: readonly NamedProvider[],
  { trustOf, hasVersion }: Pick<RankingComponents, 'trustOf'> & { readonly hasVersion: (version: string) => boolean }
): readonly NamedProvider[] {
  const mayMatch = ({ versions }: NamedProvider) => versions.length === 0 || versions.some(hasVersion)
  return named.toSorted(
    (a, b) =>
      Number(mayMatch(b)) - Number(mayMatch(a)) ||
      TRUST_LEVELS.indexOf(trustOf(b.peer)) - TRUST_LEVELS.indexOf(trustOf(a.peer))
  )
}
