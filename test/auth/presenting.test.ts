import { expect, it } from 'vitest'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'

const ECHO = { name: 'echo', capabilities: [{ name: 'echo', handler: (input: unknown) => input }] }

/** Two nodes that aren't connected: the far one serves whoever has the scope. */
async function startScoped() {
  const [near, far] = [await startNode({ name: 'near' }), await startNode({ name: 'far' })]
  await far.agents.add(ECHO)
  await far.policy.put([{ id: 'build', effect: 'allow', who: 'scope:build', act: '*.call', res: 'tool:echo/*' }])
  const { key, info } = await far.keys.create({ name: 'ci', scopes: ['build'] })
  return { near, far, key, info, call: () => near.call(`${far.id}/echo`, 'echo', { a: 1 }) }
}

it('a key that a node holds for a peer is presented before the first call, and lets it in', async () => {
  const { near, far, key, call } = await startScoped()
  await near.keys.hold(far.id, key)
  await near.connect(addressOf(far))
  expect(await call()).toEqual({ a: 1 })
})

it('a key that comes later is presented at the next call, and no longer serves once it is revoked', async () => {
  const { near, far, key, info, call } = await startScoped()
  await near.connect(addressOf(far))
  expect(await failureOf(call())).toMatchObject({ code: 'FORBIDDEN' })
  await near.keys.hold(far.id, key)
  expect(await call()).toEqual({ a: 1 })
  await far.keys.revoke(info.id)
  expect(await failureOf(call())).toMatchObject({ code: 'FORBIDDEN' })
})

it('a key of another peer is refused, told to both sides, and opens nothing', async () => {
  const { near, far, key, call } = await startScoped()
  await near.keys.hold(far.id, key)
  await near.connect(addressOf(far))
  await call()
  const thief = await startNode({ name: 'thief' })
  const told = nextEvent(thief, 'credential:refused')
  const seen = nextEvent(far, 'credential:presented', ({ peer }) => peer === thief.id)
  await thief.keys.hold(far.id, key)
  await thief.connect(addressOf(far))
  expect(await failureOf(thief.call(`${far.id}/echo`, 'echo', {}))).toMatchObject({ code: 'FORBIDDEN' })
  expect(await told).toMatchObject({ peer: far.id, method: 'api-key' })
  const { refusal, ...rest } = await seen
  expect(rest).toEqual({ peer: thief.id, method: 'api-key' })
  expect(`${refusal}`).not.toContain(key)
})

it('a known peer sees what is for paired peers only, and an unknown one does not', async () => {
  const [near, far] = [await startNode({ name: 'near' }), await startNode({ name: 'far' })]
  await far.agents.add({ ...ECHO, audience: 'paired' })
  await near.connect(addressOf(far))
  expect(await failureOf(near.resolve(`${far.id}/echo`))).toMatchObject({ code: 'NOT_FOUND' })
  await far.trust.set(near.id, { level: 'known' })
  expect(await near.resolve(`${far.id}/echo`)).toMatchObject({ record: { audience: 'paired' } })
})

it('a peer that becomes known finds by name what is for paired peers only, and what comes to it', async () => {
  const [near, far] = [await startNode({ name: 'near' }), await startNode({ name: 'far' })]
  await far.agents.add({ ...ECHO, audience: 'paired' })
  await near.connect(addressOf(far))
  const found = async () => (await Array.fromAsync(near.find({ name: 'echo' }))).map(({ agent }) => agent)
  // Once asked, and so known to have nothing
  expect(await found()).toEqual([])
  await far.trust.set(near.id, { level: 'known' })
  await expect.poll(found).toEqual([`${far.id}/echo`])
  await far.agents.add({ ...ECHO, name: 'other', audience: 'paired' })
  await expect.poll(found).toEqual(expect.arrayContaining([`${far.id}/echo`, `${far.id}/other`]))
  await far.agents.remove('other')
  await expect.poll(found, { timeout: 5_000 }).toEqual([`${far.id}/echo`])
})
