/**
 * One side of the bench `messages`, forked: `take` handles messages, `send ADDRESS AGENT` sends them, `bare` only commits rows.
 * Says `{ ready }`, then answers each `{ seconds }` with what it measured.
 */
import { join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import type * as api from '../../src/index.ts'
import type * as store from '../../src/store/index.ts'
import { built } from './built.ts'
import { percentile } from './measure.ts'

export interface MessageRun {
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
  /** p99 of the delay of the event loop. */
  readonly lagMs: number
}

const IN_FLIGHT = 64
const BODY = { text: 'x'.repeat(1_000) }
/** Not counted: queues fill, both sides wake up. */
const RAMP_MS = 300
const RESOLUTION_MS = 1

const [, , role = '', home = '', address = '', agent = ''] = process.argv
const once = role === 'bare' ? await bare() : await node()

process.on('message', ({ seconds }: { seconds: number }) => {
  void run(seconds).then((measured) => process.send?.({ measured }))
})
process.on('disconnect', () => process.exit())

/** @returns what is done again and again by each of the workers */
async function node(): Promise<(() => Promise<unknown>) | undefined> {
  const { createNode } = await built<typeof api>('index.js')
  const started = await createNode({ home, lan: false, listen: ['/ip4/127.0.0.1/tcp/0'] })
  await started.start()
  if (role === 'take') {
    let count = 0
    await started.agents.add({ name: 'counter', onMessage: (_message, { state }) => state.set('count', ++count) })
    await started.policy.put([{ id: 'bench', effect: 'allow', who: '*', act: 'message.send', res: 'agent:counter' }])
    process.send?.({ ready: { address: started.addresses[0], agent: `${started.id}/counter` } })
    return undefined
  }
  await started.connect(address)
  const waiting = new Map<string, () => void>()
  const early = new Set<string>()
  started.on('message:receipt', ({ id, state }) => {
    if (state !== 'processed') return
    const resolve = waiting.get(id)
    if (resolve === undefined) early.add(id)
    else resolve()
  })
  process.send?.({ ready: {} })
  return async () => {
    const { id } = await started.send(agent, BODY)
    if (early.delete(id)) return
    await new Promise<void>((resolve) => waiting.set(id, resolve))
    waiting.delete(id)
  }
}

async function bare(): Promise<() => Promise<unknown>> {
  const { openStore } = await built<typeof store>('store/index.js')
  const step = 'CREATE TABLE row (n INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body TEXT NOT NULL) STRICT'
  const opened = await openStore({ path: join(home, 'bare.db'), migrations: [{ room: 'bare', steps: [step] }] })
  const body = JSON.stringify(BODY)
  let n = 0
  process.send?.({ ready: {} })
  return () =>
    opened.write([
      {
        sql: 'INSERT INTO row (id, body) VALUES (?, ?)',
        params: [`${Date.now()}-${String(n++).padStart(12, '0')}`, body]
      }
    ])
}

async function run(seconds: number): Promise<MessageRun> {
  const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS })
  const latencies: number[] = []
  const from = performance.now() + RAMP_MS
  const until = from + seconds * 1000
  const worker = async (): Promise<void> => {
    for (;;) {
      const began = performance.now()
      await once?.()
      const ended = performance.now()
      if (ended >= until) return
      if (ended >= from) latencies.push(ended - began)
    }
  }
  delay.enable()
  if (once === undefined) await new Promise((resolve) => setTimeout(resolve, RAMP_MS + seconds * 1000))
  else await Promise.all(Array.from({ length: IN_FLIGHT }, worker))
  delay.disable()
  return {
    perSecond: latencies.length / seconds,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    lagMs: delay.percentile(99) / 1e6
  }
}
