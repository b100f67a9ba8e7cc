import { expect, it, vi } from 'vitest'
import { MeshError } from '../../src/errors.ts'
import { STATUS, STATUS_BURST, STATUS_PER_SECOND } from '../../src/health/index.ts'
import { callerOf, contextOf } from '../callers.ts'
import { healthRoom, peerName } from './room.ts'

const PEER = peerName(1)

async function served() {
  const room = healthRoom()
  await room.health.start()
  const [endpoint] = room.endpoints
  if (endpoint === undefined) throw new Error('status is not served')
  const ask = (body: unknown, peer = PEER) => {
    const context = contextOf(callerOf(peer, 'known'), new AbortController().signal)
    return endpoint.handle(body, context as never)
  }
  return { ...room, endpoint, ask }
}

const codeOf = (ask: () => unknown): string => {
  try {
    ask()
    return 'none'
  } catch (err) {
    return (err as MeshError).code
  }
}

it('a ping is answered with its nonce, whatever policy says', async () => {
  const { ask, decide, endpoint } = await served()
  decide.mockReturnValue({ effect: 'deny', rules: [], reason: 'no rule allows it' })
  expect(endpoint.protocol.id).toBe('/pryx-mesh/status/1.0.0')
  expect(ask({ op: 'ping', nonce: 'abc', later: 1 })).toEqual({ nonce: 'abc' })
  expect(decide).not.toHaveBeenCalled()
})

it('info tells the version, how long the node runs, and how many calls are under way', async () => {
  const { ask, decide, health, pass } = await served()
  await pass(5_000)
  const entered = [health.calls.enter(), health.calls.enter(), health.calls.enter()]
  health.calls.served('a', entered[0] ?? 0)
  expect(ask({ op: 'info' })).toEqual({ version: '9.9.9', uptimeMs: 5_000, running: 2 })
  expect(decide).toHaveBeenCalledWith({
    caller: expect.objectContaining({ peer: PEER }),
    action: 'status.read',
    resource: 'node'
  })
})

it.each(['deny', 'ask'] as const)('info is FORBIDDEN when policy says %s', async (effect) => {
  const { ask, decide } = await served()
  decide.mockReturnValue({ effect, rules: [], reason: 'so it is' })
  expect(() => ask({ op: 'info' })).toThrow(new MeshError('FORBIDDEN', 'so it is'))
})

it.each([[undefined], [{}], [{ op: 'ping' }], [{ op: 'ping', nonce: 'x'.repeat(65) }], [{ op: 'stats' }], ['ping']])(
  '%j is INVALID_MESSAGE',
  async (body) => {
    const { ask } = await served()
    expect(codeOf(() => ask(body))).toBe('INVALID_MESSAGE')
  }
)

it('a peer that asks too often is told BUSY, and no other', async () => {
  const { ask, pass } = await served()
  const ping = (peer?: string) => codeOf(() => ask({ op: 'ping', nonce: '' }, peer))
  for (let n = 0; n < STATUS_BURST; n += 1) expect(ping()).toBe('none')
  expect(ping()).toBe('BUSY')
  expect(ping(peerName(2))).toBe('none')
  await pass(1_000)
  for (let n = 0; n < STATUS_PER_SECOND; n += 1) expect(ping()).toBe('none')
  expect(ping()).toBe('BUSY')
})

it('the answer of a peer is checked', async () => {
  const { health, request } = healthRoom()
  request.mockResolvedValueOnce({ version: '1.0.0', uptimeMs: 1, running: 0, more: true })
  expect(await health.info(PEER)).toEqual({ version: '1.0.0', uptimeMs: 1, running: 0 })
  request.mockResolvedValueOnce({ version: 'a b', uptimeMs: 1, running: 0 })
  await expect(health.info(PEER)).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
  expect(vi.mocked(request).mock.calls[0]).toEqual([PEER, STATUS, { op: 'info' }, {}])
})
