/** The checks, each with its numbers for each size of mesh, and those that don't hold. */
import { align } from '../bench/report.ts'
import { type CheckResult, isMet, type Measure } from './checks/check.ts'

export function proofTable(results: readonly CheckResult[]): string {
  const sizes = [...new Set(results.map(({ nodes }) => nodes))].toSorted((a, b) => a - b)
  const head = ['check', 'what', 'bound', ...sizes.map(String)]
  const rows = [...new Set(results.map(({ name }) => name))].flatMap((name) => {
    const ofCheck = results.filter((result) => result.name === name)
    const whats = [...new Set(ofCheck.flatMap(({ measures }) => measures.map(({ what }) => what)))]
    return whats.map((what, i) => [
      i === 0 ? name : '',
      what,
      boundOf(ofCheck, what),
      ...sizes.map((nodes) => cell(ofCheck, nodes, what))
    ])
  })
  return align([head, ...rows])
}

/** What doesn't hold, one line each. */
export function misses(results: readonly CheckResult[]): readonly string[] {
  return results.flatMap(({ name, nodes, measures }) =>
    measures
      .filter((measure) => !isMet(measure))
      .map(
        (measure) => `${name} at ${nodes} nodes: ${measure.what} is ${format(measure)}, must be ${boundText(measure)}`
      )
  )
}

function cell(results: readonly CheckResult[], nodes: number, what: string): string {
  const measure = results.find((result) => result.nodes === nodes)?.measures.find((each) => each.what === what)
  if (measure === undefined) return '-'
  return isMet(measure) ? format(measure) : `${format(measure)} !`
}

function boundOf(results: readonly CheckResult[], what: string): string {
  const bounds = results.flatMap(({ measures }) => measures.filter((each) => each.what === what)).map(boundText)
  return bounds.find((text) => text !== '') ?? ''
}

function boundText({ atMost, atLeast }: Measure): string {
  const parts = [...(atLeast === undefined ? [] : [`≥ ${atLeast}`]), ...(atMost === undefined ? [] : [`≤ ${atMost}`])]
  return parts.join(', ')
}

function format({ value, digits }: Measure): string {
  if (!Number.isFinite(value)) return 'none'
  return digits === undefined ? String(Number(value.toFixed(1))) : value.toFixed(digits)
}
