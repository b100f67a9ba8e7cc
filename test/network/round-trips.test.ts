import { describe, expect, it } from 'vitest'
import {
  KAD_REQUEST_FAST_MS,
  KAD_REQUEST_MAX_MS,
  KAD_REQUEST_MIN_MS,
  MIN_ROUND_TRIPS,
  SIZE_WALKS
} from '../../src/network/constants.ts'
import { RoundTrips } from '../../src/network/round-trips.ts'
import { estimateSize, isCrowded, MeshSize } from '../../src/network/size.ts'

const LATE = -1

describe('the time that an answer is given', () => {
  it.each([
    ['is long while nothing is known', [1, 1], KAD_REQUEST_MIN_MS],
    ['is short among near peers, whatever the slowest does', [3, 4, 5, 6, 3, 4, 5, 6, 7, 900], KAD_REQUEST_FAST_MS],
    ['is long as soon as some are far', [3, 3, 3, 3, 3, 3, 3, 3, 80, 80], KAD_REQUEST_MIN_MS],
    ['is long as soon as some were given up, who may be far', [3, 3, 3, 3, 3, 3, 3, 3, LATE, LATE], KAD_REQUEST_MIN_MS],
    ['is no longer for those who hang', [200, 200, 200, 200, 200, LATE, LATE, LATE, LATE, LATE, LATE], 1_600],
    ['follows those that are very far', [300, 300, 300, 300, 300], 2_400],
    ['has an end', Array.from({ length: 9 }, () => 60_000), KAD_REQUEST_MAX_MS]
  ])('%s', (_, times, timeoutMs) => {
    const roundTrips = new RoundTrips()
    for (const ms of times) {
      if (ms === LATE) roundTrips.miss()
      else roundTrips.add(ms)
    }
    expect(roundTrips.timeoutMs).toBe(timeoutMs)
  })

  it('forgets how it was', () => {
    const roundTrips = new RoundTrips()
    for (let i = 0; i < 1_000; i++) roundTrips.add(500)
    expect(roundTrips.medianMs).toBe(500)
    for (let i = 0; i < 100; i++) roundTrips.add(2)
    expect(roundTrips.medianMs).toBe(2)
    expect(new RoundTrips().medianMs).toBeUndefined()
    expect(MIN_ROUND_TRIPS).toBeGreaterThan(1)
  })
})

describe('the size of a mesh', () => {
  it('is the median of the last walks, so that one crowded place does not move it', () => {
    const size = new MeshSize()
    expect(size.value).toBeUndefined()
    size.add(10_000_000)
    expect(size.value).toBe(10_000_000)
    for (let i = 0; i < 4; i++) size.add(200 + i)
    expect(size.value).toBe(202)
    for (let i = 0; i < SIZE_WALKS; i++) size.add(5_000)
    expect(size.value).toBe(5_000)
  })

  it('is read off the twentieth, and is counted below that', () => {
    const tenth = (byte: number): Uint8Array => Uint8Array.of(byte, ...new Uint8Array(31))
    const distances = Array.from({ length: 30 }, (_, i) => tenth(i + 1))
    expect(estimateSize(distances, 20)).toBe(20 / (20 / 256))
    expect(estimateSize(distances.slice(0, 7), 20)).toBe(8)
    expect(estimateSize(distances.slice(0, 7), 5)).toBeUndefined()
    // Wider than the mesh, a walk has met everybody; but not when those it met lie as close as in a much larger one
    expect(
      estimateSize(
        Array.from({ length: 30 }, (_, i) => tenth(5 * (i + 1))),
        60
      )
    ).toBe(31)
    expect(estimateSize(distances, 60)).toBe(256)
    const same = Array.from({ length: 20 }, () => new Uint8Array(32))
    expect(estimateSize(same, 20)).toBeUndefined()
    expect([256, 100, 16, undefined].map((size) => isCrowded(distances, size))).toEqual([false, false, false, false])
    expect([5_000, 100, 59, undefined].map((size) => isCrowded(same, size))).toEqual([true, true, false, false])
    expect(isCrowded(same.slice(0, 19), 5_000)).toBe(false)
  })
})
