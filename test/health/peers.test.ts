import { describe, expect, it, vi } from 'vitest'
import { type ErrorCode, MeshError } from '../../src/errors.ts'
import { MAX_AGENTS_PER_PEER, MAX_PEERS, PEER_USED_MS, STATUS } from '../../src/health/index.ts'
import { healthRoom, peerName } from './room.ts'

const PEER = peerName(1)

const failing = (code: ErrorCode) => async (): Promise<unknown> => {
  throw new MeshError(code, 'so it is')
}

describe('a peer', () => {
  it('is up when it joins, and pinged with a nonce of its own each time', async () => {
    const { health, join, pass, request, names } = healthRoom()
    await health.start()
    join(PEER)
    expect(health.of(PEER)).toMatchObject({ kind: 'peer', id: PEER, state: 'up' })
    await pass(120_000)
    const bodies = request.mock.calls.map(([peer, protocol, body]) => {
      expect([peer, protocol]).toEqual([PEER, STATUS])
      return body
    })
    expect(bodies.length).toBeGreaterThanOrEqual(3)
    expect(new Set(bodies.map((body) => (body as { nonce: string }).nonce)).size).toBe(bodies.length)
    expect(names()).toEqual(['peer:join'])
  })

  it('that goes silent is down within half a minute, and up again when it answers', async () => {
    const { health, join, pass, request, seen } = healthRoom()
    await health.start()
    join(PEER)
    await pass(4_000)
    request.mockImplementation(() => new Promise(() => {}))
    await pass(30_000)
    expect(seen.at(-1)).toEqual(['peer:down', { peer: PEER, reason: 'it did not answer in time' }])
    request.mockImplementation(async (_peer, _protocol, body) => body)
    await pass(90_000)
    expect(seen.at(-1)).toEqual(['peer:up', { peer: PEER }])
    expect(seen.filter(([name]) => name === 'peer:down')).toHaveLength(1)
  })

  it.each(['UNSUPPORTED_VERSION', 'FORBIDDEN', 'BUSY', 'INTERNAL'] as const)(
    'that answers %s is there',
    async (code) => {
      const { health, join, pass, request } = healthRoom()
      request.mockImplementation(failing(code))
      await health.start()
      join(PEER)
      await pass(300_000)
      expect(request.mock.calls.length).toBeGreaterThan(2)
      expect(health.of(PEER)?.state).toBe('up')
    }
  )

  it.each([
    ['another nonce', { nonce: 'other' }],
    ['nonsense', 'pong']
  ])('that answers %s is not', async (_, answer) => {
    const { health, join, pass, request } = healthRoom()
    request.mockImplementation(async () => answer)
    await health.start()
    join(PEER)
    await pass(60_000)
    expect(health.of(PEER)?.state).toBe('down')
  })

  it('that leaves is forgotten, unless its agents were called in the last hour', async () => {
    const { health, join, leave, pass, request } = healthRoom()
    await health.start()
    join(PEER)
    leave(PEER)
    expect(health.of(PEER)).toBeUndefined()
    join(PEER)
    health.calls.called(PEER, 'a', health.calls.begin())
    leave(PEER)
    request.mockImplementation(failing('UNREACHABLE'))
    await pass(60_000)
    expect(health.of(PEER)).toMatchObject({ state: 'down', reason: 'so it is' })
    await pass(600_000)
    const asked = request.mock.calls.length
    await pass(600_000)
    expect(request.mock.calls.length - asked).toBeLessThanOrEqual(14)
    await pass(PEER_USED_MS)
    expect(health.of(PEER)).toBeUndefined()
    request.mockClear()
    await pass(600_000)
    expect(request).not.toHaveBeenCalled()
  })

  it.each(['TIMEOUT', 'CONNECTION_LOST', 'UNREACHABLE'] as const)(
    'is looked at within a second when a call of its agent ends with %s',
    async (code) => {
      const { health, join, pass, request } = healthRoom()
      await health.start()
      join(PEER)
      await pass(300_000)
      request.mockClear()
      health.calls.called(PEER, 'a', health.calls.begin(), new MeshError(code, 'x'))
      await pass(1_200)
      expect(request).toHaveBeenCalledOnce()
    }
  )

  it('is degraded when calls do not reach it time and again', async () => {
    const { health, join, pass, seen } = healthRoom()
    await health.start()
    join(PEER)
    const lost = new MeshError('CONNECTION_LOST', 'x')
    for (let n = 0; n < 20; n += 1) health.calls.called(PEER, 'a', health.calls.begin(), n % 2 === 0 ? lost : undefined)
    await pass(1_200)
    expect(seen.at(-1)).toMatchObject(['peer:degraded', { peer: PEER, reason: '50 % of the last 20 calls failed' }])
  })

  it('that is blocked is looked at no longer', async () => {
    const { health, join, emit, pass, request } = healthRoom()
    await health.start()
    join(PEER)
    emit('trust:changed', { peer: PEER, from: 'unknown', to: 'blocked', by: 'owner', reason: 'x' })
    await pass(120_000)
    expect(request).not.toHaveBeenCalled()
    expect(health.of(PEER)).toBeUndefined()
  })
})

