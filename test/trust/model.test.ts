import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { TrustLevel } from '../../src/auth/index.ts'
import { KNOWN_MIN_AGE_MS, KNOWN_MIN_INTERACTIONS } from '../../src/trust/index.ts'
import { decayed, judge, lowerBound } from '../../src/trust/model.ts'

describe('lowerBound', () => {
  // Exact 10 % quantiles: Beta(n,1) has 0.1^(1/n), Beta(1,n) has 1 − 0.9^(1/n), Beta(2,2) solves 3x² − 2x³ = 0.1
  it.each([
    { good: 0, bad: 0, exact: 0.1 },
    { good: 9, bad: 0, exact: 0.1 ** (1 / 10) },
    { good: 20, bad: 0, exact: 0.1 ** (1 / 21) },
    { good: 500, bad: 0, exact: 0.1 ** (1 / 501) },
    // The median of Beta(n,n) is 0.5; of large ones the quantile is that of a normal distribution
    { good: 5_000, bad: 5_000, exact: 0.493_6 },
    { good: 0, bad: 4, exact: 1 - 0.9 ** (1 / 5) },
    { good: 1, bad: 1, exact: 0.195_8 }
  ])('is within 0.04 of the quantile for $good good, $bad bad', ({ good, bad, exact }) => {
    const allowed = good + bad >= 9 ? 0.01 : 0.04
    expect(Math.abs(lowerBound(good, bad) - exact)).toBeLessThan(allowed)
  })

  it('never falls with good or rises with bad evidence, and stays between 0 and 1', () => {
    const weight = fc.double({ min: 0, max: 10_000, noNaN: true })
    fc.assert(
      fc.property(weight, weight, (good, bad) => {
        const bound = lowerBound(good, bad)
        expect(bound).toBeGreaterThanOrEqual(0)
        expect(bound).toBeLessThan(1)
        expect(lowerBound(good + 1, bad)).toBeGreaterThanOrEqual(bound)
        expect(lowerBound(good, bad + 1)).toBeLessThanOrEqual(bound)
      })
    )
  })
})

describe('decayed', () => {
  it('halves a weight every 7 days, and never raises it when the clock is set back', () => {
    expect(decayed(8, 14 * 86_400_000)).toBe(2)
    expect(decayed(8, -1)).toBe(8)
  })
})

describe('judge', () => {
  const good = { good: 30, bad: 0, counted: KNOWN_MIN_INTERACTIONS, ageMs: KNOWN_MIN_AGE_MS }
  const bad = { ...good, good: 0, bad: 50 }

  it.each<{ id: string; level: TrustLevel; isHeld?: boolean; evidence: typeof good; to: TrustLevel | undefined }>([
    { id: 'raises a stranger of long good standing', level: 'unknown', evidence: good, to: 'known' },
    { id: 'waits for enough interactions', level: 'unknown', evidence: { ...good, counted: 19 }, to: undefined },
    {
      id: 'waits for enough days',
      level: 'unknown',
      evidence: { ...good, ageMs: KNOWN_MIN_AGE_MS - 1 },
      to: undefined
    },
    { id: 'waits for enough certainty', level: 'unknown', evidence: { ...good, bad: 6 }, to: undefined },
    { id: 'leaves down whom the owner put there', level: 'unknown', isHeld: true, evidence: good, to: undefined },
    { id: 'never makes trusted', level: 'known', evidence: good, to: undefined },
    { id: 'lowers known', level: 'known', evidence: bad, to: 'unknown' },
    { id: 'lowers known that the owner set', level: 'known', isHeld: true, evidence: bad, to: 'unknown' },
    { id: 'lowers trusted by one step', level: 'trusted', isHeld: true, evidence: bad, to: 'known' },
    { id: 'lowers nobody for silence', level: 'trusted', evidence: { ...good, good: 0 }, to: undefined },
    { id: 'lowers nobody for little', level: 'known', evidence: { ...bad, bad: 4.9 }, to: undefined },
    { id: 'never blocks', level: 'unknown', evidence: bad, to: undefined },
    { id: 'never lowers the owner', level: 'owner', isHeld: true, evidence: bad, to: undefined },
    { id: 'never frees a blocked peer', level: 'blocked', isHeld: true, evidence: good, to: undefined }
  ])('$id', ({ level, isHeld = false, evidence, to }) => {
    expect(judge({ level, isHeld }, evidence)).toBe(to)
  })
})
