import { LRUCache } from 'lru-cache'
import { type Agents, createAgents } from './agents.ts'
import {
  type Caller,
  type CredentialSource,
  createPresenter,
  HELLO,
  type Hello,
  ownerCaller,
  type Presenter
} from './auth/index.ts'
import { CALL, type Calls, createCalls } from './calls/index.ts'
import { createDiscovery, type Discovery, recordsProtocol } from './discovery/index.ts'
import { createHost, functionDriver, type Host, mcpHttpDriver, mcpStdioDriver, moduleDriver } from './drivers/index.ts'
import { createEvents, type Events } from './events.ts'
import { createGrants, type Grants, grantsMigrations } from './grants/index.ts'
import { type Guards, openGuards } from './guards.ts'
import type { Home } from './home.ts'
import { createIdentity, type Identity, loadIdentity } from './identity/index.ts'
import { keysMigrations } from './keys/index.ts'
import { createNetwork, type Network, networkMigrations } from './network/index.ts'
import type { NodeInit } from './node.ts'
import { loginsMigrations, type Tokens, tokensMigrations } from './oauth/index.ts'
import { createPairing, PAIR, type Pairing, pairingMigrations } from './pairing/index.ts'
import {
  createAskCheck,
  createPermissions,
  PERMISSION,
  type Permissions,
  permissionsMigrations
} from './permissions/index.ts'
import { policyMigrations } from './policy/index.ts'
import { createRegistry, type Registry, registryMigrations } from './registry/index.ts'
import type { Capability, SignedRecord } from './registry/messages.ts'
import { createRpc, type Rpc } from './rpc/index.ts'
import { checkSchema, createValidationPool, type ValidationPool } from './schema/index.ts'
import { createDatastore, openStore, type Store } from './store/index.ts'
import { createPins, diffDefinitions, type Pins, pinsMigrations } from './tools/index.ts'
import { type Trust, trustMigrations } from './trust/index.ts'
import { VERSION } from './version.ts'

