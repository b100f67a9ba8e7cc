/** The benches `call` and `stream`: the systems side by side, in turns, so that a slow minute of the machine hits all alike. */

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import type { Peer } from './children.ts'
import { startPeer } from './children.ts'
import type { Load, Measured } from './measure.ts'
import { median } from './measure.ts'
import { MESSAGE_BYTES, nthItem } from './payload.ts'
import type { BenchContext, BenchOutcome, Result, Skipped } from './result.ts'
import { skippedBy } from './result.ts'
import type { SystemName } from './system.ts'
import { SYSTEM_NAMES } from './system.ts'

const IN_FLIGHT = [1, 16, 64]
const ITEMS_PER_STREAM = 1_000
/** Before the first repetition, for the compilers; not counted. */
const WARM_SECONDS = 0.5

interface Pair {
  readonly system: SystemName
  readonly server: Peer
  readonly client: Peer
}

interface Run extends Measured {
  readonly cpuMicros: number
}

interface Plan extends Omit<Load, 'seconds' | 'itemsPerStream'> {
  readonly bytes: number
}

export function benchCalls(context: BenchContext): Promise<BenchOutcome> {
  return benchTraffic(
    IN_FLIGHT.map((inFlight) => ({ bench: 'call' as const, inFlight, bytes: MESSAGE_BYTES })),
    context
  )
}

export function benchStreams(context: BenchContext): Promise<BenchOutcome> {
  const bytes = JSON.stringify(nthItem(100)).length
  return benchTraffic([{ bench: 'stream', inFlight: 1, bytes }], context)
}

async function benchTraffic(plans: readonly Plan[], context: BenchContext): Promise<BenchOutcome> {
  const bench = plans[0]?.bench ?? 'call'
  const skipped: Skipped[] = []
  const started = await startPairs(bench, context, skipped)
  let pairs = started
  /** A system that fails is out; the others go on. */
  const each = async (step: (pair: Pair) => Promise<unknown>): Promise<void> => {
    for (const pair of pairs) {
      try {
        await step(pair)
      } catch (err) {
        skipped.push(skippedBy(bench, pair.system, err))
        pairs = pairs.filter((other) => other !== pair)
      }
    }
  }
  try {
    await each(async (pair) => {
      context.progress(`${bench}: warming up ${pair.system}`)
      for (const plan of plans) await pair.client.load(loadOf(plan, pair, WARM_SECONDS))
    })
    const runs = new Map<string, Run[]>()
    for (let rep = 0; rep < context.reps; rep++) {
      for (const plan of plans) {
        await each(async (pair) => {
          context.progress(`${bench}: run ${rep + 1} of ${context.reps}, ${plan.inFlight} in flight, ${pair.system}`)
          const key = keyOf(plan, pair)
          runs.set(key, [...(runs.get(key) ?? []), await runOnce(pair, loadOf(plan, pair, context.seconds))])
        })
      }
    }
    const results = plans.flatMap((plan) =>
      pairs.map((pair) => resultOf(plan, pair, runs.get(keyOf(plan, pair)) ?? []))
    )
    return { results, skipped }
  } finally {
    await Promise.all(started.flatMap(({ server, client }) => [client.stop(), server.stop()]))
  }
}

async function startPairs(bench: Plan['bench'], context: BenchContext, skipped: Skipped[]): Promise<Pair[]> {
  const pairs: Pair[] = []
  const folder = join(context.folder, bench)
  mkdirSync(folder)
  for (const system of SYSTEM_NAMES) {
    context.progress(`${bench}: starting ${system}`)
    try {
      const pair = await startPair(system, folder)
      if (bench === 'call' || pair.client.streams) pairs.push(pair)
      else await Promise.all([pair.client.stop(), pair.server.stop()])
    } catch (err) {
      skipped.push(skippedBy(bench, system, err))
    }
  }
  return pairs
}

async function startPair(system: SystemName, folder: string): Promise<Pair> {
  const server = await startPeer('serve', system, folder)
  return { system, server, client: await startPeer('connect', system, folder, server.contact) }
}

function loadOf(plan: Plan, { client }: Pair, seconds: number): Load {
  return {
    bench: plan.bench,
    inFlight: plan.inFlight,
    seconds,
    itemsPerStream: client.itemsPerStream ?? ITEMS_PER_STREAM
  }
}

function keyOf(plan: Plan, { system }: Pair): string {
  return `${plan.inFlight} ${system}`
}

async function runOnce({ server, client }: Pair, load: Load): Promise<Run> {
  const cpu = async (): Promise<number> => (await client.cpuMicros()) + (await server.cpuMicros())
  const before = await cpu()
  const measured = await client.load(load)
  return { ...measured, cpuMicros: ((await cpu()) - before) / measured.done }
}

function resultOf(plan: Plan, { system, client }: Pair, runs: readonly Run[]): Result {
  const over = (value: (run: Run) => number): number => median(runs.map(value))
  return {
    bench: plan.bench,
    system,
    inFlight: plan.inFlight,
    bytes: plan.bytes,
    perSecond: over((run) => run.perSecond),
    p50Ms: over((run) => run.p50Ms),
    p99Ms: over((run) => run.p99Ms),
    cpuMicros: over((run) => run.cpuMicros),
    ...(plan.bench === 'stream' ? { itemsPerStream: client.itemsPerStream ?? ITEMS_PER_STREAM } : {}),
    runs: runs.map((run) => run.perSecond),
    runsP50Ms: runs.map((run) => run.p50Ms)
  }
}
