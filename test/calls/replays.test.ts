import { createHash } from 'node:crypto'
import { expect, it, vi } from 'vitest'
import type { AgentInit, Node } from '../../src/index.ts'
import { cuttable } from '../cutting.ts'
import { addressOf, failureOf, startNode } from '../nodes.ts'

vi.setConfig({ testTimeout: 60_000 })

/** Numbered texts of very different sizes, made of the seed. */
function textOf(seed: number, n: number): string {
  const hash = createHash('sha256').update(`${seed} ${n}`).digest()
  const times = n % 50 === 0 ? 400 + (hash[0] ?? 0) : (hash[0] ?? 0) % 40
  return `${n} ${hash.toString('hex').repeat(times)} ü`
}

interface Log {
  starts: number
  ends: unknown[]
}

function texts(seed: number, log: Log): AgentInit {
  return {
    name: 'texts',
    allow: 'any',
    capabilities: [
      {
        name: 'read',
        async *handler(input, { signal }) {
          log.starts += 1
          signal.addEventListener('abort', () => log.ends.push((signal.reason as { code?: string }).code))
          const { to } = input as { to: number }
          for (let n = 1; n <= to; n += 1) yield textOf(seed, n)
          log.ends.push('end')
        }
      },
      { name: 'one', handler: () => 'the only one' }
    ]
  }
}

async function startCuttable(seed = 1): Promise<{ near: Node; far: Node; log: Log; cut: () => void }> {
  const { transports, cut } = cuttable()
  const far = await startNode({ name: 'far' })
  const near = await startNode({ name: 'near', transports })
  await near.connect(addressOf(far))
  const log: Log = { starts: 0, ends: [] }
  await far.agents.add(texts(seed, log))
  return { near, far, log, cut }
}

it('a stream that is cut a hundred times is read whole, in order, from one run of the agent', async () => {
  const seed = Math.floor(Math.random() * 1e9)
  console.info(`seed ${seed}`)
  const { near, log, cut } = await startCuttable(seed)
  const to = 4_000
  // Drawn from the seed: after which items it is cut
  const cuts = new Set<number>()
  for (let n = 0; cuts.size < 100; n += 1)
    cuts.add(createHash('sha256').update(`cut ${seed} ${n}`).digest().readUInt32BE() % to)
  let read = 0
  for await (const item of near.stream('@texts', 'read', { to }, { timeoutMs: 60_000 })) {
    read += 1
    if (item !== textOf(seed, read)) expect.fail(`item ${read} of seed ${seed} is another`)
    if (cuts.has(read)) cut()
  }
  expect(read, `seed ${seed}`).toBe(to)
  expect(log).toEqual({ starts: 1, ends: ['end'] })
})
