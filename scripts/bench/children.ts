/** Processes of a run. None outlives it, however it ends. */

import type { ChildProcess } from 'node:child_process'
import { fork, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { fileURLToPath } from 'node:url'
import type { Load, Measured } from './measure.ts'
import type { Answer, Question } from './peer.ts'
import type { Contact, SystemName } from './system.ts'
import { Skip } from './system.ts'

const READY_MS = 20_000
const STOP_MS = 5_000
/** What a question may take beyond the seconds of its load. */
const ANSWER_MS = 30_000

/** A temporary folder, gone when this process ends. */
export function runFolder(prefix: string): string {
  const folder = mkdtempSync(join(tmpdir(), `${prefix}-`))
  process.on('exit', () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }))
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(130))
  return folder
}

export interface Peer {
  readonly contact: Contact
  readonly streams: boolean
  readonly itemsPerStream: number | undefined
  load(load: Load): Promise<Measured>
  cpuMicros(): Promise<number>
  stop(): Promise<void>
}

/** @throws {Skip} when the system can't run here */
export async function startPeer(
  role: 'serve' | 'connect',
  system: SystemName,
  folder: string,
  contact: Contact = {}
): Promise<Peer> {
  const own = join(folder, `${system}-${role}`)
  mkdirSync(own, { recursive: true })
  const child = fork(
    fileURLToPath(new URL('./peer.ts', import.meta.url)),
    [role, system, own, JSON.stringify(contact)],
    {
      // stdout is for the results
      stdio: ['ignore', 2, 2, 'ipc']
    }
  )
  const ready = await answer(child, `${system} ${role}`, READY_MS)
  if (ready.kind === 'skip') throw new Skip(ready.reason)
  if (ready.kind !== 'ready') throw new Error(`${system} ${role} said ${ready.kind} before it was ready`)
  const ask = async <K extends Answer['kind']>(
    question: Question,
    kind: K,
    ms = ANSWER_MS
  ): Promise<Answer & { kind: K }> => {
    const got = answer(child, `${system} ${role}`, ms)
    child.send(question)
    const value = await got
    if (value.kind !== kind) throw new Error(`${system} ${role} answered ${value.kind} to ${question.ask}`)
    return value as Answer & { kind: K }
  }
  return {
    contact: ready.contact,
    streams: ready.streams,
    itemsPerStream: ready.itemsPerStream,
    load: async (load) => (await ask({ ask: 'load', load }, 'measured', load.seconds * 1000 + ANSWER_MS)).measured,
    cpuMicros: async () => (await ask({ ask: 'cpu' }, 'cpu')).cpuMicros,
    stop: () => stop(child, () => ask({ ask: 'stop' }, 'stopped', STOP_MS))
  }
}

async function answer(child: ChildProcess, who: string, ms: number): Promise<Answer> {
  const over = new AbortController()
  const signal = AbortSignal.any([over.signal, AbortSignal.timeout(ms)])
  const gone = once(child, 'exit', { signal }).then(([code, killed]) => {
    throw new Error(`${who} ended with ${killed ?? code}`)
  })
  try {
    const [value] = (await Promise.race([once(child, 'message', { signal }), gone])) as [Answer]
    if (value.kind === 'failed') throw new Error(`${who}: ${value.reason}`)
    return value
  } catch (err) {
    child.kill('SIGKILL')
    if (signal.aborted) throw new Error(`${who} was silent for ${ms} ms`, { cause: err })
    throw err
  } finally {
    gone.catch(() => {})
    over.abort()
  }
}

async function stop(child: ChildProcess, politely: () => Promise<unknown>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return
  const exited = once(child, 'exit')
  const late = setTimeout(() => child.kill('SIGKILL'), STOP_MS)
  await politely().catch((err: unknown) => console.error(String(err)))
  // It ends by itself when nobody talks to it any more, and may write its profile.
  if (child.connected) child.disconnect()
  await exited
  clearTimeout(late)
}

export interface Leashed {
  readonly pid: number
  /** What the program prints. */
  readonly stdout: Readable
  /** Ends it with SIGTERM, and waits; SIGKILL when that takes too long. */
  stop(): Promise<void>
}

/**
 * Starts a program that knows nothing of us, so that it ends when we do: a shell waits for the end of a pipe that only
 * this process holds open, and then ends the program.
 */
export async function leash(command: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<Leashed> {
  const script =
    'trap "" INT HUP; "$@" </dev/null 3>&- & echo $! >&3; exec 3>&- >&-; cat >/dev/null; kill $! 2>/dev/null; wait $!'
  const shell = spawn('sh', ['-c', script, 'leash', ...command], { stdio: ['pipe', 'pipe', 2, 'pipe'], env })
  const exited = once(shell, 'exit')
  const [line] = (await once(shell.stdio[3] as Readable, 'data')) as [Buffer]
  const pid = Number(line.toString())
  return {
    pid,
    stdout: shell.stdout as Readable,
    stop: async () => {
      const late = setTimeout(() => process.kill(pid, 'SIGKILL'), STOP_MS)
      shell.stdin?.end()
      await exited
      clearTimeout(late)
    }
  }
}
