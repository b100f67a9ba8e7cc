import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import {
  DENIAL_HOLDS_MS,
  MAX_OPEN_PER_PEER,
  MAX_SHOWN_INPUT_BYTES,
  permissionsMigrations,
  type Question
} from '../../src/permissions/index.ts'
import { openStore } from '../../src/store/index.ts'
import { diffDefinitions } from '../../src/tools/index.ts'
import { digest } from '../../src/wire/index.ts'
import { callerOf } from '../callers.ts'
import { failureOf } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { ALICE, ASK, BOB, capabilityOf, fakeGrants, openRoom, pendingOf, questionOf, WRITE } from './room.ts'

const INPUT = { path: 'a.txt', text: 'hi' }

it('a question becomes a request that shows who asks, for what, and until when', async () => {
  const { permissions, events } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  expect(id).toMatch(/^[0-9a-f]{32}$/)
  const request = permissions.get(id)
  expect(request).toMatchObject({
    id,
    state: 'pending',
    peer: ALICE,
    trust: 'known',
    resource: 'tool:fs/write',
    digest: WRITE.digest,
    rules: ['known-calls'],
    times: 1,
    input: { json: '{"path":"a.txt","text":"hi"}', bytes: 28, digest: digest(INPUT), isCut: false }
  })
  expect(Date.parse(request?.deadline ?? '') - Date.parse(request?.askedAt ?? '')).toBe(600_000)
  expect(request?.fingerprint).toMatch(/^(\d{5} ){4}\d{5}$/)
  expect(events).toEqual([['permission:asked', id]])
  expect(permissions.pending).toBe(1)
})

it('the error names the request and its deadline, and is retryable', async () => {
  const { permissions } = await openRoom()
  const err = await failureOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const [request] = permissions.list()
  expect(err).toMatchObject({
    code: 'PERMISSION_PENDING',
    retryable: true,
    data: { id: request?.id, deadline: request?.deadline }
  })
})

it('once allows this very input one time', async () => {
  const { permissions, grants } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const answered = await permissions.allow(id, { remember: 'once' })
  expect(answered).toMatchObject({ state: 'allowed', answeredBy: 'owner', grant: 'g0' })
  expect(grants.issued[0]).toMatchObject({ uses: 1, input: digest(INPUT), digest: WRITE.digest, holder: ALICE })
  await pendingOf(permissions.permit(ASK, questionOf(ALICE, { path: 'b.txt' })))
  await pendingOf(permissions.permit(ASK, questionOf(BOB, INPUT)))
  await expect(permissions.permit(ASK, questionOf(ALICE, INPUT))).resolves.toMatchObject({ grant: { id: 'g0' } })
  await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
})

it('a grant that was allowed ends with the definition it was allowed for', async () => {
  const { permissions } = await openRoom()
  await permissions.allow(await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT))), { remember: 'always' })
  await expect(permissions.permit(ASK, questionOf(ALICE, { path: 'b.txt' }))).resolves.toBeDefined()
  const other = questionOf(ALICE, INPUT, { capability: capabilityOf({ description: 'deletes everything' }) })
  await pendingOf(permissions.permit(ASK, other))
})

it('what changed since it was last allowed to the peer is shown, to no other peer', async () => {
  const { permissions } = await openRoom({ diff: diffDefinitions })
  await permissions.allow(await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT))), { remember: 'once' })
  const capability = capabilityOf({ description: 'deletes everything' })
  const changed = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT, { capability })))
  expect(permissions.get(changed)?.changed).toEqual(['+ description: "deletes everything"'])
  const bobs = await pendingOf(permissions.permit(ASK, questionOf(BOB, INPUT, { capability })))
  expect(permissions.get(bobs)?.changed).toBeUndefined()
})

it('a session answer is good for the connection that asked alone', async () => {
  const { permissions, grants } = await openRoom()
  const question = questionOf(ALICE, INPUT)
  await permissions.allow(await pendingOf(permissions.permit(ASK, question)), { remember: 'session' })
  expect(grants.issued[0]?.session).toBe(question.session)
  await expect(permissions.permit(ASK, { ...question, input: {} })).resolves.toBeDefined()
  await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
})

it('a session answer is refused with advice when the connection that asked is gone', async () => {
  const { permissions, emit } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  emit('peer:leave', { peer: ALICE })
  const err = await failureOf(permissions.allow(id, { remember: 'session' }))
  expect(err).toMatchObject({ code: 'INVALID_ARGUMENT', hint: expect.stringContaining('--for') })
  expect(permissions.get(id)?.state).toBe('pending')
})