describe('many peers', () => {
  it('are not all looked at: those whose agents are called go first', async () => {
    const { health, join, pass, request } = healthRoom()
    await health.start()
    for (let n = 0; n < 200; n += 1) join(peerName(n))
    expect(health.list()).toHaveLength(MAX_PEERS)
    for (let n = 150; n < 160; n += 1) health.calls.called(peerName(n), 'a', health.calls.begin())
    expect(health.list().filter(({ kind }) => kind === 'peer')).toHaveLength(MAX_PEERS)
    for (let n = 150; n < 160; n += 1) expect(health.of(peerName(n))).toBeDefined()
    expect(vi.getTimerCount()).toBe(1)
    await pass(300_000)
    expect(new Set(request.mock.calls.map(([peer]) => peer)).size).toBe(MAX_PEERS)
  })

  it('have the calls of so many agents counted', async () => {
    const { health, join } = healthRoom()
    await health.start()
    join(PEER)
    for (let n = 0; n < 100; n += 1) health.calls.called(PEER, `a${n}`, health.calls.begin())
    expect(health.list().filter(({ kind }) => kind === 'agent')).toHaveLength(MAX_AGENTS_PER_PEER)
    expect(health.of(`${PEER}/a99`)).toMatchObject({ state: 'up', calls: 1 })
    expect(health.of(`${PEER}/a0`)).toBeUndefined()
  })
})

describe("a peer's agent", () => {
  const id = `${PEER}/a`

  it('is as its node is, as long as it was not called', async () => {
    const { health, join } = healthRoom()
    await health.start()
    expect(health.stateOf(id)).toBe('unknown')
    join(PEER)
    expect(health.stateOf(id)).toBe('up')
  })

  it('is degraded by calls that fail, and not by what its caller does', async () => {
    const { health, join } = healthRoom()
    await health.start()
    join(PEER)
    const denied = new MeshError('FORBIDDEN', 'x')
    for (let n = 0; n < 20; n += 1) health.calls.called(PEER, 'a', health.calls.begin(), denied)
    expect(health.of(id)).toBeUndefined()
    const broken = new MeshError('AGENT_ERROR', 'x')
    for (let n = 0; n < 20; n += 1) health.calls.called(PEER, 'a', health.calls.begin(), broken)
    expect(health.of(id)).toMatchObject({ state: 'degraded', reason: '100 % of the last 20 calls failed' })
    expect(health.stateOf(id)).toBe('degraded')
    expect(health.of(PEER)?.state).toBe('up')
  })

  it('is down for a minute when its node says that it is not there, and up at the next good call', async () => {
    const { health, join, pass } = healthRoom()
    await health.start()
    join(PEER)
    const away = new MeshError('AGENT_UNAVAILABLE', 'x')
    health.calls.called(PEER, 'a', health.calls.begin(), away)
    expect(health.of(id)).toMatchObject({ state: 'down', reason: 'its node says that it is not there' })
    expect(health.stateOf(id)).toBe('down')
    health.calls.called(PEER, 'a', health.calls.begin())
    expect(health.stateOf(id)).toBe('up')
    health.calls.called(PEER, 'a', health.calls.begin(), away)
    await pass(61_000)
    expect(health.stateOf(id)).toBe('up')
  })

  it('is down with its node', async () => {
    const { health, join, pass, request } = healthRoom()
    await health.start()
    join(PEER)
    health.calls.called(PEER, 'a', health.calls.begin())
    expect(health.stateOf(id)).toBe('up')
    request.mockImplementation(failing('CONNECTION_LOST'))
    await pass(120_000)
    expect(health.stateOf(id)).toBe('down')
    expect(health.of(id)?.reason).toBe('its node does not answer')
  })
})
