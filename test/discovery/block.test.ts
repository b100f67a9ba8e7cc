import { expect, it } from 'vitest'
import { addressOf, nextEvent, startNode } from '../nodes.ts'

it('what a blocked peer offers is gone from view at once, and back when it is let in again', async () => {
  const [near, far] = [await startNode({ name: 'near' }), await startNode({ name: 'far' })]
  const { id } = await far.agents.add({ name: 'echo', capabilities: [{ name: 'echo', handler: (input) => input }] })
  const shows = (event: 'capability:found' | 'capability:gone') => nextEvent(near, event, ({ agent }) => agent === id)
  const found = shows('capability:found')
  await near.connect(addressOf(far))
  await found
  const gone = shows('capability:gone')
  await near.trust.set(far.id, { level: 'blocked' })
  await gone
  expect(await Array.fromAsync(near.find({ name: 'echo', timeoutMs: 300 }))).toEqual([])
  await near.trust.set(far.id, { level: 'unknown' })
  const again = shows('capability:found')
  await near.connect(addressOf(far))
  await again
})
