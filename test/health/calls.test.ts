import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { CallWindow } from '../../src/health/call-window.ts'
import { WINDOW_SLICE_MS, WINDOW_SLICES } from '../../src/health/constants.ts'
import { Quality } from '../../src/health/quality.ts'

const WINDOW_MS = WINDOW_SLICE_MS * WINDOW_SLICES

describe('the window of calls', () => {
  it('knows nothing at first', () => {
    expect(new CallWindow().summary(0)).toEqual({ calls: 0, errorRate: 0 })
  })

  it('counts calls and failures, and leaves out times that say nothing', () => {
    const window = new CallWindow()
    window.note(0, 10, true)
    window.note(0, -1, false)
    expect(window.summary(0)).toEqual({ calls: 2, errorRate: 0.5, p50: expect.any(Number), p95: expect.any(Number) })
    const untimed = new CallWindow()
    untimed.note(0, -1, true)
    expect(untimed.summary(0)).toEqual({ calls: 1, errorRate: 0 })
  })

  it('forgets what is older than five minutes, slice by slice', () => {
    const window = new CallWindow()
    window.note(0, 5, false)
    window.note(WINDOW_SLICE_MS, 5, true)
    expect(window.summary(WINDOW_MS - 1)).toMatchObject({ calls: 2, errorRate: 0.5 })
    expect(window.summary(WINDOW_MS)).toMatchObject({ calls: 1, errorRate: 0 })
    expect(window.summary(WINDOW_MS * 7)).toEqual({ calls: 0, errorRate: 0 })
  })

  it.each([
    [0.2, 1],
    [1, 1],
    [100, 107.6],
    [3_600_000, 65_536]
  ])('takes a call of %d ms for one of at most %d', (took, p50) => {
    const window = new CallWindow()
    window.note(0, took, true)
    expect(window.summary(0).p50).toBe(p50)
  })

  it('gives percentiles that are at most a fifth above the true ones', () => {
    const times = fc.array(fc.integer({ min: 2, max: 60_000 }), { minLength: 1, maxLength: 200 })
    fc.assert(
      fc.property(times, (all) => {
        const window = new CallWindow()
        for (const ms of all) window.note(0, ms, true)
        const sorted = all.toSorted((a, b) => a - b)
        for (const [share, key] of [[0.5, 'p50'] as const, [0.95, 'p95'] as const]) {
          const exact = sorted[Math.ceil(share * all.length) - 1] ?? 0
          const ratio = (window.summary(0)[key] ?? 0) / exact
          expect(ratio).toBeGreaterThanOrEqual(0.99)
          expect(ratio).toBeLessThanOrEqual(1.2)
        }
      })
    )
  })

  it('counts as one that keeps every call would, whenever they come', () => {
    const steps = fc.array(fc.tuple(fc.integer({ min: 0, max: WINDOW_MS }), fc.boolean()), { maxLength: 60 })
    fc.assert(
      fc.property(steps, (calls) => {
        const window = new CallWindow()
        const kept: { slice: number; isOk: boolean }[] = []
        let now = 1_000
        for (const [gap, isOk] of calls) {
          now += gap
          window.note(now, 1, isOk)
          kept.push({ slice: Math.floor(now / WINDOW_SLICE_MS), isOk })
        }
        const newest = Math.floor(now / WINDOW_SLICE_MS)
        const expected = kept.filter(({ slice }) => slice > newest - WINDOW_SLICES)
        const failed = expected.filter(({ isOk }) => !isOk).length
        expect(window.summary(now)).toMatchObject({
          calls: expected.length,
          errorRate: expected.length === 0 ? 0 : failed / expected.length
        })
      })
    )
  })
})

describe('the quality of calls', () => {
  const noted = (quality: Quality, now: number, count: number, ms: number): void => {
    for (let n = 0; n < count; n += 1) quality.note(now, ms, true)
  }

  const failed = (quality: Quality, count: number): void => {
    for (let n = 0; n < count; n += 1) quality.note(0, 1, false)
  }

  it('says nothing of nine calls, and complains of ten', () => {
    const quality = new Quality()
    failed(quality, 9)
    expect(quality.judge(0)).toBeUndefined()
    failed(quality, 1)
    expect(quality.judge(0)).toBe('100 % of the last 10 calls failed')
  })

  it('complains above a tenth of failures, and goes on until they are below a twentieth', () => {
    const quality = new Quality()
    noted(quality, 0, 90, 1)
    failed(quality, 10)
    expect(quality.judge(0)).toBeUndefined()
    failed(quality, 1)
    expect(quality.judge(0)).toContain('calls failed')
    noted(quality, 0, 50, 1)
    expect(quality.judge(0)).toContain('calls failed')
    noted(quality, 0, 100, 1)
    expect(quality.judge(0)).toBeUndefined()
  })

  it('complains when calls take three times as long as is usual, until they take less than twice', () => {
    const quality = new Quality()
    noted(quality, 0, 100, 100)
    expect(quality.judge(0)).toBeUndefined()
    noted(quality, 40_000, 50, 250)
    expect(quality.judge(40_000)).toBeUndefined()
    noted(quality, 40_000, 50, 2_000)
    expect(quality.judge(40_000)).toMatch(/^a call in twenty takes longer than 2s, where 1\d\dms is usual$/)
    noted(quality, 80_000, 2_000, 100)
    expect(quality.judge(80_000)).toBeUndefined()
  })

  it('minds no change of what takes a few milliseconds', () => {
    const quality = new Quality()
    noted(quality, 0, 100, 1)
    quality.judge(0)
    noted(quality, 40_000, 200, 20)
    expect(quality.judge(40_000)).toBeUndefined()
  })

  it('tells at once of a call that failed or took too long, so that it is looked at soon', () => {
    const quality = new Quality()
    noted(quality, 0, 10, 100)
    quality.judge(0)
    expect(quality.note(0, 100, true)).toBe(false)
    expect(quality.note(0, 100, false)).toBe(true)
    expect(quality.note(0, 1_000, true)).toBe(true)
  })
})
