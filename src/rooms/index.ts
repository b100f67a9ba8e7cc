import { type Agents, createAgents } from '../agents.ts'
import { type Caller, type Hello, ownerCaller, type Presenter } from '../auth/index.ts'
import { type Blobs, blobsMigrations, createBlobs } from '../blobs/index.ts'
import { CALL, type Calls, createCalls, resolveTarget } from '../calls/index.ts'
import { type Discovery, recordsProtocol } from '../discovery/index.ts'
import type { DialledIn, Host } from '../drivers/index.ts'
import { answersMigrations, createEdges, type Edges } from '../edges/index.ts'
import { createEvents, type Events } from '../events.ts'
import { type Grants, grantsMigrations } from '../grants/index.ts'
import type { Health } from '../health/index.ts'
import type { Home } from '../home.ts'
import { createIdentity, type Identity, loadIdentity } from '../identity/index.ts'
import { keysMigrations } from '../keys/index.ts'
import { mailboxMigrations, messagingMigrations } from '../messaging/index.ts'
import { type Network, networkMigrations } from '../network/index.ts'
import type { NodeInit } from '../node.ts'
import { loginsMigrations, tokensMigrations } from '../oauth/index.ts'
import { type Pairing, pairingMigrations } from '../pairing/index.ts'
import { createAskCheck, PERMISSION, type Permissions, permissionsMigrations } from '../permissions/index.ts'
import { policyMigrations } from '../policy/index.ts'
import { type Registry, registryMigrations } from '../registry/index.ts'
import type { Rpc } from '../rpc/index.ts'
import type { ValidationPool } from '../schema/index.ts'
import { openStore, type Store } from '../store/index.ts'
import { type Pins, pinsMigrations } from '../tools/index.ts'
import { trustMigrations } from '../trust/index.ts'
import { openAccess } from './access.ts'
import { type Guards, openGuards } from './guards.ts'
import { type Breaches, openMesh } from './mesh.ts'
import { openPost, type Post } from './post.ts'

/** Every room of the house, in the order in which they build on each other. */
export interface Rooms extends Base, Guards, Post {
  readonly owner: Caller
  readonly registry: Registry
  readonly schemas: ValidationPool
  readonly network: Network
  /** What libp2p measures, if it does, as Prometheus text. */
  readonly networkMetrics: (() => Promise<string>) | undefined
  readonly rpc: Rpc
  readonly discovery: Discovery
  readonly host: Host
  readonly health: Health
  readonly dialledIn: DialledIn
  readonly pairing: Pairing
  readonly grants: Grants
  readonly permissions: Permissions
  readonly pins: Pins
  readonly presenter: Presenter
  /** What this node says of itself in a hello. */
  readonly describe: () => Hello
  readonly calls: Calls
  readonly blobs: Blobs
  readonly agents: Agents
  readonly edges: Edges
  readonly breaches: Breaches
}

const MIGRATIONS = [
  registryMigrations,
  answersMigrations,
  networkMigrations,
  trustMigrations,
  policyMigrations,
  keysMigrations,
  loginsMigrations,
  tokensMigrations,
  pairingMigrations,
  grantsMigrations,
  permissionsMigrations,
  pinsMigrations,
  blobsMigrations,
  messagingMigrations,
  mailboxMigrations
]

/** What rooms are made of: opened first, closed last. */
export interface Base {
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
  let pins: Pins | undefined
  const pinned = () => pins?.all() ?? []
  const guards = await openGuards(home, init, { ...base, onHeldChange: (peer) => presenter?.changed(peer) }, resources)
  const mesh = await openMesh(home, init, { ...base, ...guards, pinned }, resources)
  const access = await openAccess(init, { ...base, ...guards, ...mesh }, resources)
  presenter = access.presenter
  pins = access.pins
  const { identity, events } = base
  const checkPermission = createAskCheck(mesh.rpc)
  const calls = createCalls(
    { self: identity.id, emit: events.emit, checkPermission, ...guards, ...mesh, ...access },
    init.streams
  )
  // The last goes first: records are withdrawn while there is a network to tell it to
  for (const room of [mesh.network, mesh.host, mesh.rpc, mesh.discovery]) resources.defer(() => room.stop())
  resources.defer(() => calls.stop())
  resources.defer(() => mesh.health.stop())
  cutBlocked({ ...guards, ...mesh, ...access, calls })
  const shown = { authenticate: guards.auth.sessionOf, prepare: access.presenter.ready }
  const blobs = resources.adopt(
    await createBlobs(
      { ...base, ...guards, ...mesh, ...shown },
      { ...init.blobs, ...(home && { folder: home.blobs }) }
    ),
    (opened) => opened.stop()
  )
  const { messaging, mailboxes } = await openPost(home, { ...base, ...guards, ...mesh, ...access, blobs }, resources)
  const agents = createAgents({ self: identity.id, ...mesh, ...guards })
  const owner = ownerCaller(identity.id)
  const rooms = { ...base, ...guards, ...mesh, ...access, blobs, calls, messaging, mailboxes, agents, owner }
  return { ...rooms, edges: openEdges(home, init, rooms) }
}

function openEdges(
  home: Home | undefined,
  { name, edge }: NodeInit & { readonly name: string },
  rooms: Omit<Rooms, 'edges'>
): Edges {
  const self = rooms.identity.id
  const resolving = { ...rooms, self, name }
  return createEdges({
    ...rooms,
    self,
    owner: { caller: rooms.owner },
    protocols: { call: CALL, permission: PERMISSION, records: recordsProtocol },
    resolve: (target, signal) => resolveTarget(target, resolving, signal),
    ...(home && { tokenPath: home.httpToken }),
    networkMetrics: rooms.networkMetrics,
    ...(edge && { settings: edge })
  })
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

/** A peer that is blocked loses everything at once: connections, grants, and what it has asked for. */
function cutBlocked({
  trust,
  network,
  grants,
  permissions,
  calls
}: Pick<Rooms, 'trust' | 'network' | 'grants' | 'permissions' | 'calls'>): void {
  trust.onChange((peer, now, before) => {
    if (now.level !== 'blocked' || before.level === 'blocked') return
    network.disconnect(peer)
    calls.dropPeer(peer)
    // What the disk refuses now is refused by policy all the same, which lets nothing of a blocked peer pass
    void grants.revokeHolder(peer).catch(() => {})
    void permissions.dropPeer(peer).catch(() => {})
  })
}
