import { expect, it } from 'vitest'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { pendingOf } from './room.ts'

/** An owner that is asked about each call, and a peer that it knows. */
async function ownerAndAsker() {
  const owner = await startNode({ name: 'owner' })
  const asker = await startNode({ name: 'asker' })
  const written: unknown[] = []
  await owner.agents.add({
    name: 'fs',
    capabilities: [{ name: 'write', effects: 'write', handler: (input) => void written.push(input) }]
  })
  await owner.trust.set(asker.id, { level: 'known' })
  await asker.connect(addressOf(owner))
  const write = (path: string, options = {}) => asker.call(`${owner.id}/fs`, 'write', { path }, options)
  return { owner, asker, written, write }
}

it('a peer that is blocked while it waits gets nothing, and what it asked for is denied', async () => {
  const { owner, asker, written, write } = await ownerAndAsker()
  const asked = nextEvent(owner, 'permission:asked')
  const gaveUp = new AbortController()
  const waiting = failureOf(write('a.txt', { wait: true, signal: gaveUp.signal }))
  const { id } = await asked
  const denied = nextEvent(owner, 'permission:answered')
  await owner.trust.set(asker.id, { level: 'blocked' })
  expect(await denied).toMatchObject({ id, state: 'denied', by: 'block' })
  expect(await failureOf(owner.permissions.allow(id, { remember: 'once' }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  gaveUp.abort()
  expect(await waiting).toHaveProperty('code')
  expect([written, owner.status().pendingApprovals]).toEqual([[], 0])
})

it.each(['session', 'always'] as const)(
  'what was allowed (%s) is gone when the peer is let in again',
  async (remember) => {
    const { owner, asker, written, write } = await ownerAndAsker()
    await owner.permissions.allow(await pendingOf(write('a.txt')), { remember })
    await write('a.txt')
    const revoked = nextEvent(owner, 'grant:revoked')
    const left = nextEvent(asker, 'peer:leave')
    await owner.trust.set(asker.id, { level: 'blocked' })
    await Promise.all([revoked, left])
    await owner.trust.set(asker.id, { level: 'known' })
    await asker.connect(addressOf(owner))
    await pendingOf(write('b.txt'))
    expect(written).toEqual([{ path: 'a.txt' }])
  }
)

it('a yes that is under way when its peer is blocked leaves no grant', async () => {
  const { owner, asker, write } = await ownerAndAsker()
  const id = await pendingOf(write('a.txt'))
  const allowing = owner.permissions.allow(id, { remember: 'always' }).catch(() => {})
  await owner.trust.set(asker.id, { level: 'blocked' })
  await allowing
  await expect.poll(() => owner.grants.list().filter(({ state }) => state === 'valid')).toEqual([])
  expect(owner.permissions.list({ state: 'pending' })).toEqual([])
})
