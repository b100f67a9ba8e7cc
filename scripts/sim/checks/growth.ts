import type { CheckResult } from './check.ts'

export const QUERIES_TO_FIRST = 'queries to the first, p50'
const MAX_PER_DOUBLING = 3

/** What a search costs more in a mesh that is larger: by the results of `own find` at several sizes. */
export function growth(results: readonly CheckResult[]): readonly CheckResult[] {
  const points = results
    .filter(({ name }) => name === 'own find')
    .map(({ nodes, measures }) => ({
      nodes,
      value: measures.find(({ what }) => what === QUERIES_TO_FIRST)?.value ?? NaN
    }))
    .toSorted((a, b) => a.nodes - b.nodes)
  return points.slice(1).map(({ nodes, value }, i) => {
    const before = points[i] as (typeof points)[number]
    const perDoubling = (value - before.value) / Math.log2(nodes / before.nodes)
    const measure = { what: 'more queries to the first, per doubling', value: perDoubling, atMost: MAX_PER_DOUBLING }
    return {
      name: 'growth',
      bound: 'to find the first takes 3 queries more in a mesh twice as large',
      nodes,
      measures: [measure],
      ok: perDoubling <= MAX_PER_DOUBLING,
      seconds: 0
    }
  })
}