it.each([
  { id: 'a duration that is none', answer: { remember: 'duration', forMs: Number.NaN } },
  { id: 'a duration too short', answer: { remember: 'duration', forMs: 10 } },
  { id: 'uses below one', answer: { remember: 'always', uses: 0 } },
  { id: 'once several times', answer: { remember: 'once', uses: 2 } },
  { id: 'what the rule does not offer', answer: { remember: 'always' }, remember: ['once'] }
] as const)('$id is no answer, and the request stays open', async ({ answer, ...rest }) => {
  const { permissions, grants } = await openRoom()
  const remember = 'remember' in rest ? rest.remember : ASK.ask?.remember
  const decision = { ...ASK, ask: { ttlMs: 1_000, remember: remember ?? [] } }
  const id = await pendingOf(permissions.permit(decision, questionOf(ALICE, INPUT)))
  await expect(permissions.allow(id, answer)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect([permissions.get(id)?.state, grants.issued.length]).toEqual(['pending', 0])
})

it('duration and uses go into the grant', async () => {
  const now = 1_700_000_000_000
  const { permissions, grants } = await openRoom({ clock: () => now })
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  await permissions.allow(id, { remember: 'duration', forMs: 3_600_000, uses: 7 })
  expect(grants.issued[0]).toMatchObject({ uses: 7, expiresAt: now + 3_600_000 })
  expect(grants.issued[0]?.input).toBeUndefined()
})

it('the same question asked again is one request', async () => {
  const { permissions, events } = await openRoom()
  const ask = () => pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const ids = await Promise.all([ask(), ask(), ask()])
  ids.push(await ask())
  expect(new Set(ids).size).toBe(1)
  expect(permissions.get(ids[0] ?? '')?.times).toBe(4)
  expect([permissions.pending, events.length]).toEqual([1, 1])
})

it('a peer has a few requests open, and the next is refused without asking', async () => {
  const { permissions } = await openRoom()
  const ask = (peer: string, n: number) => permissions.permit(ASK, questionOf(peer, { n }))
  for (let n = 0; n < MAX_OPEN_PER_PEER; n++) await pendingOf(ask(ALICE, n))
  await expect(ask(ALICE, 9)).rejects.toMatchObject({ code: 'BUSY' })
  await pendingOf(ask(BOB, 9))
  const [first] = permissions.list({ peer: ALICE })
  await permissions.deny(first?.id ?? '')
  await pendingOf(ask(ALICE, 9))
})

it('an input that is too long is shown cut, and bound as a whole', async () => {
  const { permissions } = await openRoom()
  const input = { text: 'ä'.repeat(MAX_SHOWN_INPUT_BYTES) }
  const shown = permissions.get(await pendingOf(permissions.permit(ASK, questionOf(ALICE, input))))?.input
  expect(shown).toMatchObject({ isCut: true, bytes: 2 * MAX_SHOWN_INPUT_BYTES + 11, digest: digest(input) })
  expect(Buffer.byteLength(shown?.json ?? '')).toBeLessThanOrEqual(MAX_SHOWN_INPUT_BYTES)
  expect(shown?.json).not.toContain('\uFFFD')
})

it.each([
  { id: 'a rule that denies', rules: ['no'] },
  { id: 'no rule that allows', rules: [] }
])('$id is not asked about', async ({ rules }) => {
  const { permissions } = await openRoom()
  const err = await failureOf(
    permissions.permit({ effect: 'deny', rules, reason: 'why not' }, questionOf(ALICE, INPUT))
  )
  expect(err).toMatchObject({ code: 'FORBIDDEN', message: 'why not' })
  expect(permissions.pending).toBe(0)
})

it('an explicit deny beats a grant; a missing rule does not', async () => {
  const { permissions, grants } = await openRoom()
  await grants.issue({ holder: ALICE, act: 'tool.call', res: 'tool:fs/write' })
  const question = questionOf(ALICE, INPUT)
  await expect(permissions.permit({ effect: 'deny', rules: ['no'], reason: '' }, question)).rejects.toThrow(MeshError)
  await expect(permissions.permit({ effect: 'deny', rules: [], reason: '' }, question)).resolves.toBeDefined()
})

it('who may ask ahead is told how when denied, others are not', async () => {
  const { permissions } = await openRoom()
  const deny = { effect: 'deny', rules: [], reason: 'no rule' } as const
  const known: Question = questionOf(ALICE, INPUT)
  const caller = callerOf(ALICE, 'unknown')
  expect(await failureOf(permissions.permit(deny, known))).toMatchObject({
    hint: 'pryx-mesh permission request @fs write --for 1h'
  })
  const err = await failureOf(permissions.permit(deny, { ...known, caller }))
  expect((err as MeshError).hint).toBeUndefined()
})

it('denied for ever becomes a rule, with an id that is one', async () => {
  const { permissions, policy } = await openRoom()
  const question = questionOf(ALICE, INPUT)
  const id = await pendingOf(permissions.permit(ASK, question))
  expect(await permissions.deny(id, { forever: true, reason: 'not you' })).toMatchObject({
    state: 'denied',
    reason: 'not you'
  })
  const { caller, action, resource } = question
  expect(policy.judge({ caller, action, resource })).toMatchObject({
    effect: 'deny',
    rules: [`deny:${ALICE.slice(-16)}:tool:fs/write`]
  })
  expect(policy.judge({ caller: callerOf(BOB, 'known'), action, resource }).effect).toBe('ask')
})

it('a request is answered once', async () => {
  const { permissions, grants } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const answers = await Promise.allSettled([
    permissions.allow(id, { remember: 'once' }),
    permissions.allow(id, { remember: 'always' }),
    permissions.deny(id)
  ])
  expect(answers.map(({ status }) => status).sort()).toEqual(['fulfilled', 'rejected', 'rejected'])
  expect(grants.issued).toHaveLength(1)
  await expect(permissions.deny(id)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  await expect(permissions.allow('no-such-id', { remember: 'once' })).rejects.toMatchObject({ code: 'NOT_FOUND' })
})

it('a grant that cannot be made leaves the request open', async () => {
  const { permissions, grants } = await openRoom()
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  grants.failNext = new MeshError('BUSY', 'too many grants')
  await expect(permissions.allow(id, { remember: 'once' })).rejects.toMatchObject({ code: 'BUSY' })
  expect([permissions.get(id)?.state, permissions.pending]).toEqual(['pending', 1])
  await expect(permissions.allow(id, { remember: 'once' })).resolves.toMatchObject({ state: 'allowed' })
})

it('silence until the deadline denies, by the clock', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'Date'] })
  onTestFinished(() => void vi.useRealTimers())
  const { permissions, events } = await openRoom({ clock: () => Date.now() })
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const later = await pendingOf(
    permissions.permit({ ...ASK, ask: { ttlMs: 900_000, remember: ['once'] } }, questionOf(BOB, INPUT))
  )
  await vi.advanceTimersByTimeAsync(599_999)
  expect(permissions.get(id)?.state).toBe('pending')
  await vi.advanceTimersByTimeAsync(2)
  expect(permissions.get(id)).toMatchObject({
    state: 'expired',
    answeredBy: 'deadline',
    reason: expect.stringContaining('permission request')
  })
  expect(events.at(-1)).toEqual(['permission:answered', id])
  await expect(permissions.allow(id, { remember: 'once' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(permissions.pending).toBe(1)
  await vi.advanceTimersByTimeAsync(300_000)
  expect([permissions.get(later)?.state, permissions.pending]).toEqual(['expired', 0])
})

it('an answer that comes after the deadline is none, even before the timer has rung', async () => {
  let now = 1_700_000_000_000
  const { permissions, grants } = await openRoom({ clock: () => now })
  const id = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  now += 600_000
  expect(permissions.get(id)?.state).toBe('expired')
  await expect(permissions.allow(id, { remember: 'once' })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(grants.issued).toHaveLength(0)
  expect(await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))).not.toBe(id)
})

