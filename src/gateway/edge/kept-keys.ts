import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import type { Session } from '../../auth/index.ts'
import { KEPT_KEY_MS, MAX_KEPT_KEYS } from './constants.ts'

export interface KeptKeys {
  /** The session of a key that was good a moment ago, and is. */
  find(key: string): Session | undefined
  keep(key: string, session: Session): void
}

/** Sessions of API keys that came alone, for as long as {@link KEPT_KEY_MS}: neither HMAC nor row for each request. */
export function createKeptKeys(now: () => number): KeptKeys {
  const kept = new LRUCache<string, { readonly session: Session; readonly at: number }>({ max: MAX_KEPT_KEYS })
  // Never the key itself
  const digestOf = (key: string): string => hash('sha256', key, 'base64url')
  return {
    find(key: string): Session | undefined {
      const digest = digestOf(key)
      const known = kept.get(digest)
      const ageMs = known === undefined ? KEPT_KEY_MS : now() - known.at
      if (known !== undefined && ageMs >= 0 && ageMs < KEPT_KEY_MS && isAlive(known.session)) return known.session
      kept.delete(digest)
      return undefined
    },
    keep: (key: string, session: Session): void => void kept.set(digestOf(key), { session, at: now() })
  }
}

/** It ends when the key is revoked, rotated out or expires. Why is for the verifier to say. */
function isAlive(session: Session): boolean {
  try {
    return session.caller !== undefined
  } catch {
    return false
  }
}
