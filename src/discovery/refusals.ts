import type { Emit } from '../events.ts'

/** Why a record or hint was not taken. */
export const REFUSALS = [
  /** Not a JWS, not a record, or an answer that breaks its schema. */
  'malformed',
  /** Larger than its limit. */
  'oversize',
  /** The signature isn't its owner's. */
  'forged',
  /** Given away by somebody else than its owner. */
  'wrong-owner',
  'expired',
  /** An older record than one seen, another one of the same seq, or one that was withdrawn. */
  'rolled-back',
  /** More records, bytes, pages or hints than one peer may have here. */
  'too-many',
  /** A hint that breaks its schema or is on the wrong topic. */
  'bad-hint',
  /** More announcements than the author's budget. */
  'over-budget'
] as const
export type Refusal = (typeof REFUSALS)[number]

/** Counts what was refused, and tells of it. */
export interface Refusals {
  add(peer: string, reason: Refusal): void
  counts(): Readonly<Record<string, number>>
}

export function createRefusals(emit: Emit): Refusals {
  const counts = new Map<Refusal, number>()
  return {
    add(peer, reason) {
      counts.set(reason, (counts.get(reason) ?? 0) + 1)
      emit('record:refused', { peer, reason })
    },
    counts: () => Object.fromEntries(counts)
  }
}
