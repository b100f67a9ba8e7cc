import { type ChildProcess, spawn } from 'node:child_process'
import { EventEmitter, once } from 'node:events'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'
import type { TrustLevel } from '../../src/auth/index.ts'
import type { AgentConnection, Driver, DriverContext, InvokeContext } from '../../src/drivers/index.ts'
import { callerOf, contextOf } from '../callers.ts'

/** A binary of a development dependency, to be run by `process.execPath`. */
export function packageBinary(name: string): string {
  return join(dirname(createRequire(import.meta.url).resolve(`${name}/package.json`)), 'dist/index.js')
}

export const ODD_SERVER = fileURLToPath(new URL('servers/odd.ts', import.meta.url))

export function invokeContext(signal = AbortSignal.timeout(20_000), trust: TrustLevel = 'known'): InvokeContext {
  return contextOf(callerOf('12D3KooWTest', trust), signal)
}

export interface Connected {
  readonly connection: AgentConnection
  /** `changed` and `lost` with its reason and detail. */
  readonly events: EventEmitter
  readonly call: (name: string, input?: unknown, context?: InvokeContext) => Promise<unknown>
  readonly describe: () => ReturnType<AgentConnection['describe']>
}

/** A driver's connection, closed when the test ends. */
export async function connect(
  driver: Driver,
  config: unknown,
  signal = AbortSignal.timeout(30_000)
): Promise<Connected> {
  const events = new EventEmitter()
  const context: DriverContext = {
    agent: 'agent',
    signal,
    onChange: () => events.emit('changed'),
    onLost: (reason, detail) => events.emit('lost', reason, detail)
  }
  const connection = await driver.connect(driver.parse(config), context)
  onTestFinished(() => connection.close())
  return {
    connection,
    events,
    call: async (name, input = {}, ctx = invokeContext()) => connection.invoke({ kind: 'tool', name }, input, ctx),
    describe: () => connection.describe({ signal: AbortSignal.timeout(20_000) })
  }
}

/** The text of a `CallToolResult`. */
export function textOf(result: unknown): string {
  const { content } = result as { content: { text?: string }[] }
  return content.map(({ text = '' }) => text).join('')
}

/** Starts a server that prints its port once it listens; ended with the test. */
export async function startServer(args: readonly string[]): Promise<{ child: ChildProcess; port: number }> {
  const child = spawn(process.execPath, [...args], { stdio: ['ignore', 'pipe', 'ignore'] })
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return
    child.kill('SIGKILL')
    await once(child, 'exit')
  })
  const [line] = (await once(child.stdout, 'data')) as [Buffer]
  return { child, port: Number(line.toString()) }
}

/** Resolves once no process has this id any more. */
export async function gone(pid: number): Promise<void> {
  const deadline = Date.now() + 10_000
  while (isAlive(pid)) {
    if (Date.now() > deadline) throw new Error(`process ${pid} is still there`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
