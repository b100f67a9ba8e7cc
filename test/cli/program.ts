import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { type FakeNode, fakeNode } from '../gateway/fake-node.ts'

const BIN = fileURLToPath(new URL('../../src/cli/bin.ts', import.meta.url))

export interface Finished {
  /** The exit code; null when a signal ended it. */
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

export interface Program {
  readonly pid: number
  readonly finished: Promise<Finished>
  kill(signal: NodeJS.Signals): void
  /** Closes the reading end of its stdout. */
  closeStdout(): void
  /** Resolves with stdout when it has this many lines. */
  lines(count: number): Promise<string[]>
}

export interface ProgramOptions {
  readonly stdin?: string
  readonly env?: Readonly<Record<string, string>>
  readonly cwd?: string
}

/** Starts the program as a child process. */
export function begin(args: readonly string[], { stdin = '', env = {}, cwd }: ProgramOptions = {}): Program {
  const { PRYX_MESH_HOME: _home, npm_lifecycle_event: _script, ...inherited } = process.env
  // Without it each of a hundred processes strips the types of the whole source again
  const cache = { NODE_COMPILE_CACHE: join(tmpdir(), 'pryx-mesh-compile-cache') }
  const child = spawn(process.execPath, [BIN, ...args], { cwd, env: { ...inherited, ...cache, ...env } })
  onTestFinished(() => void child.kill('SIGKILL'))
  let stdout = ''
  let stderr = ''
  const waiting = new Set<() => void>()
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    stdout += chunk
    for (const check of waiting) check()
  })
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    stderr += chunk
  })
  child.stdin.on('error', () => {})
  child.stdin.end(stdin)
  const finished = new Promise<Finished>((resolve) => child.on('close', (code) => resolve({ code, stdout, stderr })))
  return {
    pid: child.pid ?? 0,
    finished,
    kill: (signal) => void child.kill(signal),
    closeStdout: () => void child.stdout.destroy(),
    async lines(count) {
      const enough = new Promise<void>((resolve) => {
        const check = () => {
          if (stdout.split('\n').length > count) resolve()
        }
        waiting.add(check)
        check()
      })
      const early = finished.then((end) => {
        if (end.stdout.split('\n').length <= count)
          throw new Error(`ended before line ${count}: ${JSON.stringify(end)}`)
      })
      await Promise.race([enough, early])
      return stdout.split('\n').slice(0, -1)
    }
  }
}

/** Runs the program to its end. */
export function run(args: readonly string[], options?: ProgramOptions): Promise<Finished> {
  return begin(args, options).finished
}

/** A folder that goes with the test. */
export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'pryx-mesh-'))
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }))
  return folder
}

/** A home that a fake node runs on, in the test's process. */
export async function fakeDaemon(): Promise<{ home: string; node: FakeNode; stopped: Promise<void> }> {
  const home = temporaryFolder()
  const node = fakeNode()
  const stopped = Promise.withResolvers<void>()
  const control = await openControl({
    node,
    path: join(home, 'control.sock'),
    onStop: async () => {
      control.close()
      stopped.resolve()
    }
  })
  onTestFinished(() => control.close())
  return { home, node, stopped: stopped.promise }
}
