/** The bench `start`: from spawning `pryx-mesh start --json` to its line that it is ready, and what it weighs then. */
import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { builtPath } from './built.ts'
import { leash } from './children.ts'
import { median, percentile } from './measure.ts'
import type { BenchContext, BenchOutcome, Result } from './result.ts'

const READY_MS = 15_000
/** What the start has left behind is collected by then. */
const IDLE_MS = 3_000
const WEIGHINGS = 3

interface Start {
  readonly ms: number
  readonly rssMb: number | undefined
}

export async function benchStart(context: BenchContext): Promise<BenchOutcome> {
  const fresh: Start[] = []
  const again: Start[] = []
  for (let rep = 0; rep < context.reps; rep++) {
    context.progress(`start: ${rep + 1} of ${context.reps}`)
    const home = join(context.folder, `start-${rep}`)
    fresh.push(await startOnce(home, rep < WEIGHINGS))
    again.push(await startOnce(home, false))
  }
  return { results: [resultOf('new home', fresh), resultOf('same home', again)], skipped: [] }
}

async function startOnce(home: string, weigh: boolean): Promise<Start> {
  const began = performance.now()
  const node = await leash([process.execPath, builtPath('cli/bin.js'), 'start', '--home', home, '--json'])
  try {
    await ready(node.stdout)
    const ms = performance.now() - began
    if (!weigh) return { ms, rssMb: undefined }
    await sleep(IDLE_MS)
    return { ms, rssMb: rssMb(node.pid) }
  } finally {
    await node.stop()
  }
}

/** Waits until a node says that it is ready. */
export async function ready(stdout: NodeJS.ReadableStream): Promise<void> {
  const signal = AbortSignal.timeout(READY_MS)
  for await (const line of createInterface({ input: stdout, signal })) {
    if ((JSON.parse(line) as { ready?: unknown }).ready === true) return
  }
  throw new Error(signal.aborted ? `start was not ready after ${READY_MS} ms` : 'start ended before it was ready')
}

function rssMb(pid: number): number {
  const kib = execFileSync('ps', ['-o', 'rss=', '-p', String(pid)], { encoding: 'utf8' })
  return (Number(kib) * 1024) / 1e6
}

function resultOf(what: string, starts: readonly Start[]): Result {
  const times = starts.map(({ ms }) => ms)
  const weights = starts.flatMap((start) => start.rssMb ?? [])
  return {
    bench: 'start',
    system: 'pryx-mesh',
    inFlight: 1,
    bytes: 0,
    perSecond: 1000 / median(times),
    p50Ms: median(times),
    p99Ms: percentile(times, 0.99),
    what,
    ...(weights.length === 0 ? {} : { rssMb: median(weights) })
  }
}
