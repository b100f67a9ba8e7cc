import { expect, it } from 'vitest'
import { CATALOGUE_TOPIC } from '../../src/discovery/constants.ts'
import { until } from '../network/nodes.ts'
import { all } from './mesh.ts'
import { type RealNode, startNode } from './real.ts'

/** Each is connected to somebody and hears of what is on the topics there. */
const joined = (nodes: readonly RealNode[]) =>
  until(() => nodes.every(({ network }) => network.gossip.members(CATALOGUE_TOPIC).length > 0))

async function startMesh(size: number): Promise<RealNode[]> {
  const first = await startNode()
  const address = first.network.status().addresses[0] ?? ''
  return [first, ...(await Promise.all(Array.from({ length: size - 1 }, () => startNode([address]))))]
}

it('finds every agent of a mesh of eight from each of its nodes', { timeout: 60_000 }, async () => {
  const nodes = await startMesh(8)
  const agents = await Promise.all(nodes.map((node, i) => node.offer(`agent-${i}`, [`db.query${i}`, 'echo'])))
  await joined(nodes)
  for (const { discovery } of nodes) {
    const find = async () => {
      const results = discovery.find({ name: 'echo' })
      const found = (await all(results)).map(({ agent }) => agent).sort()
      return { found, ...(await results.summary) }
    }
    // Who has just heard something new doesn't say yet that it knows everything.
    const found = [...agents].sort()
    await expect.poll(find, { timeout: 20_000 }).toEqual({ found, complete: true, count: 8, estimate: 8 })
  }
  for (const { discovery } of nodes) expect(await all(discovery.find({ name: 'db.*' }))).toHaveLength(8)
})

it('tells a watch of what comes, changes and goes, over real topics', { timeout: 60_000 }, async () => {
  const [a, b, c] = await startMesh(3)
  if (a === undefined || b === undefined || c === undefined) throw new Error('three nodes')
  await joined([a, b, c])
  const { signal } = new AbortController()
  const changes = c.discovery.watch({ name: 'db.*', signal })[Symbol.asyncIterator]()
  const next = async () => {
    const { value } = await changes.next()
    return `${value.change} ${value.agent} ${value.capability.name}`
  }
  const agent = await b.offer('sql', ['db.query'])
  expect(await next()).toBe(`added ${agent} db.query`)
  await b.offer('sql', ['db.query', 'db.tables'])
  expect(await next()).toBe(`added ${agent} db.tables`)
  await b.stop()
  expect([await next(), await next()]).toEqual([`gone ${agent} db.query`, `gone ${agent} db.tables`])
  await changes.return?.()
  expect(await all(a.discovery.find({ name: 'db.*' }))).toEqual([])
})
