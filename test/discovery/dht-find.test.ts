import { expect, it } from 'vitest'
import { textOf } from '../../src/discovery/dht-holders.ts'
import type { FindStep } from '../../src/discovery/index.ts'
import { nameKey } from '../../src/discovery/names.ts'
import { until } from '../network/nodes.ts'
import { all } from './mesh.ts'
import { type RealNode, startNode } from './real.ts'

/** Nodes that gossip nothing: what they know of each other comes from connections and the DHT. */
async function startMesh(size: number): Promise<RealNode[]> {
  const init = { catalogueNodes: 0, settleMs: 0 }
  const first = await startNode([], init)
  const address = first.network.status().addresses[0] ?? ''
  const others = await Promise.all(Array.from({ length: size - 1 }, () => startNode([address], init)))
  const nodes = [first, ...others]
  await until(() => nodes.every(({ network }) => network.dht.status().tableSize > 0))
  return nodes
}

it('publishes at those who are near to a key, who then name the provider and where it is', {
  timeout: 60_000
}, async () => {
  const [first, provider, seeker] = await startMesh(12)
  if (first === undefined || provider === undefined || seeker === undefined) throw new Error('three nodes')
  const agent = await provider.offer('rare', ['rare.thing'])
  await expect.poll(() => provider.discovery.status().published, { timeout: 20_000 }).toBeGreaterThan(15)
  const steps: FindStep[] = []
  const results = seeker.discovery.find({ name: 'rare.thing', kind: 'tool', onStep: (step) => steps.push(step) })
  expect(await all(results)).toMatchObject([{ agent, peer: provider.id }])
  expect(await results.summary).toEqual({ complete: true, count: 1, estimate: 1 })
  expect(steps[0]).toMatchObject({ step: 'began', catalogue: 'off' })
  const holders = steps.filter((step) => step.step === 'holder' && step.outcome === 'answered')
  expect(holders.length).toBeGreaterThan(5)
  expect(holders.filter((step) => step.step === 'holder' && step.named === 1 && step.total === 1)).not.toEqual([])
  expect(steps.at(-1)).toMatchObject({ step: 'ended', why: 'exhausted', complete: true })
  const answer = first.network.dht.holder.sample(textOf(nameKey('tool', 'rare.thing')))
  expect(answer).toMatchObject([{ peer: provider.id, hint: { addresses: [expect.stringContaining('/memory/')] } }])
})

it('takes back at its end what it had published', { timeout: 60_000 }, async () => {
  const [first, provider] = await startMesh(6)
  if (first === undefined || provider === undefined) throw new Error('two nodes')
  await provider.offer('brief', ['brief.thing'])
  const entries = () => first.network.dht.holder.status().entries
  await expect.poll(entries, { timeout: 20_000 }).toBe(2)
  await provider.discovery.stop()
  await expect.poll(() => first.network.dht.holder.status().withdrawn, { timeout: 10_000 }).toBe(2)
})
