import { describe, expect, it, vi } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { MAX_PROBES, PROBE_TIMEOUT_MS } from '../../src/health/index.ts'
import { healthRoom, SELF } from './room.ts'

const AGENT = { agent: `${SELF}/a` }

describe('an agent', () => {
  it('is asked seconds after it was added, then less and less often', async () => {
    const { health, add, pass, probe } = healthRoom()
    await health.start()
    add('a')
    expect(health.of('a')).toMatchObject({ kind: 'agent', id: AGENT.agent, state: 'up', errorRate: 0, calls: 0 })
    await pass(20_000)
    const first = probe.mock.calls.length
    expect(first).toBeGreaterThanOrEqual(1)
    await pass(600_000)
    const later = probe.mock.calls.length - first
    expect(later).toBeGreaterThanOrEqual(9)
    expect(later).toBeLessThanOrEqual(14)
    expect(health.of('a')?.lastProbe).toEqual({ at: expect.stringMatching(/^2026-11-23T10:/), ms: 0, ok: true })
  })

  it('is given up for lost after two unanswered probes of three, and a single one changes nothing', async () => {
    const { health, add, pass, probe, seen } = healthRoom()
    await health.start()
    add('a')
    probe.mockRejectedValueOnce(new Error('hoarse'))
    await pass(60_000)
    expect(seen.map(([name]) => name)).toEqual(['agent:added'])
    expect(health.of('a')?.state).toBe('up')
    probe.mockImplementation(() => new Promise(() => {}))
    await pass(120_000)
    expect(seen.at(-1)).toEqual([
      'agent:down',
      { ...AGENT, reason: 'it does not answer: it did not answer in time', retryInMs: 500 }
    ])
    expect(health.of('a')).toMatchObject({
      state: 'down',
      reason: 'it does not answer: it did not answer in time',
      lastProbe: { ms: PROBE_TIMEOUT_MS, ok: false }
    })
  })

  it('that probes brought down is not announced before it has answered three times in a row', async () => {
    const { health, add, back, announced, names, pass, probe } = healthRoom()
    await health.start()
    add('a')
    await pass(10_000)
    probe.mockRejectedValueOnce(new Error('no')).mockRejectedValueOnce(new Error('no'))
    await pass(60_000)
    expect(health.of('a')?.state).toBe('down')
    announced.length = 0
    const asked = probe.mock.calls.length
    back('a')
    expect(health.mayAnnounce('a')).toBe(false)
    expect(health.of('a')).toMatchObject({ state: 'down', reason: 'it has to answer 3 times in a row first' })
    await pass(16_000)
    expect(probe.mock.calls.length - asked).toBeGreaterThanOrEqual(3)
    expect(health.of('a')?.state).toBe('up')
    expect(health.mayAnnounce('a')).toBe(true)
    expect(announced).toEqual(['a'])
    expect(names().filter((name) => name === 'agent:up')).toHaveLength(1)
  })

  it('whose process ended is up again as soon as it runs', async () => {
    const { health, add, lost, back, announced, pass, seen } = healthRoom()
    await health.start()
    add('a')
    await pass(10_000)
    lost('a')
    expect(seen.at(-1)).toEqual(['agent:down', { ...AGENT, reason: 'its process ended', retryInMs: 500 }])
    expect(health.stateOf(AGENT.agent)).toBe('down')
    announced.length = 0
    expect(health.mayAnnounce('a')).toBe(true)
    back('a')
    expect(seen.at(-1)).toEqual(['agent:up', AGENT])
    expect(health.stateOf(AGENT.agent)).toBe('up')
    expect(announced).toEqual(['a'])
  })

  it('that keeps dying is told of, and announced, once a minute at most', async () => {
    const { health, add, lost, back, announced, names, pass } = healthRoom()
    await health.start()
    add('a')
    await pass(10_000)
    announced.length = 0
    let mayBeAnnounced = 0
    for (let n = 0; n < 60; n += 1) {
      lost('a')
      await pass(2_500)
      if (health.mayAnnounce('a')) mayBeAnnounced += 1
      back('a')
      await pass(2_500)
    }
    const ups = names().filter((name) => name === 'agent:up').length
    expect(ups).toBeGreaterThanOrEqual(2)
    expect(ups).toBeLessThanOrEqual(6)
    expect(mayBeAnnounced).toBeLessThanOrEqual(6)
    expect(announced.length).toBeLessThanOrEqual(6)
    expect(health.of('a')).toMatchObject({ state: 'down', reason: expect.stringContaining('again and again') })
    // Whatever was held back comes when it has stayed up
    await pass(300_000)
    expect(health.of('a')?.state).toBe('up')
    expect(names().at(-1)).toBe('agent:up')
    expect(announced.at(-1)).toBe('a')
  })

  it('that its owner configures anew has to wait no longer', async () => {
    const { health, add, lost, back, pass } = healthRoom()
    await health.start()
    add('a', { config: { port: 1 } })
    await pass(10_000)
    for (let n = 0; n < 5; n += 1) {
      lost('a')
      back('a')
    }
    expect(health.of('a')?.state).toBe('down')
    add('a', { config: { port: 2 } })
    expect(health.mayAnnounce('a')).toBe(true)
    back('a')
    expect(health.of('a')?.state).toBe('up')
  })

  it('is not told of any more once its node stops, whatever becomes of a probe', async () => {
    const { health, add, names, pass, probe } = healthRoom()
    await health.start()
    add('a')
    probe.mockRejectedValueOnce(new Error('gone'))
    probe.mockImplementation(() => new Promise((_, reject) => setTimeout(() => reject(new Error('gone')), 1_000)))
    while (probe.mock.calls.length < 2) await pass(100)
    health.stop()
    await pass(60_000)
    expect(names()).toEqual(['agent:added'])
    expect(probe).toHaveBeenCalledTimes(2)
  })

  it('is degraded a second after too many of its calls failed, and up when they go well again', async () => {
    const { health, add, names, pass, seen } = healthRoom()
    await health.start()
    add('a')
    await pass(10_000)
    const serve = (times: number, failure?: unknown): void => {
      for (let n = 0; n < times; n += 1) health.calls.served('a', health.calls.enter(), failure)
    }
    serve(30)
    serve(10, new MeshError('AGENT_ERROR', 'broken'))
    await pass(1_200)
    const reason = '25 % of the last 40 calls failed'
    expect(seen.at(-1)).toEqual(['agent:degraded', { ...AGENT, reason }])
    expect(health.of('a')).toMatchObject({ state: 'degraded', reason, calls: 40, errorRate: 0.25, p50: 1, p95: 1 })
    expect(health.mayAnnounce('a')).toBe(true)
    await pass(360_000)
    expect(health.of('a')?.state).toBe('up')
    expect(names().at(-1)).toBe('agent:up')
  })

  it('is not to blame for what its callers do', async () => {
    const { health, add, pass } = healthRoom()
    await health.start()
    add('a')
    for (const code of ['CANCELLED', 'INVALID_INPUT', 'FORBIDDEN', 'BUSY', 'LIMIT_EXCEEDED', 'NOT_FOUND'] as const) {
      for (let n = 0; n < 20; n += 1) health.calls.served('a', health.calls.enter(), new MeshError(code, 'x'))
    }
    await pass(2_000)
    expect(health.of('a')).toMatchObject({ state: 'up', calls: 0, errorRate: 0 })
  })

  it('of whom calls have spoken well lately is not asked', async () => {
    const { health, add, pass, probe } = healthRoom()
    await health.start()
    add('a')
    for (let n = 0; n < 300; n += 1) {
      health.calls.served('a', health.calls.enter())
      await pass(1_000)
    }
    expect(probe).not.toHaveBeenCalled()
    expect(health.of('a')).toMatchObject({ state: 'up', calls: expect.any(Number) })
  })

  it('is forgotten when it is removed', async () => {
    const { health, add, pass, probe, emit } = healthRoom()
    await health.start()
    add('a')
    emit('agent:removed', AGENT)
    await pass(120_000)
    expect(probe).not.toHaveBeenCalled()
  })

  it('passes every other event on as it is', () => {
    const { health, seen } = healthRoom()
    health.relay('call:denied', { peer: 'p', resource: 'r', reason: 'no' })
    expect(seen).toEqual([['call:denied', { peer: 'p', resource: 'r', reason: 'no' }]])
  })

  it('that nobody knows has no health', () => {
    const { health } = healthRoom()
    expect(health.of('nobody')).toBeUndefined()
    expect(health.stateOf(`${SELF}/nobody`)).toBe('unknown')
    expect(health.asleepUntil('nobody')).toBeUndefined()
  })
})