it('a block drops what the peer has open', async () => {
  const { permissions } = await openRoom()
  const mine = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const other = await pendingOf(permissions.permit(ASK, questionOf(BOB, INPUT)))
  await permissions.dropPeer(ALICE)
  expect(permissions.get(mine)).toMatchObject({ state: 'denied', answeredBy: 'block' })
  expect([permissions.get(other)?.state, permissions.pending]).toEqual(['pending', 1])
})

async function fileStore() {
  const path = join(await tempFolder(), 'mesh.db')
  return () => openStore({ path, migrations: [permissionsMigrations] })
}

it('no request is lost by a restart, and each can be answered after it', async () => {
  const open = await fileStore()
  const grants = fakeGrants()
  const before = await open()
  const room = await openRoom({ store: before, grants })
  const peers = Array.from({ length: 20 }, (_, n) => `${ALICE.slice(0, -2)}${String(n).padStart(2, 'a')}`)
  const ids = await Promise.all(peers.map((peer) => pendingOf(room.permissions.permit(ASK, questionOf(peer, INPUT)))))
  await room.permissions.stop()
  await before.close()
  const store = await open()
  onTestFinished(() => store.close())
  const { permissions } = await openRoom({ store, grants })
  expect(permissions.pending).toBe(20)
  expect(permissions.list({ state: 'pending' }).map(({ id }) => id)).toEqual(ids)
  expect(await pendingOf(permissions.permit(ASK, questionOf(peers[0] ?? '', INPUT)))).toBe(ids[0])
  for (const id of ids) await permissions.allow(id, { remember: 'once' })
  expect([permissions.pending, grants.issued.length]).toEqual([0, 20])
})

