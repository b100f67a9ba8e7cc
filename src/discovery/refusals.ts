import type { Emit } from '../events.ts'

/**
 * Why a record or hint was not taken.
 *
 * - `malformed`: not a JWS, not a record, or an answer that breaks its schema
 * - `oversize`: larger than its limit
 * - `forged`: the signature isn't its owner's, or it says what its owner may not say
 * - `wrong-owner`: given by somebody else than its owner
 * - `expired`
 * - `rolled-back`: older than one seen, another one of the same seq, or one that was withdrawn
 * - `too-many`: more records, bytes or hints than one peer may have here
 * - `bad-hint`: a hint that breaks its schema, or on the wrong topic
 * - `over-budget`: more announcements or changes than its author's budget
 */
export type Refusal =
  | 'malformed'
  | 'oversize'
  | 'forged'
  | 'wrong-owner'
  | 'expired'
  | 'rolled-back'
  | 'too-many'
  | 'bad-hint'
  | 'over-budget'

/** Counts what was refused, and tells of it. */
export interface Refusals {
  add(peer: string, reason: Refusal): void
  counts(): Readonly<Record<string, number>>
  /** @returns how to stop listening */
  onRefusal(listener: (peer: string, reason: Refusal) => void): () => void
}

export function createRefusals(emit: Emit): Refusals {
  const counts = new Map<Refusal, number>()
  const listeners = new Set<(peer: string, reason: Refusal) => void>()
  return {
    add(peer, reason) {
      counts.set(reason, (counts.get(reason) ?? 0) + 1)
      emit('record:refused', { peer, reason })
      for (const listener of listeners) listener(peer, reason)
    },
    counts: () => Object.fromEntries(counts),
    onRefusal(listener) {
      listeners.add(listener)
      return () => listeners.delete(listener)
    }
  }
}
