import { MAX_REVOKED_TOKENS } from './constants.ts'
import { issuerName } from './issuers.ts'

/** Tokens that were revoked here, whatever their issuer says. */
export interface Denylist {
  add(issuer: string, id: string): void
  /** @param until when the token ends, milliseconds since 1970; it need not be listed for longer */
  has(issuer: string, id: string, until: number): boolean
}

export function createDenylist(clock: () => number): Denylist {
  /** When each token ends, as far as that is known. */
  const ends = new Map<string, number>()
  const keyOf = (issuer: string, id: string): string => `${issuerName(issuer)} ${id}`

  const makeRoom = (): void => {
    for (const [key, end] of ends) if (end <= clock()) ends.delete(key)
    const [oldest] = ends.keys()
    if (ends.size >= MAX_REVOKED_TOKENS && oldest !== undefined) ends.delete(oldest)
  }
  return {
    add(issuer, id) {
      if (ends.size >= MAX_REVOKED_TOKENS) makeRoom()
      ends.set(keyOf(issuer, id), Number.POSITIVE_INFINITY)
    },
    has(issuer, id, until) {
      const key = keyOf(issuer, id)
      if (!ends.has(key)) return false
      ends.set(key, until)
      return true
    }
  }
}