it.each([
  { id: 'before the grant was made', made: 0 },
  { id: 'after it was made', made: 1 }
])('a process that ends between answer and grant, $id, grants once', async ({ made }) => {
  const open = await fileStore()
  const grants = fakeGrants()
  const before = await open()
  const room = await openRoom({ store: before, grants })
  const id = await pendingOf(room.permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const killed = {
    ...grants,
    issue: async (...terms: Parameters<typeof grants.issue>) => {
      if (made === 1) await grants.issue(...terms)
      return new Promise<never>(() => {})
    }
  }
  const dying = await openRoom({ store: before, grants: killed })
  void dying.permissions.allow(id, { remember: 'once' }).catch(() => {})
  await expect.poll(() => dying.permissions.get(id)?.state).toBe('allowed')
  await expect.poll(() => grants.issued.length).toBe(made)
  await before.close()
  const store = await open()
  onTestFinished(() => store.close())
  const { permissions } = await openRoom({ store, grants })
  expect(grants.issued).toHaveLength(1)
  expect(permissions.get(id)).toMatchObject({ state: 'allowed', grant: 'g0' })
  await expect(permissions.permit(ASK, questionOf(ALICE, INPUT))).resolves.toBeDefined()
  const again = await openRoom({ store, grants })
  expect(grants.issued).toHaveLength(1)
  expect(again.permissions.pending).toBe(0)
})

it('a time that was over before there was a grant is told to the asker, who else would wait for ever', async () => {
  const open = await fileStore()
  const before = await open()
  const never = { ...fakeGrants(), issue: () => new Promise<never>(() => {}) }
  const dying = await openRoom({ store: before, grants: never })
  const id = await pendingOf(dying.permissions.permit(ASK, questionOf(ALICE, INPUT)))
  void dying.permissions.allow(id, { remember: 'duration', forMs: 1_000 }).catch(() => {})
  await expect.poll(() => dying.permissions.get(id)?.state).toBe('allowed')
  await before.close()
  const store = await open()
  onTestFinished(() => store.close())
  const { ask, grants } = await openRoom({ store, clock: () => Date.now() + 2_000 })
  expect(await ask(ALICE, { op: 'wait', id })).toMatchObject({
    state: 'cancelled',
    reason: expect.stringContaining('time')
  })
  expect(grants.issued).toEqual([])
})

it('ten thousand may be open, and are counted at once', async () => {
  const { permissions } = await openRoom()
  const peers = Array.from({ length: 2_000 }, (_, n) => `peer-${n}`)
  const asked = peers.flatMap((peer) =>
    Array.from({ length: 5 }, (_, n) => permissions.permit(ASK, questionOf(peer, { n })).catch(({ code }) => code))
  )
  expect(new Set(await Promise.all(asked))).toEqual(new Set(['PERMISSION_PENDING']))
  const beganAt = performance.now()
  expect(permissions.pending).toBe(10_000)
  expect(performance.now() - beganAt).toBeLessThan(50)
  const err = await failureOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  expect(err).toMatchObject({ code: 'BUSY', message: expect.stringContaining('10000') })
  expect(permissions.list()).toHaveLength(10_000)
}, 60_000)

it('a watch tells what is pending, then each request as it is asked and answered', async () => {
  const { permissions } = await openRoom()
  const first = await pendingOf(permissions.permit(ASK, questionOf(ALICE, INPUT)))
  const stop = new AbortController()
  const watch = permissions.watch({ signal: stop.signal })[Symbol.asyncIterator]()
  expect((await watch.next()).value).toMatchObject({ id: first, state: 'pending' })
  const asked = watch.next()
  const second = await pendingOf(permissions.permit(ASK, questionOf(BOB, INPUT)))
  expect((await asked).value).toMatchObject({ id: second, state: 'pending' })
  const answered = watch.next()
  await permissions.deny(first)
  expect((await answered).value).toMatchObject({ id: first, state: 'denied' })
  const end = watch.next()
  stop.abort()
  expect((await end).done).toBe(true)
})

it('what the owner has just denied is not asked again, until ten minutes have passed', async () => {
  let now = Date.now()
  const { permissions } = await openRoom({ clock: () => now })
  const ask = (input: unknown) => permissions.permit(ASK, questionOf(ALICE, input))
  const id = await pendingOf(ask(INPUT))
  await permissions.deny(id, { reason: 'not on weekends' })
  const until = new Date(now + DENIAL_HOLDS_MS).toISOString()
  expect(await failureOf(ask(INPUT))).toMatchObject({
    code: 'FORBIDDEN',
    message: 'not on weekends',
    hint: `it can be asked again from ${until} on`
  })
  expect(permissions.pending).toBe(0)
  await pendingOf(ask({ path: 'b.txt' }))
  now += DENIAL_HOLDS_MS
  expect(await pendingOf(ask(INPUT))).not.toBe(id)
})
