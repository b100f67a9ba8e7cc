import { expect, it, onTestFinished, vi } from 'vitest'
import { CATALOGUE_TABLE_PEERS, REPUBLISH_MS } from '../../src/discovery/constants.ts'
import { TestMesh, until } from './mesh.ts'

const silent = () => ({ records: [], more: false, hints: [] })

it('members of a capability topic meet by the key of its name space', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const mesh = new TestMesh()
  mesh.routingTable = CATALOGUE_TABLE_PEERS + 1
  const [a, b, c] = [await mesh.node(), await mesh.node(), await mesh.node()]
  for (const node of [a, b, c]) mesh.link(node, mesh.stranger(silent))
  await a.offer('sql', ['db.query'])
  await b.offer('sql', ['db.tables'])
  await c.offer('fs', ['read'])
  await vi.advanceTimersByTimeAsync(REPUBLISH_MS)
  await until(() => a.connected.has(b.id))
  expect(a.connected.has(c.id)).toBe(false)
})

it('nobody is looked for as long as the catalogue covers the mesh', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const mesh = new TestMesh()
  const [a, b] = [await mesh.node(), await mesh.node()]
  const walk = vi.spyOn(a.network.dht, 'walk')
  await a.offer('sql', ['db.query'])
  mesh.link(a, b)
  await vi.advanceTimersByTimeAsync(3 * REPUBLISH_MS)
  expect(walk).not.toHaveBeenCalled()
})
