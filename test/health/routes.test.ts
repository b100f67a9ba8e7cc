import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { createClient } from '../../src/cli/client.ts'
import { openControl } from '../../src/gateway/index.ts'
import type { HealthReport } from '../../src/health/index.ts'
import { startPair } from '../nodes.ts'
import { tempFolder } from '../temp.ts'

async function start() {
  const [near, far] = await startPair()
  const home = await tempFolder()
  const control = await openControl({ node: near, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  await near.agents.add({ name: 'a', capabilities: [{ name: 'work', handler: () => 1 }] })
  return { near, far, client: createClient({ home, signal: new AbortController().signal }) }
}

it('the control socket tells of all, of one, and of an agent', async () => {
  const { near, far, client } = await start()
  const all = await client.ask<HealthReport[]>('GET', '/v1/health')
  expect(all.map(({ id }) => id)).toEqual([`${near.id}/a`, far.id])
  const id = encodeURIComponent(`${near.id}/a`)
  for (const path of [`/v1/health/${id}`, `/v1/agents/${id}/health`, '/v1/agents/a/health', '/v1/health/a'])
    expect(await client.ask('GET', path)).toMatchObject({ kind: 'agent', id: `${near.id}/a`, state: 'up' })
  expect(await client.ask('GET', `/v1/health/${far.id}`)).toMatchObject({ kind: 'peer', state: 'up' })
  await expect(client.ask('GET', '/v1/agents/none/health')).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

it('the control socket asks a peer how it is', async () => {
  const { near, far, client } = await start()
  const path = `/v1/peers/${far.id}/status`
  await expect(client.ask('GET', path)).rejects.toMatchObject({ code: 'FORBIDDEN' })
  await far.trust.set(near.id, { level: 'known' })
  expect(await client.ask('GET', path)).toEqual({
    version: far.status().version,
    uptimeMs: expect.any(Number),
    running: 0
  })
})
