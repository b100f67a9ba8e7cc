import { onTestFinished } from 'vitest'
import { createDiscovery, type Discovery, type DiscoveryInit } from '../../src/discovery/index.ts'
import type { Emit, MeshEventName } from '../../src/events.ts'
import { createIdentity } from '../../src/identity/index.ts'
import type { Network } from '../../src/network/index.ts'
import { createRegistry, type Registry, registryMigrations } from '../../src/registry/index.ts'
import { createRpc } from '../../src/rpc/index.ts'
import { openStore } from '../../src/store/index.ts'
import { strangersAuth } from '../callers.ts'
import { makeNode } from '../network/nodes.ts'

export interface RealNode {
  readonly id: string
  readonly network: Network
  readonly discovery: Discovery
  readonly registry: Registry
  offer(name: string, capabilities: readonly string[]): Promise<string>
  stop(): Promise<void>
}

/** Network, rpc, registry and discovery, as a node composes them, on the memory transport. */
export async function startNode(bootstrap: readonly string[] = [], init: DiscoveryInit = {}): Promise<RealNode> {
  const identity = createIdentity()
  const store = await openStore({ migrations: [registryMigrations] })
  const listeners = new Map<string, Set<(detail: never) => void>>()
  const emit: Emit = (event, detail) => {
    for (const listener of listeners.get(event) ?? []) listener(detail as never)
  }
  const on = (event: MeshEventName, listener: (detail: never) => void) => {
    listeners.set(event, (listeners.get(event) ?? new Set()).add(listener))
    return () => listeners.get(event)?.delete(listener)
  }
  const { network } = await makeNode({ bootstrap }, { identity, emit })
  const registry = createRegistry({ store, identity, checkSchema: async () => {} })
  const auth = strangersAuth()
  const rpc = createRpc({ network, authenticate: auth.sessionOf })
  const discovery = createDiscovery({ identity, registry, network, rpc, emit, on: on as never }, init)
  await discovery.start()
  await network.start()
  const stop = async () => {
    await discovery.stop()
    await rpc.stop()
    await network.stop()
    await store.close()
  }
  onTestFinished(stop)
  return {
    id: identity.id,
    network,
    discovery,
    registry,
    stop,
    async offer(name, capabilities) {
      await registry.define({ name, driver: 'function', config: {}, tags: [], audience: 'public' })
      const offered = capabilities.map((capability) => ({ kind: 'tool' as const, name: capability, version: '1.0.0' }))
      await registry.publish(name, { version: '1.0.0', capabilities: offered })
      await discovery.announce(name)
      return `${identity.id}/${name}`
    }
  }
}
