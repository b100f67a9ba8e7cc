import type { TrustLevel } from '../auth/index.ts'
import {
  FALL_MIN_BAD_WEIGHT,
  FALL_SCORE,
  HALF_LIFE_MS,
  KNOWN_MIN_AGE_MS,
  KNOWN_MIN_INTERACTIONS,
  KNOWN_SCORE
} from './constants.ts'

/** 90 % of a normal distribution lie above −z. */
const Z_90 = 1.281_551_565_5

/** What a weight is worth after some time. */
export function decayed(weight: number, elapsedMs: number): number {
  return elapsedMs <= 0 ? weight : weight * 2 ** (-elapsedMs / HALF_LIFE_MS)
}

/**
 * The value above which the share of good interactions lies with 90 % certainty: the 10 % quantile of
 * Beta(1 + good, 1 + bad) by the normal approximation, mean − 1.2816 standard deviations and at least 0. It is within
 * 0.04 of the exact one, and within 0.01 from ten interactions on where it decides.
 */
export function lowerBound(good: number, bad: number): number {
  const a = 1 + good
  const b = 1 + bad
  const n = a + b
  const deviation = Math.sqrt((a * b) / (n * n * (n + 1)))
  return Math.max(0, a / n - Z_90 * deviation)
}

/** What evidence says about a peer, at one moment. */
export interface Evidence {
  /** Weights after decay. */
  readonly good: number
  readonly bad: number
  /** Good interactions that counted, ever. */
  readonly counted: number
  /** Between the first and the last of them. */
  readonly ageMs: number
}

/** Where evidence moves a peer from a level; undefined: nowhere. */
export function judge(
  { level, isHeld }: { readonly level: TrustLevel; readonly isHeld: boolean },
  { good, bad, counted, ageMs }: Evidence
): TrustLevel | undefined {
  switch (level) {
    case 'blocked':
    case 'owner':
      return undefined
    case 'unknown':
      if (isHeld || counted < KNOWN_MIN_INTERACTIONS || ageMs < KNOWN_MIN_AGE_MS) return undefined
      return lowerBound(good, bad) >= KNOWN_SCORE ? 'known' : undefined
    case 'known':
    case 'trusted':
      if (bad < FALL_MIN_BAD_WEIGHT || lowerBound(good, bad) >= FALL_SCORE) return undefined
      return level === 'trusted' ? 'known' : 'unknown'
  }
}
