/**
 * The bench `agents`: what clients of the WebSocket edge cost while they do nothing. Memory of the node for each connection
 * and each registered agent, and how long a ping takes with all of them there. The clients run in this process.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { WebSocket } from 'ws'
import type { EdgeHost } from './edge-host.ts'
import { median, percentile } from './measure.ts'
import type { BenchContext, BenchOutcome, Result } from './result.ts'

const AGENTS = 1_000
/** Before the first weighing, for code and tables that all of them share. */
const WARM = 100
/** Upgrades, and pings, under way at the same time. */
const AT_ONCE = 16
const ANSWER_MS = 30_000

export const CONNECTION = 'an idle connection'
export const AGENT = 'an idle agent, with its connection'

export async function benchAgents(context: BenchContext): Promise<BenchOutcome> {
  const home = join(context.folder, 'agents')
  mkdirSync(home, { mode: 0o700 })
  const host = fork(new URL('edge-host.ts', import.meta.url), [home], { execArgv: ['--expose-gc'] })
  const sockets: WebSocket[] = []
  const { url, token } = await answerOf<EdgeHost>(host)
  const weigh = (): Promise<number> => {
    host.send('weigh')
    return answerOf<number>(host)
  }
  const connectOne = async (): Promise<WebSocket> => {
    const socket = new WebSocket(url, 'pryx-mesh.v1', { headers: { authorization: `Bearer ${token}` } })
    await once(socket, 'message')
    return socket
  }
  const connectAll = async (until: number): Promise<void> => {
    while (sockets.length < until)
      sockets.push(
        ...(await Promise.all(Array.from({ length: Math.min(AT_ONCE, until - sockets.length) }, connectOne)))
      )
  }
  try {
    await connectAll(WARM)
    for (const [n, socket] of sockets.entries()) await register(socket, `warm-${n}`)
    const before = await weigh()
    context.progress(`agents: ${AGENTS} connections`)
    await connectAll(WARM + AGENTS)
    const connected = await weigh()
    context.progress(`agents: ${AGENTS} of them register`)
    const began = performance.now()
    for (const [n, socket] of sockets.slice(WARM).entries()) await register(socket, `agent-${n}`)
    context.progress(`agents: that took ${Math.round(performance.now() - began)} ms`)
    const registered = await weigh()
    context.progress('agents: pings')
    const times = await pingAll(sockets, context.seconds * context.reps * 1_000)
    const ofConnection = (connected - before) / AGENTS
    return {
      results: [
        resultOf(CONNECTION, ofConnection, times),
        resultOf(AGENT, ofConnection + (registered - connected) / AGENTS, times)
      ],
      skipped: []
    }
  } finally {
    for (const socket of sockets) socket.terminate()
    host.kill()
  }
}

async function answerOf<T>(host: ChildProcess): Promise<T> {
  const signal = AbortSignal.timeout(ANSWER_MS)
  const gone = once(host, 'exit', { signal }).then(([code]) => {
    throw new Error(`the node of the bench ended with ${code}`)
  })
  const [value] = (await Promise.race([once(host, 'message', { signal }), gone])) as [T]
  gone.catch(() => {}) // Now it may.
  return value
}

async function register(socket: WebSocket, name: string): Promise<void> {
  const capabilities = [{ name: 'bench.echo', description: 'gives back what it gets', effects: 'none' }]
  socket.send(JSON.stringify({ type: 'register', agent: { name, capabilities } }))
  const [data] = (await once(socket, 'message')) as [Buffer]
  const { type } = JSON.parse(data.toString()) as { type?: unknown }
  if (type !== 'registered') throw new Error(`${name} was not registered: ${data.toString()}`)
}

/** One client after the other, AT_ONCE at a time. @returns milliseconds from ping to pong */
async function pingAll(sockets: readonly WebSocket[], ms: number): Promise<number[]> {
  const times: number[] = []
  const end = performance.now() + ms
  const lane = async (_: unknown, first: number): Promise<void> => {
    for (let n = first; performance.now() < end; n += AT_ONCE) {
      const socket = sockets[n % sockets.length]
      if (socket === undefined) return
      const began = performance.now()
      socket.ping()
      await once(socket, 'pong')
      times.push(performance.now() - began)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, lane))
  return times
}

function resultOf(what: string, megabytes: number, times: readonly number[]): Result {
  return {
    bench: 'agents',
    system: 'pryx-mesh',
    inFlight: AT_ONCE,
    bytes: 0,
    perSecond: (times.length / times.reduce((sum, each) => sum + each, 0)) * AT_ONCE * 1_000,
    p50Ms: median(times),
    p99Ms: percentile(times, 0.99),
    heldKb: megabytes * 1_000,
    what
  }
}
