import { LRUCache } from 'lru-cache'
import { createDiscovery, type Pinned } from '../discovery/index.ts'
import {
  createDialledIn,
  createHost,
  createHttpDriver,
  createWebSocketDriver,
  functionDriver,
  mcpHttpDriver,
  mcpStdioDriver,
  moduleDriver
} from '../drivers/index.ts'
import { createHealth } from '../health/index.ts'
import type { Home } from '../home.ts'
import { createNetwork } from '../network/index.ts'
import type { NetworkMetrics } from '../network/metrics.ts'
import type { NodeInit } from '../node.ts'
import { createRegistry } from '../registry/index.ts'
import { createRpc } from '../rpc/index.ts'
import { checkSchema, createValidationPool } from '../schema/index.ts'
import { createDatastore } from '../store/index.ts'
import { VERSION } from '../version.ts'
import type { Guards } from './guards.ts'
import type { Base, Rooms } from './index.ts'
import { acceptedMethods, spokenVersions } from './spoken.ts'

/** What must not go missing unnoticed. */
interface Expecting {
  readonly pinned: () => Iterable<Pinned>
}

/** What speaks to peers and agents. */
export type Mesh = Speaking & Hosting

export async function openMesh(
  home: Home | undefined,
  init: NodeInit,
  base: Base & Guards & Expecting,
  resources: AsyncDisposableStack
): Promise<Mesh> {
  const { identity, events, store, log, auth, tokens, trust } = base
  const { emit } = events
  const datastore = resources.adopt(createDatastore(home && { path: home.cache }), (opened) => opened.close())
  const schemas = resources.adopt(createValidationPool(), (pool) => pool.stop())
  const registry = createRegistry(
    { store, identity, checkSchema, emit },
    {
      auth: acceptedMethods(tokens),
      protocols: spokenVersions(),
      ...(init.edge?.maxAgents === undefined ? {} : { maxDialledIn: init.edge.maxAgents })
    }
  )
  const isBlocked = (peer: string): boolean => trust.of(peer).level === 'blocked'
  const measured = await openMetrics(init)
  const network = createNetwork(
    { identity, emit, store, datastore, isBlocked },
    { ...init, ...(measured && { measure: measured.measure }) }
  )
  events.on('peer:refused', ({ peer, address, reason }) => log(`${peer} at ${address} is no peer: ${reason}`))
  const breaches = countBreaches(log)
  const onBroken = (peer: string, reason: string): void => {
    breaches.add(peer, reason)
    trust.note(peer, 'protocol:broken')
  }
  const rpc = createRpc({
    network,
    authenticate: auth.sessionOf,
    onViolation: onBroken,
    onDefect: (err, protocol) => log(`${protocol}: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`)
  })
  const spoken = { schemas, registry, network, breaches, rpc, networkMetrics: measured?.text }
  return { ...spoken, ...openHost(init, { ...base, ...spoken, onBroken }) }
}

interface Judging {
  /** A peer said what no honest one says. */
  readonly onBroken: (peer: string, reason: string) => void
}

type Speaking = Pick<Rooms, 'schemas' | 'registry' | 'network' | 'networkMetrics' | 'breaches' | 'rpc'>
type Hosting = Pick<Rooms, 'discovery' | 'host' | 'health' | 'dialledIn'>

/** Agents as they run here, as they fare, and as others find them: each tells the others. */
function openHost(
  { drivers = [] }: NodeInit,
  {
    identity,
    events,
    log,
    policy,
    trust,
    registry,
    network,
    rpc,
    onBroken,
    pinned
  }: Base & Guards & Speaking & Expecting & Judging
): Hosting {
  const { emit, on } = events
  const shared = { identity, registry, network, rpc, policy, emit, on }
  const isKnown = (peer: string): boolean => !['blocked', 'unknown'].includes(trust.of(peer).level)
  const discovery = createDiscovery({
    ...shared,
    isKnown,
    pinned,
    healthOf: (agent) => health.stateOf(agent),
    trustOf: (peer) => trust.of(peer).level,
    onBroken
  })
  const announce = (agent: string): Promise<void> => discovery.announce(agent)
  const health = createHealth({
    ...shared,
    self: identity.id,
    version: VERSION,
    announce,
    host: {
      status: (agent) => host.status(agent),
      probe: (agent, options) => host.probe(agent, options),
      lose: (agent, reason, detail) => host.lose(agent, reason, detail)
    }
  })
  const dialled = [createHttpDriver({ identity }), createWebSocketDriver({ identity })]
  const dialledIn = createDialledIn()
  const builtIn = [functionDriver, moduleDriver, mcpStdioDriver, mcpHttpDriver, ...dialled, dialledIn.driver]
  const host = createHost(
    {
      registry,
      drivers: [...builtIn, ...drivers],
      peer: identity.id,
      emit: health.relay,
      announce: async (agent) => {
        if (health.mayAnnounce(agent)) await announce(agent)
      },
      retract: (agent) => discovery.retract(agent),
      log
    },
    // Agents are asked by the health room
    { healthIntervalMs: 0 }
  )
  return { discovery, host, health, dialledIn }
}

/** Counting every message costs something: only nodes that are looked at do it. */
async function openMetrics({ metrics, edge }: NodeInit): Promise<NetworkMetrics | undefined> {
  if (metrics !== true && edge === undefined) return undefined
  const { createNetworkMetrics } = await import('../network/metrics.ts')
  return createNetworkMetrics()
}

/** How often peers broke the protocol since the start. */
export interface Breaches {
  readonly count: number
}

/** Each of these peers is complained about once in a while; more than may be connected at once. */
const MAX_TOLD_PEERS = 1_024
const TELL_AGAIN_MS = 60_000

/** A peer may break the protocol as often as it likes: all is counted, little is told. */
function countBreaches(log: (text: string) => void): Breaches & { add: (peer: string, reason: string) => void } {
  const told = new LRUCache<string, true>({ max: MAX_TOLD_PEERS, ttl: TELL_AGAIN_MS })
  let count = 0
  return {
    get count() {
      return count
    },
    add(peer, reason) {
      count += 1
      if (told.has(peer)) return
      told.set(peer, true)
      log(`${peer} broke the protocol: ${reason}`)
    }
  }
}
