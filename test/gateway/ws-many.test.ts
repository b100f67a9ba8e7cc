import { expect, it, vi } from 'vitest'
import { MAX_PEER_HINTS } from '../../src/discovery/constants.ts'
import { MAX_AGENTS } from '../../src/registry/index.ts'
import { addressOf, startNode } from '../nodes.ts'
import { type Client, connect, startEdge } from './ws-kit.ts'

// Some three hundred agents, each with a record that is signed and sent
vi.setConfig({ testTimeout: 60_000 })

const PER_CONNECTION = 16

async function registerMany(client: Client, names: readonly string[]): Promise<void> {
  for (const name of names)
    client.send({ type: 'register', agent: { name, capabilities: [{ name: 'echo', effects: 'none' }] } })
  for (const name of names) await client.take('registered', ({ agent }) => agent === name)
}

it('more agents dial in than an owner may configure, and peers find those that no hint tells of', async () => {
  const { node, url, ownerToken } = await startEdge()
  const peer = await startNode({ name: 'peer' })
  await peer.connect(addressOf(node))
  await node.policy.put([{ id: 'all', effect: 'allow', who: '*', act: 'tool.call', res: '*' }])
  const names = Array.from({ length: MAX_AGENTS + PER_CONNECTION }, (_, n) => `agent-${n}`)
  expect(names.length).toBeGreaterThan(MAX_PEER_HINTS)
  for (let at = 0; at < names.length; at += PER_CONNECTION)
    await registerMany(await connect({ url, token: ownerToken }), names.slice(at, at + PER_CONNECTION))
  expect(node.status().agents).toBe(names.length)
  const own = { name: 'own', capabilities: [{ name: 'one', handler: () => 1 }] }
  await expect(node.agents.add(own)).resolves.toMatchObject({ state: 'up' })
  await expect.poll(() => peer.status().records, { timeout: 40_000, interval: 200 }).toBe(names.length + 1)
  expect(peer.status().refused).toEqual({})
  expect(await peer.call(`${node.id}/own`, 'one')).toBe(1)
})

it('beyond as many as the owner lets in, agents are refused, and the first ones stay', async () => {
  const { node, url, ownerToken } = await startEdge({ node: { edge: { listen: '127.0.0.1:0', maxAgents: 2 } } })
  const client = await connect({ url, token: ownerToken })
  await registerMany(client, ['one', 'two'])
  client.send({ type: 'register', agent: { name: 'three', capabilities: [] } })
  expect(await client.take('refused')).toMatchObject({ agent: 'three', error: { code: 'BUSY' } })
  expect(node.agents.list().map(({ state }) => state)).toEqual(['up', 'up'])
})