describe('an agent that keeps hours', () => {
  const hours = { availability: [{ from: '08:00', to: '10:30' }] }

  it('falls asleep when they end, is asked nothing, and wakes when they begin', async () => {
    const { health, add, announced, pass, probe, seen } = healthRoom()
    await health.start()
    add('a', hours)
    expect(health.of('a')?.availability).toEqual({ windows: hours.availability, isOpen: true })
    await pass(30 * 60_000 - 1)
    expect(health.asleepUntil('a')).toBeUndefined()
    await pass(61_000)
    const opensAt = '2026-11-24T08:00:00.000Z'
    expect(health.asleepUntil('a')).toBe(Date.parse(opensAt))
    expect(health.of('a')).toMatchObject({ state: 'sleeping', availability: { isOpen: false, opensAt } })
    expect(seen.at(-1)).toEqual(['agent:sleeping', { ...AGENT, opensAt }])
    const asked = probe.mock.calls.length
    announced.length = 0
    await pass(Date.parse(opensAt) - Date.now() - 1)
    expect(probe).toHaveBeenCalledTimes(asked)
    await pass(1_000)
    expect(health.of('a')?.state).toBe('up')
    expect(seen.at(-1)).toEqual(['agent:up', AGENT])
    expect(announced).toEqual(['a'])
  })

  it('may go while it sleeps, which is no fall', async () => {
    const { health, add, lost, back, names, pass } = healthRoom()
    await health.start()
    add('a', { availability: [{ from: '08:00', to: '09:00' }] })
    await pass(10_000)
    for (let n = 0; n < 5; n += 1) {
      lost('a')
      back('a')
    }
    lost('a')
    expect(names()).not.toContain('agent:down')
    expect(health.of('a')?.state).toBe('sleeping')
    await pass(Date.parse('2026-11-24T08:00:01Z') - Date.now())
    expect(health.of('a')?.state).toBe('down')
    expect(names().at(-1)).toBe('agent:down')
    back('a')
    expect(health.of('a')?.state).toBe('up')
  })

  it('sleeps at once when it is added outside of them, and is there when they are taken away', async () => {
    const { health, add, names, pass } = healthRoom()
    await health.start()
    add('a', { availability: [{ from: '00:00', to: '00:01' }] })
    expect(health.of('a')?.state).toBe('sleeping')
    expect(names()).toContain('agent:sleeping')
    add('a', { availability: [] })
    expect(health.asleepUntil('a')).toBeUndefined()
    await pass(61_000)
    expect(health.of('a')).toMatchObject({ state: 'up' })
    expect(health.of('a')).not.toHaveProperty('availability')
  })
})

