/** The bench `find`: how soon a node that starts finds a tool of another on the LAN, and what finding it again costs. */

import type { ChildProcess } from 'node:child_process'
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Found } from './finder.ts'
import { type BenchContext, type BenchOutcome, timesOf } from './result.ts'

const STARTS = 10
const FIND_MS = 20_000

export async function benchFind(context: BenchContext): Promise<BenchOutcome> {
  // Other meshes may be on this LAN: a name that nobody else has.
  const capability = `bench.lan-${process.pid}-${Date.now()}`
  const offering = run('offer', capability, join(context.folder, 'find-a'))
  try {
    const offered = await said(offering)
    if ('skip' in offered)
      return { results: [], skipped: [{ bench: 'find', system: 'pryx-mesh', reason: offered.skip }] }
    const finds: (Found & { readonly ms: number })[] = []
    for (let i = 0; i < STARTS; i++) {
      context.progress(`find: start ${i + 1} of ${STARTS}`)
      finds.push(await findOnce(capability, join(context.folder, `find-b${i}`)))
    }
    const cached = finds.flatMap((find) => find.cachedMs)
    const ended = finds.flatMap((find) => find.cachedEndMs)
    const results = [
      timesOf(
        'find',
        'lan',
        finds.map(({ ms }) => ms)
      ),
      timesOf(
        'find',
        'lan, without loading the program',
        finds.map(({ sinceStartMs }) => sinceStartMs)
      ),
      timesOf('find', 'cached', cached),
      timesOf('find', 'cached, to the end', ended)
    ]
    return { results, skipped: [] }
  } finally {
    await end(offering)
  }
}

async function findOnce(capability: string, home: string): Promise<Found & { ms: number }> {
  const began = performance.timeOrigin + performance.now()
  const child = run('find', capability, home)
  try {
    const found = (await said(child)) as Found
    return { ...found, ms: found.at - began }
  } finally {
    await end(child)
  }
}

function run(role: 'offer' | 'find', capability: string, home: string): ChildProcess {
  mkdirSync(home)
  return fork(fileURLToPath(new URL('./finder.ts', import.meta.url)), [role, capability, home], {
    stdio: ['ignore', 2, 2, 'ipc']
  })
}

async function said(child: ChildProcess): Promise<Found | { ready: true } | { skip: string }> {
  const over = new AbortController()
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(FIND_MS)])
  const gone = once(child, 'exit', { signal }).then(([code]) => {
    throw new Error(`a node of the bench ended with ${code}`)
  })
  try {
    const [value] = await Promise.race([once(child, 'message', { signal }), gone])
    return value
  } finally {
    gone.catch(() => {})
    over.abort()
  }
}

/** Politely: a node that leaves withdraws what it announced, and the next one isn't told of it. */
async function end(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const late = setTimeout(() => child.kill('SIGKILL'), 5_000)
  child.disconnect()
  await once(child, 'exit')
  clearTimeout(late)
}
