import { expect, it } from 'vitest'
import { failureOf, startPair } from '../nodes.ts'

it('a limit of cost is used up by what the agent charges, and then refuses', async () => {
  const [near, far] = await startPair()
  const { id } = await far.agents.add({
    name: 'model',
    capabilities: [
      {
        name: 'think',
        handler: (_input, { charge }) => {
          charge(2)
          charge(Number.NaN)
          charge(0.5)
          return 'thought'
        }
      }
    ]
  })
  const rule = { id: 'paid', effect: 'allow', who: near.id, act: 'tool.call', res: 'tool:model/*' } as const
  await far.policy.put([{ ...rule, limit: { cost: '5.00/1d' } }])
  expect(await near.call(id, 'think')).toBe('thought')
  expect(await near.call(id, 'think')).toBe('thought')
  expect(await failureOf(near.call(id, 'think'))).toMatchObject({ code: 'LIMIT_EXCEEDED', data: { limit: 'cost' } })
})
