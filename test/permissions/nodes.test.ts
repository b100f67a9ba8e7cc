import { describe, expect, it } from 'vitest'
import type { Node } from '../../src/index.ts'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { tempFolder } from '../temp.ts'
import { pendingOf } from './room.ts'

/** An owner with a tool that writes, and a peer that it knows. */
async function pairOf(init: Parameters<typeof startNode>[0] = {}, level: 'known' | 'unknown' = 'known') {
  const owner = await startNode({ name: 'owner', ...init })
  const asker = await startNode({ name: 'asker' })
  const written: unknown[] = []
  await addTool(owner, written)
  await owner.trust.set(asker.id, { level, alias: 'asker' })
  await asker.connect(addressOf(owner))
  const target = `${owner.id}/fs`
  const write = (path: string, options = {}) => asker.call(target, 'write', { path }, options)
  return { owner, asker, written, target, write }
}

async function addTool(owner: Node, written: unknown[]): Promise<void> {
  const write = {
    name: 'write',
    effects: 'write',
    handler: (input: unknown) => {
      written.push(input)
      return { ok: true }
    }
  }
  await owner.agents.add({ name: 'fs', capabilities: [write as never] })
}

describe('calls of a known peer', () => {
  it('are asked, and allowed once run that very input one time', async () => {
    const { owner, write, written } = await pairOf()
    const id = await pendingOf(write('a.txt'))
    expect(owner.status().pendingApprovals).toBe(1)
    expect(owner.permissions.get(id)).toMatchObject({ alias: 'asker', input: { json: '{"path":"a.txt"}' } })
    await owner.permissions.allow(id, { remember: 'once' })
    expect(await pendingOf(write('b.txt'))).not.toBe(id)
    expect(written).toEqual([])
    expect(await write('a.txt')).toEqual({ ok: true })
    expect(await pendingOf(write('a.txt'))).not.toBe(id)
    expect(written).toEqual([{ path: 'a.txt' }])
  })

  it('that wait run by themselves once they are allowed', async () => {
    const { owner, write, written } = await pairOf()
    const asked = nextEvent(owner, 'permission:asked')
    const waiting = write('a.txt', { wait: true })
    const { id } = await asked
    await owner.permissions.allow(id, { remember: 'once' })
    expect(await waiting).toEqual({ ok: true })
    expect(written).toEqual([{ path: 'a.txt' }])
  })

  it('that wait fail with the reason of the owner', async () => {
    const { owner, write } = await pairOf()
    const asked = nextEvent(owner, 'permission:asked')
    const failing = failureOf(write('a.txt', { wait: true }))
    await owner.permissions.deny((await asked).id, { reason: 'not on sundays' })
    expect(await failing).toMatchObject({ code: 'FORBIDDEN', message: 'not on sundays' })
  })

  it('that stream wait too, and yield each item once', async () => {
    const { owner, asker } = await pairOf()
    const handler = async function* () {
      yield 1
      yield 2
    }
    await owner.agents.add({
      name: 'counter',
      capabilities: [{ name: 'count', effects: 'write', streaming: true, handler }]
    })
    const asked = nextEvent(owner, 'permission:asked')
    const items = Array.fromAsync(asker.stream(`${owner.id}/counter`, 'count', {}, { wait: true }))
    await owner.permissions.allow((await asked).id, { remember: 'once' })
    expect(await items).toEqual([1, 2])
  })

  it('that wait end with their signal', async () => {
    const { owner, write } = await pairOf()
    const asked = nextEvent(owner, 'permission:asked')
    const stop = new AbortController()
    const failing = failureOf(write('a.txt', { wait: true, signal: stop.signal }))
    await asked
    stop.abort()
    expect(await failing).toMatchObject({ code: 'CANCELLED' })
  })

  it('are pushed what the owner answers', async () => {
    const { owner, asker, write } = await pairOf()
    const id = await pendingOf(write('a.txt'))
    const decided = nextEvent(asker, 'permission:decided')
    await owner.permissions.deny(id, { reason: 'no' })
    expect(await decided).toEqual({ id, peer: owner.id, state: 'denied', reason: 'no' })
  })

  it('are not asked any more when the owner has denied them for ever', async () => {
    const { owner, write } = await pairOf()
    await owner.permissions.deny(await pendingOf(write('a.txt')), { forever: true })
    expect(await failureOf(write('a.txt'))).toMatchObject({ code: 'FORBIDDEN' })
    expect(owner.status().pendingApprovals).toBe(0)
  })

  it('run as long as the connection that asked', async () => {
    const { owner, write, written } = await pairOf()
    await owner.permissions.allow(await pendingOf(write('a.txt')), { remember: 'session' })
    await write('b.txt')
    expect(written).toEqual([{ path: 'b.txt' }])
  })

  it('are dropped by a block', async () => {
    const { owner, asker, write } = await pairOf()
    const id = await pendingOf(write('a.txt'))
    await owner.trust.set(asker.id, { level: 'blocked' })
    await expect.poll(() => owner.permissions.get(id)).toMatchObject({ state: 'denied', answeredBy: 'block' })
  })

  it('are not asked when a rule allows them', async () => {
    const { owner, asker, write } = await pairOf()
    await owner.agents.update('fs', { allow: [asker.id] })
    expect(await write('a.txt')).toEqual({ ok: true })
  })
})

