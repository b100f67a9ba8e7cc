/** The bench `messages`: durable messages of 1 KiB from send to processed, 64 in flight, beside bare commits of rows of that size. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { median } from './measure.ts'
import type { MessageRun } from './message-peer.ts'
import type { BenchContext, BenchOutcome, Result } from './result.ts'

const ANSWER_MS = 30_000
const WARM_SECONDS = 0.5

export const DURABLE = 'durable send → processed'
export const BARE = 'bare group commit'

interface Side {
  readonly ready: { readonly address?: string; readonly agent?: string }
  measure(seconds: number): Promise<MessageRun>
  stop(): Promise<void>
}

export async function benchMessages(context: BenchContext): Promise<BenchOutcome> {
  const sides: Side[] = []
  const begin = async (role: string, ...args: string[]): Promise<Side> => {
    const home = join(context.folder, `messages-${role}`)
    mkdirSync(home, { mode: 0o700 })
    const side = await startSide([role, home, ...args])
    sides.push(side)
    return side
  }
  try {
    context.progress('messages: starting')
    const bare = await begin('bare')
    const taker = await begin('take')
    const sender = await begin('send', taker.ready.address ?? '', taker.ready.agent ?? '')
    await bare.measure(WARM_SECONDS)
    await sender.measure(WARM_SECONDS)
    const [bareRuns, durableRuns]: [MessageRun[], MessageRun[]] = [[], []]
    for (let rep = 0; rep < context.reps; rep++) {
      context.progress(`messages: run ${rep + 1} of ${context.reps}`)
      bareRuns.push(await bare.measure(context.seconds))
      const [sent, taken] = await Promise.all([sender.measure(context.seconds), taker.measure(context.seconds)])
      durableRuns.push({ ...sent, lagMs: Math.max(sent.lagMs, taken.lagMs) })
    }
    return { results: [resultOf(DURABLE, durableRuns), resultOf(BARE, bareRuns)], skipped: [] }
  } finally {
    await Promise.all(sides.map((side) => side.stop()))
  }
}

async function startSide(args: readonly string[]): Promise<Side> {
  const child = fork(fileURLToPath(new URL('./message-peer.ts', import.meta.url)), args, {
    // stdout is for the results
    stdio: ['ignore', 2, 2, 'ipc']
  })
  const { ready } = (await answer(child)) as { ready: Side['ready'] }
  return {
    ready,
    async measure(seconds) {
      const answered = answer(child)
      child.send({ seconds })
      return ((await answered) as { measured: MessageRun }).measured
    },
    async stop() {
      const exited = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined
      if (child.connected) child.disconnect()
      await exited
    }
  }
}

async function answer(child: ChildProcess): Promise<unknown> {
  const signal = AbortSignal.timeout(ANSWER_MS)
  try {
    const gone = once(child, 'exit', { signal }).then(() => {
      throw new Error('a side of the bench ended')
    })
    gone.catch(() => {})
    const [value] = (await Promise.race([once(child, 'message', { signal }), gone])) as [unknown]
    return value
  } catch (err) {
    child.kill('SIGKILL')
    throw err
  }
}

function resultOf(what: string, runs: readonly MessageRun[]): Result {
  const of = (key: keyof MessageRun): number => median(runs.map((run) => run[key]))
  return {
    bench: 'messages',
    system: 'pryx-mesh',
    inFlight: 64,
    bytes: 1024,
    what,
    perSecond: of('perSecond'),
    p50Ms: of('p50Ms'),
    p99Ms: of('p99Ms'),
    lagMs: of('lagMs'),
    runs: runs.map(({ perSecond }) => perSecond)
  }
}
