/** The bench `blob`: 256 MiB from a file to a file, checked and on disk, beside a raw libp2p stream from memory to memory. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median } from './measure.ts'
import type { BenchContext, BenchOutcome, Result } from './result.ts'

const ANSWER_MS = 120_000
const BLOB_BYTES = 256 * 1024 * 1024
const SYSTEMS = ['pryx-mesh', 'libp2p', 'libp2p-tuned'] as const

export async function benchBlobs(context: BenchContext): Promise<BenchOutcome> {
  const children: ChildProcess[] = []
  const begin = async (
    role: string,
    system: string,
    contact: unknown = {}
  ): Promise<{ child: ChildProcess; contact: unknown }> => {
    const folder = join(context.folder, `blob-${system}-${role}`)
    mkdirSync(folder, { mode: 0o700 })
    const script = fileURLToPath(new URL('./blob-peer.ts', import.meta.url))
    // stdout is for the results
    const child = fork(script, [role, system, folder, JSON.stringify(contact)], { stdio: ['ignore', 2, 2, 'ipc'] })
    children.push(child)
    return { child, contact: ((await answer(child)) as { contact: unknown }).contact }
  }
  const getOnce = async (child: ChildProcess): Promise<number> => {
    const answered = answer(child)
    child.send('get')
    return ((await answered) as { ms: number }).ms
  }
  try {
    const getters: ChildProcess[] = []
    for (const system of SYSTEMS) {
      context.progress(`blob: starting ${system}`)
      const { contact } = await begin('serve', system)
      getters.push((await begin('get', system, contact)).child)
    }
    // For the compilers, and the disk's cache; not counted
    for (const getter of getters) await getOnce(getter)
    const runs: number[][] = SYSTEMS.map(() => [])
    for (let rep = 0; rep < context.reps; rep++) {
      context.progress(`blob: run ${rep + 1} of ${context.reps}`)
      for (const [n, getter] of getters.entries()) runs[n]?.push(await getOnce(getter))
    }
    return { results: SYSTEMS.map((system, n) => resultOf(system, runs[n] ?? [])), skipped: [] }
  } finally {
    for (const child of children) child.disconnect()
    await Promise.all(children.map(async (child) => child.exitCode ?? once(child, 'exit')))
  }
}

async function answer(child: ChildProcess): Promise<unknown> {
  const signal = AbortSignal.timeout(ANSWER_MS)
  const gone = once(child, 'exit', { signal }).then(() => {
    throw new Error('a side of the bench ended')
  })
  gone.catch(() => {})
  const [value] = (await Promise.race([once(child, 'message', { signal }), gone])) as [unknown]
  return value
}

function resultOf(system: (typeof SYSTEMS)[number], runs: readonly number[]): Result {
  const perSecond = runs.map((ms) => (BLOB_BYTES / ms) * 1000)
  return {
    bench: 'blob',
    system,
    inFlight: 1,
    bytes: BLOB_BYTES,
    perSecond: median(perSecond),
    p50Ms: median(runs),
    p99Ms: Math.max(...runs),
    runs: perSecond
  }
}
