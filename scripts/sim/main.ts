/**
 * `npm run sim -- [--nodes 10,50,100,200] [--short] [--only CHECK,…] [--seed N] [--json] [--out FILE.svg]`
 *
 * Runs whole meshes in one process each, over the memory transport without encryption, shows how finding grows with their
 * size, and puts to the proof what it promises: `checks/` has a file for each promise. The seed fixes who offers what, who
 * joins by whom, who looks for what and who misbehaves; keys, and with them the places in the DHT, are new each time.
 */
import { writeFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { describeMachine, toJson } from '../bench/report.ts'
import type { CheckResult } from './checks/check.ts'
import { growth } from './checks/growth.ts'
import { runChild } from './children.ts'
import { growthTable } from './growth-table.ts'
import { drawGrowth } from './picture.ts'
import type { ProofPlan } from './proof.ts'
import { misses, proofTable } from './proof-table.ts'
import type { SimPlan, SimResult } from './scenario.ts'

const SIZES = '10,50,100,200'
const SHORT_SIZES = '10,30'
/** Beside the nodes and the seed. */
const PLAN = { finds: 100, newcomers: 5, settleMs: 300_000, watchMs: 8_000 }
const SHORT_PLAN = { finds: 40, newcomers: 2, settleMs: 10_000, watchMs: 2_000 }
const MIN_RECALL = 0.99
const MAX_NODES = 1_000
/** In a smaller mesh everybody is a holder of everything, and nothing is proved. */
const MIN_NODES_OF_PROOF = 30

const USAGE = `usage: npm run sim -- [--nodes ${SIZES}] [--short] [--only CHECK,…] [--seed N] [--json] [--out FILE.svg]
  --nodes  sizes of the meshes
  --short  whole nodes of the smaller, the DHT of the larger of ${SHORT_SIZES}, fewer finds, a minute
  --only   these checks of the DHT and nothing else: own find, hung peers, hot key, liars, sybils, churn
  --seed   of the layout, default 1
  --json   one JSON document on stdout
  --out    where the picture goes; default scripts/sim/growth.svg when the sizes are ${SIZES}, else nowhere
exits 1 when a check doesn't hold, or a recall is below ${MIN_RECALL * 100} %`

const { values } = parse()
const sizes = (values.nodes ?? (values.short ? SHORT_SIZES : SIZES)).split(',').map(Number)
const only = values.only?.split(',').map((name) => name.trim())
const seed = Number(values.seed)
const isSane = sizes.every((size) => Number.isInteger(size) && size >= 2 && size <= MAX_NODES) && Number.isInteger(seed)
if (!isSane) usage()

const results: SimResult[] = []
const ofDht: CheckResult[] = []
// In a hurry the largest is put to the proof only: whole nodes take half a minute of it, and show no growth between two sizes
const grown = values.short && sizes.length > 1 ? sizes.slice(0, -1) : sizes
const whole = only === undefined ? grown.map((size) => () => grow(size)) : []
const proofs = sizes.filter((size) => size >= MIN_NODES_OF_PROOF).map((size) => () => prove(size))
// Side by side in a hurry: counts don't depend on the load, and what may take its time has a bound far off
if (values.short) await Promise.all([inOrder(whole), inOrder(proofs)])
else await inOrder([...whole, ...proofs])

const proof = [...ofDht, ...growth(ofDht), ...results.map(({ catalogue }) => catalogue)]
if (values.json) console.log(toJson({ machine: describeMachine(), seed, results, proof }))
else console.log([...(results.length > 0 ? [growthTable(results)] : []), proofTable(proof)].join('\n\n'))

const isUsual = sizes.join() === SIZES && only === undefined
const out = values.out ?? (isUsual ? fileURLToPath(new URL('growth.svg', import.meta.url)) : undefined)
if (out !== undefined && results.length > 0) {
  const caption = `pryx-mesh: ${sizes.join(', ')} nodes in one process, 3 capabilities each of 100 names`
  writeFileSync(
    out,
    drawGrowth(
      results.map((result) => ({ ...result, proof })),
      caption
    )
  )
  console.error(`sim: picture in ${out}`)
}
const failures = [
  ...misses(proof),
  ...results
    .filter(({ recall }) => recall < MIN_RECALL)
    .map(
      ({ nodes, recall }) => `recall at ${nodes} nodes is ${(recall * 100).toFixed(2)} %, below ${MIN_RECALL * 100} %`
    )
]
for (const failure of failures) console.error(`sim: ${failure}`)
if (failures.length > 0) process.exitCode = 1

async function grow(nodes: number): Promise<void> {
  const plan: SimPlan = { nodes, seed, ...(values.short ? SHORT_PLAN : PLAN) }
  results.push(...(await runChild<SimResult>('scenario.ts', plan, `the mesh of ${nodes}`)))
}

async function prove(nodes: number): Promise<void> {
  const plan: ProofPlan = { nodes, seed, isShort: values.short, ...(only && { only }) }
  ofDht.push(...(await runChild<CheckResult>('proof.ts', plan, `the DHT of ${nodes}`)))
}

async function inOrder(work: readonly (() => Promise<void>)[]): Promise<void> {
  for (const each of work) await each()
}

function parse() {
  try {
    return parseArgs({
      options: {
        nodes: { type: 'string' },
        short: { type: 'boolean', default: false },
        only: { type: 'string' },
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
