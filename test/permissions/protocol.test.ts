import { expect, it, onTestFinished, vi } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { DEFAULT_TTL_MS, MAX_WAITS_PER_PEER } from '../../src/permissions/constants.ts'
import { statusAnswer } from '../../src/permissions/messages.ts'
import { ALICE, ASK, BOB, openRoom, pendingOf, questionOf, WRITE } from './room.ts'

const INPUT = { path: 'a.txt' }
const REQUEST = { op: 'request', agent: 'fs', capability: 'write' }

it('a request ahead is pending, then allowed with the chain of its grant', async () => {
  const { ask, permissions, grants } = await openRoom()
  const wanted = { forMs: 3_600_000, uses: 100, reason: 'nightly report' }
  const asked = statusAnswer.parse(await ask(ALICE, { ...REQUEST, ...wanted }))
  expect(asked.state).toBe('pending')
  expect(permissions.get(asked.id)).toMatchObject({ wanted, digest: WRITE.digest, resource: 'tool:fs/write' })
  await permissions.allow(asked.id, { remember: 'duration', forMs: 3_600_000, uses: 100 })
  expect(await ask(ALICE, { op: 'status', id: asked.id })).toMatchObject({ state: 'allowed', chain: ['chain-0'] })
  expect(grants.issued[0]).toMatchObject({ holder: ALICE, res: 'tool:fs/write', uses: 100 })
  expect(await ask(ALICE, REQUEST), 'now it is allowed at once').toMatchObject({ state: 'allowed' })
  expect(permissions.pending).toBe(0)
})

it('what policy allows is not asked', async () => {
  const { ask, permissions, policy } = await openRoom()
  await policy.put([{ id: 'mine', effect: 'allow', who: ALICE, act: 'tool.call', res: 'tool:fs/*' }])
  expect(await ask(ALICE, REQUEST)).toMatchObject({ state: 'allowed' })
  expect(permissions.pending).toBe(0)
})

it('what policy denies is not asked either', async () => {
  const { ask, permissions, policy } = await openRoom()
  await policy.put([{ id: 'no', effect: 'deny', who: ALICE, act: 'tool.call', res: 'tool:fs/*' }])
  await expect(ask(ALICE, REQUEST)).rejects.toMatchObject({ code: 'FORBIDDEN' })
  expect(permissions.pending).toBe(0)
})

it.each([
  { id: 'a capability that is not there', body: { ...REQUEST, capability: 'none' }, code: 'NOT_FOUND' },
  { id: 'a request of nobody', body: { op: 'status', id: 'a'.repeat(32) }, code: 'NOT_FOUND' },
  { id: 'a body that is none', body: null, code: 'INVALID_MESSAGE' },
  { id: 'an operation that is none', body: { op: 'shout' }, code: 'INVALID_MESSAGE' },
  { id: 'an id that is none', body: { op: 'wait', id: '../..' }, code: 'INVALID_MESSAGE' }
])('$id is $code', async ({ body, code }) => {
  const { ask } = await openRoom()
  await expect(ask(ALICE, body)).rejects.toMatchObject({ code })
})

it('a stranger may not ask, and learns nothing of what exists', async () => {
  const { ask, permissions, policy } = await openRoom()
  await policy.remove(['known-requests'])
  const refusals = await Promise.allSettled([ask(ALICE, REQUEST), ask(ALICE, { ...REQUEST, capability: 'none' })])
  expect(refusals).toMatchObject([{ reason: { code: 'FORBIDDEN' } }, { reason: { code: 'FORBIDDEN' } }])
  expect(permissions.pending).toBe(0)
})

it('another peer neither sees a request nor waits for it', async () => {
  const { ask, permissions } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  expect(await ask(ALICE, { op: 'status', id })).toMatchObject({ id, state: 'pending' })
  for (const op of ['status', 'wait']) {
    await expect(ask(BOB, { op, id })).rejects.toMatchObject({ code: 'NOT_FOUND' })
  }
})

it('the asker learns nothing of what the owner sees beside its answer', async () => {
  const { ask, permissions } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  await permissions.deny(id, { reason: 'no' })
  expect(Object.keys((await ask(ALICE, { op: 'status', id })) as object).sort()).toEqual([
    'deadline',
    'id',
    'reason',
    'state'
  ])
})

it('a wait is answered with the answer', async () => {
  const { ask, permissions } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const waiting = ask(ALICE, { op: 'wait', id })
  await permissions.allow(id, { remember: 'once' })
  expect(await waiting).toMatchObject({ id, state: 'allowed' })
  expect(await ask(ALICE, { op: 'wait', id }), 'at once when it is answered').toMatchObject({ state: 'allowed' })
})

it('a wait that nobody answers ends as pending, and as expired at the deadline', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const { ask, permissions } = await openRoom({ clock: () => Date.now() })
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const short = ask(ALICE, { op: 'wait', id, forMs: 500 })
  await vi.advanceTimersByTimeAsync(500)
  expect(await short).toMatchObject({ state: 'pending' })
  await vi.advanceTimersByTimeAsync(DEFAULT_TTL_MS - 1_000)
  const long = ask(ALICE, { op: 'wait', id })
  await vi.advanceTimersByTimeAsync(600)
  expect(await long).toMatchObject({ state: 'expired' })
})

it('a peer has a few waits at a time; more are answered at once', async () => {
  const { ask, permissions } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const gone = new AbortController()
  const waits = Array.from({ length: MAX_WAITS_PER_PEER }, () => ask(ALICE, { op: 'wait', id }, gone.signal))
  expect(await ask(ALICE, { op: 'wait', id })).toMatchObject({ state: 'pending' })
  gone.abort()
  expect(await Promise.all(waits)).toHaveLength(MAX_WAITS_PER_PEER)
  const again = ask(ALICE, { op: 'wait', id })
  await permissions.deny(id)
  expect(await again).toMatchObject({ state: 'denied' })
})

it('the answer is heeded once, from whom was asked, about what was asked', async () => {
  const { ask, events, permissions } = await openRoom()
  const [real, forged] = ['a'.repeat(32), 'f'.repeat(32)]
  permissions.expect(ALICE, new MeshError('PERMISSION_PENDING', 'wait', { data: { id: real } }))
  const decided = (peer: string, id: string) => ask(peer, { op: 'decided', id, state: 'allowed' })
  await decided(BOB, real)
  await decided(ALICE, forged)
  expect(events).toEqual([])
  await decided(ALICE, real)
  await decided(ALICE, real)
  expect(events).toEqual([['permission:decided', real]])
})
