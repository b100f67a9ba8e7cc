import { onTestFinished, vi } from 'vitest'
import type { AgentStatus } from '../../src/drivers/index.ts'
import { createEvents, type MeshEventName } from '../../src/events.ts'
import { createHealth, type Health } from '../../src/health/index.ts'
import type { Decision } from '../../src/policy/index.ts'
import type { AgentDefinition } from '../../src/registry/index.ts'
import type { Endpoint } from '../../src/rpc/index.ts'

export const SELF = '12D3KooWAfPwQQxGNNxYTCCwLHyrdwdUTHtKWPrCfLQZu9Z3EFqS'
const START = Date.parse('2026-11-23T10:00:00Z')

export function peerName(n: number): string {
  return `12D3KooW${String(n).padStart(44, '1')}`
}

/** The room between stand-ins for its neighbours, with a clock that the test turns. */
export function healthRoom() {
  vi.useFakeTimers({ now: START })
  onTestFinished(() => void vi.useRealTimers())
  const events = createEvents()
  const seen: (readonly [MeshEventName, object])[] = []
  events.on('*', (detail, event) => seen.push([event, detail]))
  const definitions = new Map<string, AgentDefinition>()
  const statuses = new Map<string, AgentStatus>()
  const connected = new Set<string>()
  const announced: string[] = []
  const endpoints: Endpoint[] = []
  const probe = vi.fn<(name: string, options: { signal: AbortSignal }) => Promise<void>>(async () => {})
  const request = vi.fn<(peer: string, protocol: object, body: unknown) => Promise<unknown>>(
    async (_peer, _protocol, body) => body
  )
  const decide = vi.fn<(request: object) => Decision>(() => ({ effect: 'allow', rules: ['r'], reason: 'r allows it' }))
  const health: Health = createHealth({
    self: SELF,
    version: '9.9.9',
    registry: { definition: (name) => definitions.get(name), definitions: () => [...definitions.values()] },
    host: {
      status: (name) => statuses.get(name),
      probe,
      lose(name, reason, detail) {
        room.lost(name, `${reason}: ${detail}`)
      }
    },
    network: {
      isConnected: (peer) => connected.has(peer),
      peers: () =>
        [...connected].map((peer) => ({ peer, address: '/x', direction: 'inbound', connectedAt: '' }) as const)
    },
    rpc: {
      handle: async (endpoint) => {
        endpoints.push(endpoint)
      },
      request
    },
    policy: { decide },
    emit: events.emit,
    on: events.on,
    announce: async (name) => {
      announced.push(name)
    },
    clock: Date.now,
    now: () => performance.now(),
    random: () => 0.999
  })
  onTestFinished(() => health.stop())
  const room = {
    health,
    /** Events so far. */
    seen,
    announced,
    endpoints,
    probe,
    request,
    decide,
    add: (name: string, more: Partial<AgentDefinition> = {}): void => {
      definitions.set(name, { name, driver: 'x', config: null, tags: [], audience: 'public', ...more })
      statuses.set(name, { state: 'up' })
      events.emit('agent:added', { agent: `${SELF}/${name}`, seq: 1 })
    },
    /** As the host says when its driver has lost an agent. */
    lost: (name: string, reason = 'its process ended'): void => {
      statuses.set(name, { state: 'down', reason })
      health.relay('agent:down', { agent: `${SELF}/${name}`, reason, retryInMs: 500 })
    },
    /** As the host does when it has brought it up again. */
    back: (name: string): void => {
      statuses.set(name, { state: 'up' })
      health.relay('agent:up', { agent: `${SELF}/${name}` })
    },
    join: (peer: string): void => {
      connected.add(peer)
      events.emit('peer:join', { peer, address: '/x' })
    },
    leave: (peer: string): void => {
      connected.delete(peer)
      events.emit('peer:leave', { peer })
    },
    emit: events.emit,
    names: () => seen.map(([name]) => name),
    pass: (ms: number) => vi.advanceTimersByTimeAsync(ms)
  }
  return room
}
