import { expect, it, onTestFinished, vi } from 'vitest'
import { REPUBLISH_MS } from '../../src/discovery/constants.ts'
import { TestMesh, until } from './mesh.ts'

const silent = () => ({ records: [], more: false, hints: [] })

it('members of a capability topic meet by the key of its name space', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const mesh = new TestMesh()
  const [a, b, c] = [await mesh.node(), await mesh.node(), await mesh.node()]
  await a.offer('sql', ['db.query'])
  await b.offer('sql', ['db.tables'])
  await c.offer('fs', ['read'])
  mesh.link(a, mesh.stranger(silent))
  await vi.advanceTimersByTimeAsync(REPUBLISH_MS)
  await until(() => a.connected.has(b.id))
  expect(a.connected.has(c.id)).toBe(false)
})

it('who is connected to everybody it knows of looks for nobody', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  onTestFinished(() => void vi.useRealTimers())
  const mesh = new TestMesh()
  const find = vi.fn<() => AsyncGenerator<string>>(async function* () {})
  const [a, b] = [await mesh.node(), await mesh.node()]
  a.network.providers.find = find
  await a.offer('sql', ['db.query'])
  mesh.link(a, b)
  await vi.advanceTimersByTimeAsync(3 * REPUBLISH_MS)
  expect(find).not.toHaveBeenCalled()
})
