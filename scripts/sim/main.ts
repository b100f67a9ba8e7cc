/**
 * `npm run sim -- [--nodes 10,50,100,200] [--short] [--seed N] [--json] [--out FILE.svg]`
 *
 * Runs whole meshes in one process each, over the memory transport without encryption, and shows how finding grows with
 * their size. The seed fixes who offers what, who joins by whom and who looks for what; keys, and with them the places in
 * the DHT, are new each time.
 */
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { align, describeMachine, toJson } from '../bench/report.ts'
import { drawGrowth } from './picture.ts'
import type { SimPlan, SimResult } from './scenario.ts'

const SIZES = '10,50,100,200'
const SHORT_SIZES = '10,50'
/** Beside the nodes and the seed. */
const PLAN = { finds: 100, newcomers: 5, settleMs: 300_000, watchMs: 8_000 }
const SHORT_PLAN = { finds: 40, newcomers: 2, settleMs: 15_000, watchMs: 2_000 }
const MIN_RECALL = 0.99
const MAX_NODES = 1_000

const USAGE = `usage: npm run sim -- [--nodes ${SIZES}] [--short] [--seed N] [--json] [--out FILE.svg]
  --nodes  sizes of the meshes
  --short  ${SHORT_SIZES} nodes and fewer finds
  --seed   of the layout, default 1
  --json   one JSON document on stdout
  --out    where the picture goes; default scripts/sim/growth.svg when the sizes are ${SIZES}, else nowhere
exits 1 when a recall is below ${MIN_RECALL * 100} %`

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

const { values } = parse()
const sizes = (values.nodes ?? (values.short ? SHORT_SIZES : SIZES)).split(',').map(Number)
const seed = Number(values.seed)
const isSane = sizes.every((size) => Number.isInteger(size) && size >= 2 && size <= MAX_NODES) && Number.isInteger(seed)
if (!isSane) usage()

const results: SimResult[] = []
for (const size of sizes) {
  results.push(await run({ nodes: size, seed, ...(values.short ? SHORT_PLAN : PLAN) }))
}
console.log(values.json ? toJson({ machine: describeMachine(), seed, results }) : toTable(results))

const out = values.out ?? (sizes.join() === SIZES ? fileURLToPath(new URL('growth.svg', import.meta.url)) : undefined)
if (out !== undefined) {
  writeFileSync(
    out,
    drawGrowth(results, `pryx-mesh: ${sizes.join(', ')} nodes in one process, 3 capabilities each of 100 names`)
  )
  console.error(`sim: picture in ${out}`)
}
for (const { nodes, recall } of results) {
  if (recall >= MIN_RECALL) continue
  console.error(`sim: recall at ${nodes} nodes is ${(recall * 100).toFixed(2)} %, below ${MIN_RECALL * 100} %`)
  process.exitCode = 1
}

async function run(plan: SimPlan): Promise<SimResult> {
  const child = fork(fileURLToPath(new URL('scenario.ts', import.meta.url)), [JSON.stringify(plan)], {
    execArgv: ['--expose-gc'],
    stdio: ['ignore', 2, 2, 'ipc'],
    // NaN, where there was nothing to measure, is not JSON
    serialization: 'advanced'
  })
  const over = new AbortController()
  const gone = once(child, 'exit', { signal: over.signal }).then(([code, signal]) => {
    throw new Error(`the mesh of ${plan.nodes} ended with ${signal ?? code}`)
  })
  try {
    const [result] = (await Promise.race([once(child, 'message', { signal: over.signal }), gone])) as [SimResult]
    return result
  } finally {
    gone.catch(() => {})
    over.abort()
  }
}

function toTable(all: readonly SimResult[]): string {
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

function parse() {
  try {
    return parseArgs({
      options: {
        nodes: { type: 'string' },
        short: { type: 'boolean', default: false },
        seed: { type: 'string', default: '1' },
        json: { type: 'boolean', default: false },
        out: { type: 'string' }
      }
    })
  } catch (err) {
    return usage(err instanceof Error ? err.message : undefined)
  }
}

function usage(problem?: string): never {
  if (problem !== undefined) console.error(problem)
  console.error(USAGE)
  process.exit(2)
}