/** Every room of the house, in the order in which they build on each other. */
export interface Rooms extends Base, Guards {
  readonly owner: Caller
  readonly registry: Registry
  readonly schemas: ValidationPool
  readonly network: Network
  readonly rpc: Rpc
  readonly discovery: Discovery
  readonly host: Host
  readonly pairing: Pairing
  readonly grants: Grants
  readonly permissions: Permissions
  readonly pins: Pins
  readonly presenter: Presenter
  /** What this node says of itself in a hello. */
  readonly describe: () => Hello
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

const MIGRATIONS = [
  registryMigrations,
  networkMigrations,
  trustMigrations,
  policyMigrations,
  keysMigrations,
  loginsMigrations,
  tokensMigrations,
  pairingMigrations,
  grantsMigrations,
  permissionsMigrations,
  pinsMigrations
]

/** What rooms are made of: opened first, closed last. */
interface Base {
  readonly identity: Identity
  readonly events: Events
  readonly store: Store
  readonly log: (text: string) => void
}

/**
 * Opens every room.
 *
 * @param name what the node calls itself
 */
export async function openRooms(
  home: Home | undefined,
  init: NodeInit & { readonly name: string },
  resources: AsyncDisposableStack
): Promise<Rooms> {
  const base = await openBase(home, init, resources)
  let presenter: Presenter | undefined
  const guards = await openGuards(home, init, { ...base, onHeldChange: (peer) => presenter?.changed(peer) }, resources)
  const mesh = await openMesh(home, init, { ...base, ...guards }, resources)
  const access = await openAccess(init, { ...base, ...guards, ...mesh }, resources)
  presenter = access.presenter
  const { identity, events } = base
  const checkPermission = createAskCheck(mesh.rpc)
  const calls = createCalls({ self: identity.id, emit: events.emit, checkPermission, ...guards, ...mesh, ...access })
  // The last goes first: records are withdrawn while there is a network to tell it to
  for (const room of [mesh.network, mesh.host, mesh.rpc, mesh.discovery]) resources.defer(() => room.stop())
  cutBlocked({ ...guards, ...mesh, ...access })
  const agents = createAgents({ self: identity.id, registry: mesh.registry, host: mesh.host, policy: guards.policy })
  return { ...base, ...guards, ...mesh, ...access, calls, agents, owner: ownerCaller(identity.id) }
}

async function openBase(
  home: Home | undefined,
  { log = () => {} }: NodeInit,
  resources: AsyncDisposableStack
): Promise<Base> {
  const identity = home === undefined ? createIdentity() : await loadIdentity({ path: home.identityKey })
  const store = resources.adopt(
    await openStore({ ...(home && { path: home.database }), migrations: MIGRATIONS }),
    (opened) => opened.close()
  )
  return { identity, events: createEvents(), store, log }
}

/** What speaks to peers and agents. */
type Mesh = Pick<Rooms, 'schemas' | 'registry' | 'network' | 'breaches' | 'rpc' | 'discovery' | 'host'>

async function openMesh(
  home: Home | undefined,
  init: NodeInit,
  { identity, events, store, log, auth, policy, tokens, trust }: Base & Guards,
  resources: AsyncDisposableStack
): Promise<Mesh> {
  const { emit, on } = events
  const datastore = resources.adopt(createDatastore(home && { path: home.cache }), (opened) => opened.close())
  const schemas = resources.adopt(createValidationPool(), (pool) => pool.stop())
  const registry = createRegistry(
    { store, identity, checkSchema, emit },
    { auth: acceptedMethods(tokens), protocols: spokenVersions() }
  )
  const network = createNetwork({ identity, emit, store, datastore, isBlocked: isBlockedBy(trust) }, init)
  const breaches = countBreaches(log)
  const rpc = createRpc({
    network,
    authenticate: auth.sessionOf,
    onViolation(peer, reason) {
      breaches.add(peer, reason)
      trust.note(peer, 'protocol:broken')
    },
    onDefect: (err, protocol) => log(`${protocol}: ${err instanceof Error ? (err.stack ?? err.message) : String(err)}`)
  })
  const discovery = createDiscovery({ identity, registry, network, rpc, policy, isKnown: isKnownBy(trust), emit, on })
  const host = createHost({
    registry,
    drivers: [functionDriver, moduleDriver, mcpStdioDriver, mcpHttpDriver, ...(init.drivers ?? [])],
    peer: identity.id,
    emit,
    announce: (agent) => discovery.announce(agent),
    retract: (agent) => discovery.retract(agent),
    log
  })
  return { schemas, registry, network, breaches, rpc, discovery, host }
}

/** What peers and this node show, ask and grant each other. */
type Access = Pick<Rooms, 'pairing' | 'grants' | 'permissions' | 'pins' | 'presenter' | 'describe'>

async function openAccess(
  init: NodeInit & { readonly name: string },
  rooms: Base & Guards & Mesh,
  resources: AsyncDisposableStack
): Promise<Access> {
  const { identity, events, store, log, auth, vault, verifiers, network, rpc, registry, tokens } = rooms
  const { emit } = events
  const { name, approver, approverCommand } = init
  const onUnpair = (peer: string): void =>
    auth.revoke(({ method, subject }) => method === 'shared-secret' && subject === peer)
  const { trust, policy } = rooms
  const pairing = resources.adopt(
    await createPairing({ identity, store, vault, network, rpc, trust, emit, name, onUnpair }),
    (opened) => opened.stop()
  )
  verifiers.push(pairing.verifier, pairing.ownerVerifier)
  const grants = await createGrants({ identity, store, emit, isBlocked: isBlockedBy(trust) })
  const permissions = resources.adopt(
    await createPermissions({
      identity,
      store,
      policy,
      grants,
      trust,
      rpc,
      emit,
      log,
      on: events.on,
      diff: diffDefinitions,
      capabilityOf: (agent, capability, kind) => capabilityOf(registry.record(agent), capability, kind),
      tagsOf: (agent) => registry.record(agent)?.record.tags ?? [],
      ...(approver === undefined ? {} : { approver }),
      ...(approverCommand === undefined ? {} : { approverCommand })
    }),
    (opened) => opened.stop()
  )
  const pins = await createPins({ store, emit })
  const describe = (): Hello => ({
    name,
    version: VERSION,
    time: new Date().toISOString(),
    protocols: spokenVersions(),
    auth: acceptedMethods(tokens),
    ...(tokens.metadata.issuers.length === 0
      ? {}
      : { oauth: { ...tokens.metadata, issuers: [...tokens.metadata.issuers] } })
  })
  const presenter = createPresenter({
    rpc,
    describe,
    sources: credentialSources(rooms, pairing),
    onHello: (peer, hello) => network.setName(peer, hello.name),
    emit
  })
  // A new pair has a secret to show, and perhaps a statement that is for everybody
  events.on('peer:paired', () => {
    for (const { peer } of network.peers()) presenter.changed(peer)
  })
  resources.defer(() => presenter.stop())
  return { pairing, grants, permissions, pins, presenter, describe }
}

function isBlockedBy(trust: Trust): (peer: string) => boolean {
  return (peer) => trust.of(peer).level === 'blocked'
}

function isKnownBy(trust: Trust): (peer: string) => boolean {
  return (peer) => !['blocked', 'unknown'].includes(trust.of(peer).level)
}

function capabilityOf(signed: SignedRecord | undefined, name: string, kind?: string): Capability | undefined {
  return signed?.record.capabilities.find((each) => each.name === name && (kind === undefined || each.kind === kind))
}

function credentialSources({ keys, logins }: Guards, pairing: Pairing): CredentialSource[] {
  return [
    {
      holdsFor: (peer) => keys.holdsFor(peer),
      toPresent: async (peer) => ({ credentials: await keys.toPresent(peer) })
    },
    {
      holdsFor: (peer) => logins.holdsFor(peer),
      toPresent: async (peer, { oauth }, options) =>
        oauth === undefined ? { credentials: [] } : logins.toPresent(peer, oauth.resource, options)
    },
    {
      holdsFor: (peer) => pairing.isPaired(peer),
      toPresent: async (peer, { time }) => {
        const proof = await pairing.prove(peer, { at: Date.parse(time) })
        return { credentials: proof === undefined ? [] : [proof] }
      }
    },
    {
      holdsFor: () => pairing.ownerStatements().length > 0,
      toPresent: async () => ({ credentials: pairing.ownerStatements() })
    }
  ]
}

/** Credential methods that this node accepts over `hello`; a certificate can't be shown there. */
function acceptedMethods({ metadata }: Pick<Tokens, 'metadata'>): string[] {
  return ['noise', 'api-key', ...(metadata.issuers.length === 0 ? [] : ['oauth']), 'owner', 'shared-secret']
}

/** A peer that is blocked loses everything at once: connections, grants, and what it has asked for. */
function cutBlocked({
  trust,
  network,
  grants,
  permissions
}: Pick<Rooms, 'trust' | 'network' | 'grants' | 'permissions'>): void {
  trust.onChange((peer, now, before) => {
    if (now.level !== 'blocked' || before.level === 'blocked') return
    network.disconnect(peer)
    // What the disk refuses now is refused by policy all the same, which lets nothing of a blocked peer pass
    void grants.revokeHolder(peer).catch(() => {})
    void permissions.dropPeer(peer).catch(() => {})
  })
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
function spokenVersions(): Record<string, string[]> {
  const ids = [HELLO.id, recordsProtocol.id, CALL.id, PAIR.id, PERMISSION.id].map((id) => id.split('/').slice(2))
  return Object.fromEntries(ids.map(([name = '', version = '']) => [name, [version]]))
}
