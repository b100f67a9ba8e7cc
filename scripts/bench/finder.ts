/** A node of the bench `find` in a process of its own: `node finder.ts offer|find CAPABILITY HOME`. Ends with its parent. */
import { setTimeout as sleep } from 'node:timers/promises'
import type * as product from '../../src/index.ts'
import { built } from './built.ts'

/** What the finding node reports; times in ms. */
export interface Found {
  /** When the first find gave the tool, since the epoch. */
  readonly at: number
  /** The same, since `node.start()` was called. */
  readonly sinceStartMs: number
  /** Finds when it is known: to the tool, and to the end of the results. */
  readonly cachedMs: readonly number[]
  readonly cachedEndMs: readonly number[]
}

const CACHED_FINDS = 100
/** Between finds that found nothing, because nobody has been met yet. */
const PAUSE_MS = 10

const [role, capability = '', home = ''] = process.argv.slice(2)
const { createNode } = await built<typeof product>('index.js')
const node = await createNode({ home, name: `bench-${role}`, lan: true })
process.on('disconnect', () => {
  const exit = (): never => process.exit()
  node.stop().then(exit, exit)
})

const began = performance.now()
await node.start()
if (role === 'offer') await offer()
else await find()

async function offer(): Promise<void> {
  await node.agents.add({ name: 'bench', capabilities: [{ name: capability, handler: () => null }] })
  const { lan } = node.status()
  process.send?.(lan === 'on' ? { ready: true } : { skip: `LAN discovery is off here: ${lan}` })
}

async function find(): Promise<void> {
  let foundAt = await findOnce()
  for (; foundAt === undefined; foundAt = await findOnce()) await sleep(PAUSE_MS)
  const cachedMs: number[] = []
  const cachedEndMs: number[] = []
  for (let i = 0; i < CACHED_FINDS; i++) {
    const from = performance.now()
    const first = await findOnce()
    cachedEndMs.push(performance.now() - from)
    if (first === undefined) throw new Error('a tool that was found is not found again')
    cachedMs.push(first - from)
  }
  const found: Found = { at: performance.timeOrigin + foundAt, sinceStartMs: foundAt - began, cachedMs, cachedEndMs }
  process.send?.(found)
}

/** @returns when the first result came; the results are read to their end */
async function findOnce(): Promise<number | undefined> {
  let first: number | undefined
  for await (const _ of node.find({ kind: 'tool', name: capability, timeoutMs: 5_000 })) first ??= performance.now()
  return first
}