describe('a thousand agents', () => {
  it('have one timer, and eight probes under way at most', async () => {
    const { health, add, pass, probe } = healthRoom()
    let running = 0
    let most = 0
    const asked = new Set<string>()
    probe.mockImplementation(async (name) => {
      asked.add(name)
      running += 1
      most = Math.max(most, running)
      await new Promise((resolve) => setTimeout(resolve, 20))
      running -= 1
    })
    await health.start()
    for (let n = 0; n < 1_000; n += 1) add(`a${n}`)
    expect(vi.getTimerCount()).toBe(1)
    await pass(10_000)
    expect(asked.size).toBe(1_000)
    expect(most).toBe(MAX_PROBES)
    // The one of all, and for each probe its deadline and the one of this test
    expect(vi.getTimerCount()).toBeLessThanOrEqual(1 + 2 * MAX_PROBES)
    health.stop()
    await pass(PROBE_TIMEOUT_MS)
    expect(vi.getTimerCount()).toBe(0)
  })

  it('are all asked, though some never answer', async () => {
    const { health, add, pass, probe } = healthRoom()
    const asked = new Set<string>()
    probe.mockImplementation((name) => {
      asked.add(name)
      return Number(name.slice(1)) < 40 ? new Promise(() => {}) : Promise.resolve()
    })
    await health.start()
    for (let n = 0; n < 200; n += 1) add(`a${n}`)
    await pass(60_000)
    expect(asked.size).toBe(200)
  })
})
