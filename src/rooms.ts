import { LRUCache } from 'lru-cache'
import { type Agents, createAgents } from './agents.ts'
import { type Caller, createAuth, HELLO, ownerCaller } from './auth/index.ts'
import { CALL, type Calls, createCalls } from './calls/index.ts'
import { createDiscovery, type Discovery, recordsProtocol } from './discovery/index.ts'
import { createHost, functionDriver, type Host, mcpHttpDriver, mcpStdioDriver, moduleDriver } from './drivers/index.ts'
import { createEvents, type Events } from './events.ts'
import type { Home } from './home.ts'
import { createIdentity, type Identity, loadIdentity } from './identity/index.ts'
import { createNetwork, type Network, networkMigrations } from './network/index.ts'
import type { NodeInit } from './node.ts'
import { openAuditLog, openPolicy, type Policy } from './policy/index.ts'
import { createRegistry, type Registry, registryMigrations } from './registry/index.ts'
import { createRpc, type Rpc } from './rpc/index.ts'
import { checkSchema, createValidationPool, type ValidationPool } from './schema/index.ts'
import { createDatastore, openStore } from './store/index.ts'

/** Every room of the house, in the order in which they build on each other. */
export interface Rooms {
  readonly identity: Identity
  readonly events: Events
  readonly owner: Caller
  readonly policy: Policy
  readonly registry: Registry
  readonly network: Network
  readonly rpc: Rpc
  readonly discovery: Discovery
  readonly host: Host
  readonly calls: Calls
  readonly agents: Agents
  readonly breaches: Breaches
}

/** How often peers broke the protocol since the start. */
interface Breaches {
  readonly count: number
}

/** Each of these peers is complained about once in a while; more than may be connected at once. */
const MAX_TOLD_PEERS = 1_024
const TELL_AGAIN_MS = 60_000

export async function openRooms(
  home: Home | undefined,
  init: NodeInit,
  resources: AsyncDisposableStack
): Promise<Rooms> {
  const { log = () => {} } = init
  const identity = home === undefined ? createIdentity() : await loadIdentity({ path: home.identityKey })
  const events = createEvents()
  const { emit, on } = events
  const store = resources.adopt(
    await openStore({ ...(home && { path: home.database }), migrations: [registryMigrations, networkMigrations] }),
    (opened) => opened.close()
  )
  const datastore = resources.adopt(createDatastore(home && { path: home.cache }), (opened) => opened.close())
  const audit = resources.adopt(
    await openAuditLog({ ...(home && { path: home.audit }), onError: ({ message }) => log(message) }),
    (opened) => opened.close()
  )
  const policy = await openPolicy({ ...(home && { path: home.policy }), audit })
  const schemas: ValidationPool = resources.adopt(createValidationPool(), (pool) => pool.stop())
  const registry = createRegistry({ store, identity, checkSchema, emit }, { protocols: spokenVersions() })
  const network = createNetwork({ identity, emit, store, datastore }, init)
  const breaches = countBreaches(log)
  const rpc = createRpc({
    network,
    authenticate: createAuth().callerOf,
    onViolation: breaches.add,
    onDefect: (err, protocol) => log(`${protocol}: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`)
  })
  const discovery = createDiscovery({ identity, registry, network, rpc, policy, emit, on })
  const host = createHost({
    registry,
    drivers: [functionDriver, moduleDriver, mcpStdioDriver, mcpHttpDriver, ...(init.drivers ?? [])],
    peer: identity.id,
    emit,
    announce: (agent) => discovery.announce(agent),
    retract: (agent) => discovery.retract(agent),
    log
  })
  const calls = createCalls({ self: identity.id, registry, host, policy, rpc, discovery, schemas, emit })
  // The last goes first: records are withdrawn while there is a network to tell it to
  for (const room of [network, host, rpc, discovery]) resources.defer(() => room.stop())
  const agents = createAgents({ self: identity.id, registry, host, policy })
  return {
    identity,
    events,
    owner: ownerCaller(identity.id),
    policy,
    registry,
    network,
    rpc,
    discovery,
    host,
    calls,
    agents,
    breaches
  }
}

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

/** Protocol name → versions, from the ids of what this node serves. */
export function spokenVersions(): Record<string, string[]> {
  const ids = [HELLO.id, recordsProtocol.id, CALL.id].map((id) => id.split('/').slice(2))
  return Object.fromEntries(ids.map(([name = '', version = '']) => [name, [version]]))
}
