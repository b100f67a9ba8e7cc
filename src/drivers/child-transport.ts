import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { stripVTControlCharacters } from 'node:util'
import { deserializeMessage, type JSONRPCMessage, serializeMessage, type Transport } from '@modelcontextprotocol/client'
import { getDefaultEnvironment } from '@modelcontextprotocol/client/stdio'
import { MeshError } from '../errors.ts'
import { CLOSE_GRACE_MS, DRAIN_MS, MAX_MCP_MESSAGE_BYTES, STDERR_TAIL_BYTES } from './constants.ts'
import { Lines } from './lines.ts'
import { ANSWER_TOO_LARGE } from './mcp-errors.ts'

export interface ChildInit {
  readonly command: string
  readonly args: readonly string[]
  readonly cwd?: string | undefined
  readonly env?: Readonly<Record<string, string>> | undefined
}

/**
 * MCP over the stdin and stdout of a child process.
 *
 * The SDK's own transport doesn't say how its child ended, ends only the child itself, so that a server started by `npx`
 * lives on, doesn't wait for a killed child, starts every server twice to probe it, and gives a server up for one answer
 * that is too large. So this one has a process group per child.
 */
export class ChildTransport implements Transport {
  onclose?: (() => void) | undefined
  onerror?: ((error: Error) => void) | undefined
  onmessage?: Transport['onmessage']
  readonly #init: ChildInit
  readonly #lines: Lines
  #child: ChildProcess | undefined
  #stderr = Buffer.alloc(0)
  #wasLost = false
  #ending: Promise<void> | undefined
  /** Resolves when the process has ended and its pipes are empty. */
  #ended: Promise<void> | undefined

  constructor(init: ChildInit) {
    this.#init = init
    this.#lines = new Lines({
      maxBytes: MAX_MCP_MESSAGE_BYTES,
      onLine: (line) => this.#receive(line),
      onOverlong: (head, tail) => this.#refuse(head, tail)
    })
  }

  /** True when it ended though nobody had closed it. */
  get wasLost(): boolean {
    return this.#wasLost
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }

  /** The last of what the child wrote there. */
  get stderr(): string {
    return stripVTControlCharacters(this.#stderr.toString()).trim()
  }

  /** How it ended; undefined while it runs. */
  get exit(): string | undefined {
    const { exitCode, signalCode } = this.#child ?? {}
    if (typeof signalCode === 'string') return `its process was ended by ${signalCode}`
    return typeof exitCode === 'number' ? `its process ended with exit code ${exitCode}` : undefined
  }

  async start(): Promise<void> {
    const { command, args, cwd, env } = this.#init
    const child = spawn(command, [...args], {
      cwd,
      env: { ...getDefaultEnvironment(), ...env },
      stdio: 'pipe',
      // Its own process group, so that close() reaches what the command started in turn.
      detached: true
    })
    try {
      await once(child, 'spawn')
    } catch (err) {
      const text = err instanceof Error ? err.message : String(err)
      throw new MeshError('AGENT_UNAVAILABLE', `${command} can't be started: ${text}`, { cause: err })
    }
    this.#child = child
    for (const each of [child, child.stdin, child.stdout, child.stderr]) each.on('error', (err) => this.onerror?.(err))
    child.stdout.on('data', (chunk: Buffer) => this.#lines.push(chunk))
    child.stderr.on('data', (chunk: Buffer) => {
      this.#stderr = Buffer.concat([this.#stderr, chunk]).subarray(-STDERR_TAIL_BYTES)
    })
    this.#ended = this.#watch(child)
  }

  send(message: JSONRPCMessage): Promise<void> {
    return new Promise((resolve, reject) => {
      const stdin = this.#child?.stdin
      if (stdin?.writable !== true) throw new MeshError('AGENT_UNAVAILABLE', "the agent's process has ended")
      stdin.write(serializeMessage(message), (err) => (err ? reject(err) : resolve()))
    })
  }

  /** Ends the process and everything it started: SIGTERM, then SIGKILL. Resolves when they are gone. */
  close(): Promise<void> {
    this.#ending ??= this.#end()
    return this.#ending
  }

  async #end(): Promise<void> {
    const child = this.#child
    if (child === undefined || this.#ended === undefined) return
    child.stdin?.end()
    signalGroup(child, 'SIGTERM')
    const grace = new AbortController()
    const timeout = sleep(CLOSE_GRACE_MS, undefined, { signal: grace.signal }).catch(() => {})
    await Promise.race([this.#ended, timeout])
    grace.abort()
    signalGroup(child, 'SIGKILL')
    await this.#ended
  }

  async #watch(child: ChildProcess): Promise<void> {
    const closed = once(child, 'close')
    await once(child, 'exit')
    if (this.#ending === undefined) {
      this.#wasLost = true
      // What the command had started would hold the pipes, without anybody to answer for it.
      signalGroup(child, 'SIGKILL')
      await Promise.race([closed, sleep(DRAIN_MS)])
    } else {
      await Promise.race([closed, sleep(CLOSE_GRACE_MS)])
      signalGroup(child, 'SIGKILL')
    }
    for (const pipe of [child.stdin, child.stdout, child.stderr]) pipe?.destroy()
    this.onclose?.()
  }

  #receive(line: string): void {
    try {
      this.onmessage?.(deserializeMessage(line))
    } catch (err) {
      // Not every server keeps its stdout clean.
      this.onerror?.(err instanceof Error ? err : new Error(String(err)))
    }
  }

  // The answer is gone by; whoever waits for it is told, and the server may go on.
  #refuse(head: string, tail: string): void {
    const id =
      /"id":\s*(\d+)\s*\}\s*$/.exec(tail)?.[1] ?? /^\s*\{(?:"jsonrpc":\s*"2\.0",\s*)?"id":\s*(\d+)/.exec(head)?.[1]
    if (id === undefined) {
      this.onerror?.(new Error('a message larger than the limit, and not an answer'))
      return
    }
    this.onmessage?.({
      jsonrpc: '2.0',
      id: Number(id),
      error: { code: -32_000, message: 'too large', data: ANSWER_TOO_LARGE }
    })
  }
}

function signalGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return
  try {
    process.kill(-child.pid, signal)
  } catch {
    // ESRCH: nobody of the group is left.
  }
}
