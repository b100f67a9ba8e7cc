import { describe, expect, it } from 'vitest'
import { type CheckResult, isMet, runCheck, share } from '../../scripts/sim/checks/check.ts'
import { growth, QUERIES_TO_FIRST } from '../../scripts/sim/checks/growth.ts'
import { misses, proofTable } from '../../scripts/sim/proof-table.ts'

function result(nodes: number, value: number, atMost = 14): CheckResult {
  const measures = [{ what: QUERIES_TO_FIRST, value, atMost }]
  return { name: 'own find', bound: 'it finds', nodes, measures, ok: measures.every(isMet), seconds: 1 }
}

describe('a check of the simulation', () => {
  it.each([
    { id: 'within its bounds', measure: { value: 5, atLeast: 5, atMost: 5 }, isHeld: true },
    { id: 'without a bound', measure: { value: -1e9 }, isHeld: true },
    { id: 'too large', measure: { value: 5.1, atMost: 5 }, isHeld: false },
    { id: 'too small', measure: { value: 4.9, atLeast: 5 }, isHeld: false },
    { id: 'not measured', measure: { value: Number.NaN, atMost: 5 }, isHeld: false }
  ])('takes what is $id for what it is', ({ measure, isHeld }) => {
    expect(isMet({ what: 'something', ...measure })).toBe(isHeld)
  })

  it('holds when all that it measures does', async () => {
    const measures = [
      { what: 'one', value: 1, atMost: 1 },
      { what: 'two', value: 2, atMost: 1 }
    ]
    const check = { name: 'some', bound: 'at most 1', run: async (most: number) => measures.slice(0, most) }
    expect(await runCheck(check, 1, 10)).toMatchObject({ name: 'some', nodes: 10, ok: true })
    expect(await runCheck(check, 2, 10)).toMatchObject({ ok: false, measures })
  })

  it('has no share of nothing', () => {
    expect(share([1, 2, 3, 4], (value) => value > 1)).toBe(75)
    expect(share([], () => true)).toBeNaN()
  })
})

describe('growth', () => {
  it('is what each doubling costs, between sizes in any order', () => {
    const found = growth([result(200, 15), result(50, 9), result(100, 11)])
    expect(found.map(({ nodes, measures, ok }) => [nodes, measures[0]?.value, ok])).toEqual([
      [100, 2, true],
      [200, 4, false]
    ])
  })

  it('needs two sizes, and what was measured at both', () => {
    expect(growth([result(50, 9)])).toEqual([])
    expect(growth([result(50, 9), result(100, Number.NaN)])).toMatchObject([{ ok: false }])
  })
})

describe('the table of checks', () => {
  it('marks what is not held, and says so below', () => {
    const results = [result(50, 12), result(100, 20)]
    const lines = proofTable(results).split('\n')
    expect(lines).toHaveLength(2)
    expect(lines[1]).toMatch(/own find +queries to the first, p50 +≤ 14 +12 +20 !/)
    expect(misses(results)).toEqual(['own find at 100 nodes: queries to the first, p50 is 20, must be ≤ 14'])
  })
})
