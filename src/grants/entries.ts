import { compileGlob } from '../policy/index.ts'
import type { GrantChain, GrantLink } from './chain.ts'
import { MAX_ENDED_GRANTS, UNUSED_AFTER_MS } from './constants.ts'
import { type Counter, isUsedUp } from './counters.ts'
import type { Grant, GrantQuestion } from './index.ts'

/** A grant in memory. */
export interface Entry {
  readonly role: Grant['role']
  readonly chain: GrantChain
  /** The last of the chain: what its holder may do. */
  readonly leaf: GrantLink
  /** What a use is counted at; empty for grants over resources of other nodes. */
  readonly counters: readonly Counter[]
  /** Ends with its connection, and is never sent. */
  readonly isSession: boolean
  /** When this node has revoked it; milliseconds since 1970. */
  revokedAt: number | undefined
  readonly fitsAction: (action: string) => boolean
  readonly fitsResource: (resource: string) => boolean
}

export type IsRevoked = (link: GrantLink) => boolean

export function entryOf(
  init: Pick<Entry, 'role' | 'chain' | 'counters'> & { readonly isSession?: boolean; readonly revokedAt?: number }
): Entry {
  const { chain, isSession = false, revokedAt } = init
  const leaf = chain.at(-1) ?? chain[0]
  return {
    ...init,
    leaf,
    isSession,
    revokedAt,
    fitsAction: compileGlob(leaf.act),
    fitsResource: compileGlob(leaf.res)
  }
}

export function stateOf(entry: Entry, now: number, isRevoked: IsRevoked): Grant['state'] {
  const { chain, counters, revokedAt } = entry
  if (revokedAt !== undefined || chain.some(isRevoked)) return 'revoked'
  if (chain.some(({ expiresAt = Infinity }) => expiresAt <= now)) return 'expired'
  if (counters.some(isUsedUp)) return 'used-up'
  const [root] = chain
  const [counter] = counters
  const isUnused =
    counter !== undefined &&
    root.expiresAt === undefined &&
    (counter.lastUsedAt ?? root.issuedAt) + UNUSED_AFTER_MS <= now
  return isUnused ? 'unused' : 'valid'
}

export function grantOf(entry: Entry, now: number, isRevoked: IsRevoked): Grant {
  const { role, chain, leaf, counters, isSession } = entry
  const { id, issuer, holder, owner, act, res, issuedAt, expiresAt, uses, depth, input, digest } = leaf
  // Of a passed-on grant without a limit of its own nothing is counted for itself
  const counter = chain.length === 1 ? counters[0] : counters.find((each) => each.id === leaf.hash)
  return {
    id,
    role,
    issuer,
    holder,
    owner,
    act,
    res,
    issuedAt,
    depth,
    ...(expiresAt === undefined ? {} : { expiresAt }),
    ...(uses === undefined ? {} : { uses }),
    ...(input === undefined ? {} : { input }),
    ...(digest === undefined ? {} : { digest }),
    chain: isSession ? [] : chain.map(({ text }) => text),
    ...(counter === undefined ? {} : { used: counter.used }),
    ...(counter?.lastUsedAt === undefined ? {} : { lastUsedAt: new Date(counter.lastUsedAt).toISOString() }),
    state: stateOf(entry, now, isRevoked)
  }
}

/** Whether a grant speaks of what is asked, whatever its state. */
export function fits({ leaf, chain, fitsAction, fitsResource }: Entry, question: GrantQuestion): boolean {
  const { caller, action, resource, digest } = question
  if (leaf.holder !== caller.peer || !fitsAction(action) || !fitsResource(resource)) return false
  if (chain.some((link) => link.digest !== undefined && link.digest !== digest)) return false
  if (leaf.input === undefined) return true
  return question.input?.() === leaf.input
}

/** Without a limit before one with: what can be used up is kept for when nothing else is left. Then what lasts longer. */
export function isBetter({ leaf: a, counters }: Entry, { leaf: b, counters: others }: Entry): boolean {
  const limited = counters.filter(({ uses }) => uses !== undefined).length
  const otherLimited = others.filter(({ uses }) => uses !== undefined).length
  if ((limited === 0) !== (otherLimited === 0)) return limited === 0
  return (a.expiresAt ?? Infinity) > (b.expiresAt ?? Infinity)
}

/**
 * Ids of the grants that ended, beyond those that are still shown, oldest last. A revocation is told for as long as the
 * grant could be used: one without expiry until it would be unused, as without its root nothing that came from it is known.
 */
export function endedLongAgo(issued: readonly Entry[], now: number, isRevoked: IsRevoked): readonly string[] {
  if (issued.length < MAX_ENDED_GRANTS) return []
  const isOver = (entry: Entry): boolean => {
    const state = stateOf(entry, now, isRevoked)
    if (state !== 'revoked') return state !== 'valid'
    if (entry.chain.some(({ expiresAt = Infinity }) => expiresAt <= now)) return true
    const isRoot = entry.chain.length === 1 && entry.leaf.expiresAt === undefined
    return isRoot && (entry.revokedAt ?? Infinity) + UNUSED_AFTER_MS <= now
  }
  return issued
    .filter(isOver)
    .sort((a, b) => b.leaf.issuedAt - a.leaf.issuedAt)
    .slice(MAX_ENDED_GRANTS)
    .map(({ leaf }) => leaf.id)
}
