/** The load: how many calls or items a second, and how long each took. Runs in the client's process. */
import { checkEcho, checkItem, nthMessage } from './payload.ts'
import type { Client } from './system.ts'

export interface Load {
  readonly bench: 'call' | 'stream'
  readonly inFlight: number
  readonly seconds: number
  readonly itemsPerStream: number
}

export interface Measured {
  /** Calls or items, those of the ramp included. */
  readonly done: number
  readonly perSecond: number
  readonly p50Ms: number
  readonly p99Ms: number
}

/** Not counted: the queues fill and both sides wake up. */
const RAMP_MS = 100

export async function measure(client: Client, load: Load): Promise<Measured> {
  return load.bench === 'call' ? measureCalls(client, load) : measureStreams(client, load)
}

let sent = 0

async function measureCalls(client: Client, load: Load): Promise<Measured> {
  const latencies: number[] = []
  const first = sent
  const from = performance.now() + RAMP_MS
  const until = from + load.seconds * 1000
  const worker = async (): Promise<void> => {
    for (;;) {
      const message = nthMessage(sent++)
      const began = performance.now()
      checkEcho(message, await client.call(message))
      const ended = performance.now()
      if (ended >= until) return
      if (ended >= from) latencies.push(ended - began)
    }
  }
  await Promise.all(Array.from({ length: load.inFlight }, worker))
  return { done: sent - first, perSecond: latencies.length / load.seconds, ...percentiles(latencies) }
}

async function measureStreams(client: Client, load: Load): Promise<Measured> {
  if (client.stream === undefined) throw new Error('this system does not stream')
  const latencies: number[] = []
  const began = performance.now()
  let now = began
  while (now < began + load.seconds * 1000) {
    let due = 0
    await client.stream(load.itemsPerStream, (item) => checkItem(due++, item))
    if (due !== load.itemsPerStream) throw new Error(`${load.itemsPerStream} items asked for, ${due} came`)
    const ended = performance.now()
    latencies.push(ended - now)
    now = ended
  }
  const done = latencies.length * load.itemsPerStream
  return { done, perSecond: done / ((now - began) / 1000), ...percentiles(latencies) }
}

function percentiles(latencies: readonly number[]): Pick<Measured, 'p50Ms' | 'p99Ms'> {
  return { p50Ms: percentile(latencies, 0.5), p99Ms: percentile(latencies, 0.99) }
}

/** The smallest value that `share` of the values don't exceed; NaN of none. */
export function percentile(values: readonly number[], share: number): number {
  const sorted = Float64Array.from(values).sort()
  const index = Math.max(0, Math.ceil(sorted.length * share) - 1)
  return sorted[index] ?? Number.NaN
}

/** The mean of the two in the middle when their number is even; NaN of none. */
export function median(values: readonly number[]): number {
  const sorted = Float64Array.from(values).sort()
  const upper = sorted[sorted.length >> 1] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : (upper + (sorted[(sorted.length >> 1) - 1] ?? Number.NaN)) / 2
}
