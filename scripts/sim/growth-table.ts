/** What came of the meshes of whole nodes, as a table with a column for each size. */
import { align } from '../bench/report.ts'
import type { SimResult } from './scenario.ts'

interface Row {
  readonly name: string
  readonly value: (result: SimResult) => number
  readonly digits: number
  /** It has a bound: how it grows says nothing. */
  readonly isShare?: true
}

const ROWS: readonly Row[] = [
  { name: 'recall of find, %', value: (r) => r.recall * 100, digits: 2, isShare: true },
  { name: 'finds that said complete, %', value: (r) => r.complete * 100, digits: 0, isShare: true },
  { name: 'finds that said so and missed some, %', value: (r) => r.falselyComplete * 100, digits: 0, isShare: true },
  { name: 'find to the first, p50 ms', value: (r) => r.firstP50Ms, digits: 2 },
  { name: 'find to the first, p95 ms', value: (r) => r.firstP95Ms, digits: 2 },
  { name: 'find to all, p50 ms', value: (r) => r.allP50Ms, digits: 2 },
  { name: 'find to all, p95 ms', value: (r) => r.allP95Ms, digits: 2 },
  { name: 'find to its end, p50 ms', value: (r) => r.endP50Ms, digits: 2 },
  { name: 'find to its end, p95 ms', value: (r) => r.endP95Ms, digits: 2 },
  { name: 'messages of a find, p50', value: (r) => r.messagesPerFindP50, digits: 0 },
  { name: 'messages of a find, p95', value: (r) => r.messagesPerFindP95, digits: 0 },
  { name: 'hops to the nearest owner, p50', value: (r) => r.hopsP50, digits: 0 },
  { name: 'hops to the nearest owner, p95', value: (r) => r.hopsP95, digits: 0 },
  { name: 'connections of a node', value: (r) => r.connectionsPerNode, digits: 1 },
  { name: 'records of others known before, %', value: (r) => r.recordsKnown * 100, digits: 0, isShare: true },
  {
    name: 'from the last start to rest, s',
    value: (r) => (r.settledMs ?? Number.NaN) / 1000,
    digits: 1,
    isShare: true
  },
  { name: 'messages of a node before the finds', value: (r) => r.messagesPerNodeToForm, digits: 0 },
  { name: 'messages of a node in the background, 1/s', value: (r) => r.messagesPerNodeSecond, digits: 1 },
  { name: 'traffic of a node in the background, kB/s', value: (r) => r.bytesPerNodeSecond / 1000, digits: 2 },
  { name: 'memory of a node, resident, MB', value: (r) => r.rssPerNodeMb, digits: 2 },
  { name: 'memory of a node, heap, MB', value: (r) => r.heapPerNodeMb, digits: 2 },
  { name: 'newcomer: recall of its first find, %', value: (r) => r.newcomerRecall * 100, digits: 1, isShare: true },
  {
    name: 'newcomers that said complete and missed some, %',
    value: (r) => r.newcomerFalselyComplete * 100,
    digits: 0,
    isShare: true
  },
  { name: 'newcomer: to the first, p50 ms', value: (r) => r.newcomerFirstP50Ms, digits: 1 }
]

export function growthTable(all: readonly SimResult[]): string {
  const head = ['nodes', ...all.map(({ nodes }) => String(nodes)), ...(all.length > 1 ? ['grows as'] : [])]
  const rows = ROWS.map((row) => [
    row.name,
    ...all.map((result) => cell(row, result)),
    ...(all.length > 1 ? [growthText(row, all)] : [])
  ])
  return align([head, ...rows, ['results from', ...all.map(({ sources }) => sourcesText(sources))]])
}

/** Nothing found has no time, and a mesh that didn't come to rest neither. */
function cell({ value, digits }: Row, result: SimResult): string {
  const number = value(result)
  return Number.isFinite(number) ? number.toFixed(digits) : '-'
}

function growthText({ value, isShare }: Row, all: readonly SimResult[]): string {
  const exponent = isShare === true ? undefined : growthOf(value, all)
  return exponent === undefined ? '' : `N^${exponent.toFixed(2)}`
}

function sourcesText(sources: SimResult['sources']): string {
  return Object.entries(sources)
    .map(([name, share]) => `${name} ${Math.round(share * 100)} %`)
    .join(', ')
}

/** The exponent a of value ~ nodes^a, by least squares over the logarithms: 0 is constant, 1 proportional. */
function growthOf(value: Row['value'], all: readonly SimResult[]): number | undefined {
  const points = all.map((result) => [Math.log(result.nodes), Math.log(value(result))] as const)
  if (!points.every(([, y]) => Number.isFinite(y))) return undefined
  const mean = (axis: 0 | 1): number => points.reduce((sum, point) => sum + point[axis], 0) / points.length
  const [meanX, meanY] = [mean(0), mean(1)]
  const covariance = points.reduce((sum, [x, y]) => sum + (x - meanX) * (y - meanY), 0)
  return covariance / points.reduce((sum, [x]) => sum + (x - meanX) ** 2, 0)
}
