/** The checks of the DHT in a process of its own: `node proof.ts PLAN`, a {@link ProofPlan} as JSON; the parent gets a {@link CheckResult} for each. */
import { type Check, runCheck } from './checks/check.ts'
import { churn } from './checks/churn.ts'
import { hotKey } from './checks/hot-key.ts'
import { hung } from './checks/hung.ts'
import { liars } from './checks/liars.ts'
import { ownFind } from './checks/own-find.ts'
import { sybils } from './checks/sybils.ts'
import { buildDhtWorld, type DhtWorld } from './dht-world.ts'
import { createLedger } from './meter.ts'
import { createRandom } from './random.ts'

export interface ProofPlan {
  readonly nodes: number
  readonly seed: number
  readonly isShort: boolean
  /** Names of checks; default all. */
  readonly only?: readonly string[]
}

/** In this order: the last one leaves half of the mesh. */
const CHECKS: readonly Check<DhtWorld>[] = [ownFind, hung, hotKey, liars, sybils, churn]

process.on('disconnect', () => process.exit())
const plan = JSON.parse(process.argv[2] ?? '{}') as ProofPlan
const from = performance.now()
const world = await buildDhtWorld({
  nodes: plan.nodes,
  random: createRandom(plan.seed),
  ledger: createLedger(),
  isShort: plan.isShort
})
progress(`a DHT that has published in ${((performance.now() - from) / 1000).toFixed(1)} s`)
for (const check of CHECKS.filter(({ name }) => plan.only?.includes(name) ?? true)) {
  const result = await runCheck(check, world, plan.nodes)
  progress(`${check.name} ${result.ok ? 'holds' : 'does not hold'}, ${result.seconds.toFixed(1)} s`)
  process.send?.(result)
}
process.send?.('done')
// Stopping hundreds of nodes one by one proves nothing
process.exit()

function progress(text: string): void {
  console.error(`sim: ${plan.nodes} nodes: ${text}`)
}