it('calls of an unknown peer are denied, not asked', async () => {
  const { owner, write } = await pairOf({}, 'unknown')
  expect(await failureOf(write('a.txt'))).toMatchObject({ code: 'FORBIDDEN' })
  expect(owner.permissions.list()).toEqual([])
})

it('an approver answers for the owner', async () => {
  const { write } = await pairOf({ approver: () => ({ allow: { remember: 'once' } }) })
  expect(await write('a.txt', { wait: true })).toEqual({ ok: true })
})

describe('a request ahead', () => {
  it('is shown to the owner, answered, and lets calls pass', async () => {
    const { owner, asker, write } = await pairOf()
    const wanted = { capability: 'write', forMs: 3_600_000, uses: 2, reason: 'backup' }
    const { id, state } = await asker.permissions.request({ peer: owner.id, agent: 'fs' }, wanted)
    expect(state).toBe('pending')
    expect(owner.permissions.get(id)).toMatchObject({ wanted: { forMs: 3_600_000, uses: 2, reason: 'backup' } })
    const waiting = asker.permissions.status(owner.id, id, { wait: true })
    await owner.permissions.allow(id, { remember: 'duration', forMs: 3_600_000, uses: 2 })
    expect(await waiting).toMatchObject({ id, state: 'allowed' })
    await write('a.txt')
    await write('b.txt')
    await pendingOf(write('c.txt'))
    expect(asker.grants.list()).toMatchObject([{ role: 'held', owner: owner.id, res: 'tool:fs/write' }])
  })

  it('is refused by the asking node when it makes no sense', async () => {
    const { owner, asker } = await pairOf()
    const ask = (agent: string, peer: string, uses: number) =>
      failureOf(asker.permissions.request({ peer, agent }, { capability: 'write', uses }))
    expect(await ask('fs', asker.id, 1)).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await ask('fs', owner.id, 0)).toMatchObject({ code: 'INVALID_ARGUMENT' })
    expect(await ask('other', owner.id, 1)).toMatchObject({ code: 'NOT_FOUND' })
  })

  it('of another peer can be neither seen nor waited for', async () => {
    const { owner, write } = await pairOf()
    const id = await pendingOf(write('a.txt'))
    const other = await startNode({ name: 'other' })
    await owner.trust.set(other.id, { level: 'known' })
    await other.connect(addressOf(owner))
    expect(await failureOf(other.permissions.status(owner.id, id, { wait: true }))).toMatchObject({ code: 'NOT_FOUND' })
    expect(await failureOf(other.permissions.status(owner.id, '-x'))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

it('requests and who waits for them outlive a restart of the owner', async () => {
  const home = await tempFolder()
  const { owner, asker, write, target } = await pairOf({ home })
  const listen = [addressOf(owner).replace(/\/p2p\/.*/, '')]
  const id = await pendingOf(write('a.txt'))
  const waiting = asker.permissions.status(owner.id, id, { wait: true })
  await owner.stop()
  const again = await startNode({ name: 'owner', home, listen })
  expect(again.permissions.list({ state: 'pending' })).toMatchObject([{ id }])
  await again.permissions.allow(id, { remember: 'once' })
  expect(await waiting).toMatchObject({ id, state: 'allowed' })
  expect(target.startsWith(again.id)).toBe(true)
}, 30_000)
