import { randomUUID } from 'node:crypto'
import { memory } from '@libp2p/memory'
import { onTestFinished } from 'vitest'
import type { MeshEventName, MeshEvents } from '../../src/events.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { createNetwork, type Network, type NetworkComponents, type NetworkInit } from '../../src/network/index.ts'

export const LOOPBACK_TCP = '/ip4/127.0.0.1/tcp/0'
export const LOOPBACK_WS = '/ip4/127.0.0.1/tcp/0/ws'
export const ECHO = '/pryx-mesh/echo/1.0.0'

/** A network under test, with what it emitted. */
export interface TestNode {
  readonly id: string
  readonly identity: Identity
  readonly network: Network
  readonly events: { event: MeshEventName; detail: unknown }[]
  /** Its first address. */
  address(): string
  /** Resolves when the event has been emitted `times` times since the node was made. */
  emitted<K extends MeshEventName>(event: K, fits?: (detail: MeshEvents[K]) => boolean, times?: number): Promise<void>
}

/** Starts a node on the memory transport, or on `init.listen` over TCP and WebSocket. Stopped with the test. */
export async function startNode(
  init: NetworkInit = {},
  components: Partial<NetworkComponents> = {}
): Promise<TestNode> {
  const node = await makeNode(init, components)
  await node.network.start()
  return node
}

export async function makeNode(init: NetworkInit = {}, components: Partial<NetworkComponents> = {}): Promise<TestNode> {
  const identity = components.identity ?? createIdentity()
  const events: TestNode['events'] = []
  const waiting = new Set<() => void>()
  const inMemory = init.listen === undefined ? { listen: [`/memory/${randomUUID()}`], transports: [memory()] } : {}
  const network = createNetwork(
    {
      identity,
      emit: (event, detail) => {
        events.push({ event, detail })
        for (const check of waiting) check()
      },
      ...components
    },
    { lan: false, ...inMemory, ...init }
  )
  onTestFinished(() => network.stop())
  return {
    id: identity.id,
    identity,
    network,
    events,
    address: () => network.status().addresses[0] ?? '',
    emitted: (event, fits = () => true, times = 1) =>
      new Promise((resolve) => {
        const check = (): void => {
          const count = events.filter((e) => e.event === event && fits(e.detail as MeshEvents[typeof event])).length
          if (count < times) return
          waiting.delete(check)
          resolve()
        }
        waiting.add(check)
        check()
      })
  }
}

/** Resolves when `isTrue` holds, looked at every 10 ms; the test's own timeout is the deadline. */
export async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise((resolve) => setTimeout(resolve, 10))
}

export const soon = (ms = 5_000): { signal: AbortSignal } => ({ signal: AbortSignal.timeout(ms) })
