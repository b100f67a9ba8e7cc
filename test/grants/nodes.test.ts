import { expect, it } from 'vitest'
import type { Node } from '../../src/index.ts'
import { addressOf, failureOf, startNode } from '../nodes.ts'

/** An owner whose tool waits for a yes, the holder of a grant for it, and a guest to whom it was passed on. */
async function threeNodes(): Promise<{
  owner: Node
  holder: Node
  guest: Node
  root: string
  sub: string
  write: (node: Node) => Promise<unknown>
}> {
  const owner = await startNode({ name: 'owner' })
  const [holder, guest] = [await startNode({ name: 'holder' }), await startNode({ name: 'guest' })]
  const write = { name: 'write', effects: 'write' as const, handler: () => 'written' }
  await owner.agents.add({ name: 'fs', capabilities: [write] })
  for (const node of [holder, guest]) await owner.trust.set(node.id, { level: 'known' })
  const terms = { act: 'tool.call', res: 'tool:fs/*', depth: 1 }
  const root = await owner.grants.issue({ holder: holder.id, ...terms })
  await holder.grants.keep(root.chain)
  const sub = await holder.grants.delegate(root.id, guest.id, { res: 'tool:fs/write', uses: 2 })
  await guest.grants.keep(sub.chain)
  await guest.connect(addressOf(owner))
  return {
    owner,
    holder,
    guest,
    root: root.id,
    sub: sub.id,
    write: (node) => node.call(`${owner.id}/fs`, 'write', {})
  }
}

const PENDING = { code: 'PERMISSION_PENDING' }

it('a grant that was passed on lets its holder call, as often as it says, without the owner being asked', async () => {
  const { owner, holder, guest, root, sub, write } = await threeNodes()
  expect(await write(guest)).toBe('written')
  expect(await write(guest)).toBe('written')
  expect(owner.permissions.list()).toEqual([])
  expect(owner.grants.get(root)).toMatchObject({ used: 2 })
  expect(owner.grants.get(sub)).toMatchObject({ role: 'presented', used: 2, state: 'used-up' })
  expect(await failureOf(write(guest))).toMatchObject(PENDING)
  await holder.connect(addressOf(owner))
  expect(await write(holder)).toBe('written')
})

it('a rule that denies is not overridden by a grant', async () => {
  const { owner, guest, write } = await threeNodes()
  await owner.policy.put([{ id: 'no', effect: 'deny', who: guest.id, act: 'tool.call', res: 'tool:fs/*' }])
  expect(await failureOf(write(guest))).toMatchObject({ code: 'FORBIDDEN' })
})

it('the owner learns at once that who passed a grant on has revoked it', async () => {
  const { owner, holder, guest, sub, write } = await threeNodes()
  await holder.connect(addressOf(owner))
  expect(await write(guest)).toBe('written')
  await holder.grants.revoke(sub)
  await expect.poll(() => owner.grants.get(sub)?.state).toBe('revoked')
  expect(await failureOf(write(guest))).toMatchObject(PENDING)
})

it('the owner learns of it at the next connection when there was none', async () => {
  const { owner, holder, guest, sub, write } = await threeNodes()
  expect(await write(guest)).toBe('written')
  await holder.grants.revoke(sub)
  await holder.connect(addressOf(owner))
  await expect.poll(() => owner.grants.get(sub)?.state).toBe('revoked')
  expect(await failureOf(write(guest))).toMatchObject(PENDING)
})

it('a peer that is blocked loses its grants, and so do those to whom it passed them on', async () => {
  const { owner, holder, guest, sub, write } = await threeNodes()
  expect(await write(guest)).toBe('written')
  await owner.trust.set(holder.id, { level: 'blocked' })
  await expect.poll(() => owner.grants.get(sub)?.state).toBe('revoked')
  expect(await failureOf(write(guest))).toMatchObject(PENDING)
})
