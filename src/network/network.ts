import type { Connection, Stream } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import { MeshError } from '../errors.ts'
import { newestConnection, tidyConnections } from './connections.ts'
import { DIAL_TIMEOUT_MS, MAIN_MESH, MAX_STREAMS_PER_PROTOCOL, REJOIN_PARALLEL_DIALS } from './constants.ts'
import { createDht, type MeshDht } from './dht.ts'
import { lendNode } from './dht-node.ts'
import { createGossip, type MeshGossip } from './gossip.ts'
import type { Network, NetworkComponents, NetworkInit, NetworkStatus, PeerInfo, StreamHandler } from './index.ts'
import { forgetStored } from './kad.ts'
import { createNetworkMemory, type KnownPeer, type NetworkMemory } from './known-peers.ts'
import { createLan, type Lan } from './lan.ts'
import { composeLibp2p, type MeshLibp2p, silentLogger, stopLibp2p } from './libp2p.ts'
import {
  defaultListen,
  hasOpenPort,
  isInUse,
  type ListenFailure,
  listenError,
  readListenAddress,
  readPeerAddress,
  readPeerId,
  withPort
} from './listen.ts'
import { createMembers, type Members } from './members.ts'
import { type MeshIds, meshIds } from './mesh.ts'
import { createReconnector, type Reconnector, type Target } from './reconnect.ts'
import { type Dialler, dial, dialPeer, openStream } from './streams.ts'
import { readSwarmKey } from './swarm-key.ts'

/**
 * @throws {MeshError} INVALID_ARGUMENT for an address to listen on or to join by that isn't one, or a name of a mesh that can't be
 *   one; INVALID_CONFIG when the store was used in another mesh
 */
export function createNetwork(components: NetworkComponents, init: NetworkInit = {}): Network {
  return new MeshNetwork(components, init)
}

/** What lives from a start to the next stop. */
interface Running {
  readonly node: MeshLibp2p
  readonly members: Members
  readonly reconnector: Reconnector
  readonly lan: Lan | undefined
  readonly endTidying: () => void
}

class MeshNetwork implements Network {
  readonly gossip: MeshGossip
  readonly dht: MeshDht
  readonly #components: NetworkComponents
  readonly #init: NetworkInit
  readonly #listen: readonly string[]
  readonly #bootstrap: readonly Target[]
  readonly #memory: NetworkMemory
  readonly #clock: () => number
  readonly #random: () => number
  readonly #mesh: MeshIds
  readonly #handlers = new Map<string, StreamHandler>()
  #running: Running | undefined

  constructor(components: NetworkComponents, init: NetworkInit) {
    this.#components = components
    this.#init = init
    this.#listen = (init.listen ?? defaultListen(init.lan ?? true)).map((text) => readListenAddress(text).toString())
    this.#bootstrap = (init.bootstrap ?? []).map((text) => toTarget(text))
    this.#clock = components.clock ?? Date.now
    this.#random = components.random ?? Math.random
    this.#memory = createNetworkMemory(components.store, this.#clock)
    this.#mesh = meshIds(init.mesh ?? this.#memory.mesh() ?? MAIN_MESH)
    refuseOtherMesh(this.#memory.mesh(), this.#mesh.name)
    this.gossip = createGossip(this.#mesh)
    this.dht = createDht({ self: components.identity.peerId, clock: this.#clock, random: this.#random })
  }

  async start(): Promise<void> {
    if (this.#running !== undefined) return
    const { identity, datastore } = this.#components
    if (datastore !== undefined) await forgetStored(datastore)
    const node = await this.#startLibp2p()
    await this.#memory.rememberMesh(this.#mesh.name)
    const reconnector = createReconnector({
      dial: (target, signal) => this.#dialTarget(node, target, signal),
      isConnected: (peer) => this.isConnected(peer),
      random: this.#random
    })
    const lan = (this.#init.lan ?? true) ? this.#createLan(node, reconnector) : undefined
    const members = this.#createMembers(node, reconnector)
    const endTidying = tidyConnections(node, identity.id, this.#mesh)
    this.#running = { node, members, reconnector, lan, endTidying }
    this.gossip.attach(node.services.pubsub)
    this.#rejoin(this.#running)
    await lan?.start()
  }

  async stop(): Promise<void> {
    const running = this.#running
    if (running === undefined) return
    this.#running = undefined
    running.reconnector.stop()
    running.endTidying()
    await running.lan?.stop()
    this.dht.detach()
    this.gossip.detach()
    running.members.stop()
    await stopLibp2p(running.node)
    await this.#memory.flush()
  }

  status(): NetworkStatus {
    const running = this.#running
    return {
      addresses: running?.node.getMultiaddrs().map(String) ?? [],
      lan: running?.lan?.status() ?? 'off',
      connections: running?.node.getConnections().length ?? 0,
      mesh: this.#mesh.name,
      routingTable: this.dht.status().tableSize
    }
  }

  peers(): readonly PeerInfo[] {
    return this.#running?.members.list() ?? []
  }

  isConnected(peer: string): boolean {
    return this.#running?.members.has(peer) ?? false
  }

  async connect(text: string, options: { signal?: AbortSignal } = {}): Promise<string> {
    const target = toTarget(text)
    const { node, reconnector } = this.#started()
    const peer = await this.#dialTarget(node, target, options.signal ?? AbortSignal.timeout(DIAL_TIMEOUT_MS))
    if (peer === undefined) throw new MeshError('INVALID_ARGUMENT', `${text} is this node itself`)
    await this.#memory.keep(peer, target.addresses)
    reconnector.keep({ peer, addresses: target.addresses })
    return peer
  }

  disconnect(peer: string): void {
    const running = this.#running
    running?.reconnector.forget(peer)
    // If the disk refuses, a restart tries the peer again, which the gater refuses
    void this.#memory.forget(peer).catch(() => {})
    for (const connection of running?.node.getConnections(readPeerId(peer)) ?? [])
      connection.abort(new Error('the owner has blocked the peer'))
  }

  async openStream(
    peer: string,
    protocols: readonly string[],
    { signal }: { signal: AbortSignal }
  ): Promise<{ stream: Stream; connection: Connection }> {
    this.#refuseBlocked(peer)
    const { node, members, reconnector } = this.#started()
    const wire = protocols.map((id) => this.#mesh.wire(id))
    const opened = await openStream(this.#dialler(node), readPeerId(peer), wire, signal).catch(async (err: unknown) => {
      reconnector.wanted(peer)
      const connection = newestConnection(node, readPeerId(peer))
      // A peer of another mesh doesn't speak it either, but no newer version would help
      if (MeshError.from(err).code === 'UNSUPPORTED_VERSION' && connection) await members.admitted(connection, signal)
      throw err
    })
    members.prove(opened.connection)
    return opened
  }

  async handle(protocol: string, handler: StreamHandler): Promise<void> {
    this.#handlers.set(protocol, handler)
    if (this.#running !== undefined) await this.#register(this.#running.node, protocol, handler)
  }

  setName(peer: string, name: string): void {
    this.#running?.members.setName(peer, name)
  }

  addressesOf(peer: string): readonly string[] {
    return this.#running?.members.addressesOf(peer) ?? []
  }

  async learn(peer: string, addresses: readonly string[]): Promise<void> {
    const { node } = this.#started()
    const multiaddrs = addresses.flatMap((text) => {
      try {
        return multiaddr(text)
      } catch {
        return [] // hearsay
      }
    })
    if (multiaddrs.length > 0) await node.peerStore.merge(readPeerId(peer), { multiaddrs })
  }

  /** The gater would refuse it too, but nobody could tell that from a peer that is down. */
  #refuseBlocked(peer: string): void {
    if (this.#components.isBlocked?.(peer) !== true) return
    throw new MeshError('FORBIDDEN', `this node has blocked ${peer}`, {
      hint: `pryx-mesh trust set ${peer} unknown lets it in again`
    })
  }

  #started(): Running {
    if (this.#running !== undefined) return this.#running
    throw new MeshError('UNREACHABLE', 'the network is not started', { hint: 'Start the node first.' })
  }

  /** Listens on the ports of the last time where the owner leaves them open, or on others if those are taken meanwhile. */
  async #startLibp2p(): Promise<MeshLibp2p> {
    const remembered = this.#listen.map((address) =>
      hasOpenPort(address) ? withPort(address, this.#memory.port(address)) : address
    )
    try {
      return await this.#tryStart(remembered)
    } catch (err) {
      if (!(err instanceof ListenFailed) || !err.failures.every(isInUse)) throw toMeshError(this.#listen, err)
      const isOurs = err.failures.every(({ address }) => !this.#listen.includes(address))
      if (!isOurs) throw toMeshError(remembered, err)
      const taken = new Set(err.failures.map(({ address }) => address))
      const retry = this.#listen.map((address, i) =>
        taken.has(remembered[i] ?? '') ? address : (remembered[i] ?? address)
      )
      return this.#tryStart(retry).catch((second: unknown) => Promise.reject(toMeshError(retry, second)))
    }
  }

  async #tryStart(listen: readonly string[]): Promise<MeshLibp2p> {
    const { identity, datastore, isBlocked = () => false, logger = silentLogger() } = this.#components
    const swarmKey = this.#init.swarmKey === undefined ? undefined : await readSwarmKey(this.#init.swarmKey)
    const failures: ListenFailure[] = []
    const ports = new Map<string, number>()
    const onListening = (address: string, port: number | undefined): void => {
      const asked = this.#listen[listen.indexOf(address)] ?? address
      if (port !== undefined && hasOpenPort(asked)) ports.set(asked, port)
    }
    const node = await composeLibp2p(
      { identity, datastore, isBlocked, logger, clock: this.#clock },
      {
        listen,
        transports: this.#init.transports,
        connectionEncrypters: this.#init.connectionEncrypters,
        swarmKey,
        metrics: this.#init.measure,
        mesh: this.#mesh,
        watch: { onListening, onFailure: (failure) => failures.push(failure) }
      }
    )
    this.dht.attach(lendNode(node, (peer) => this.#refuseBlocked(peer)))
    for (const [protocol, handler] of this.#handlers) await this.#register(node, protocol, handler)
    try {
      await node.start()
    } catch (cause) {
      this.dht.detach()
      throw new ListenFailed(failures, cause)
    }
    await this.#memory.rememberPorts(ports)
    return node
  }

  #dialler(node: MeshLibp2p): Dialler {
    return {
      node,
      heardOf: (peer) => this.dht.heardOf(peer),
      search: (peer, options) => this.dht.search(peer, options)
    }
  }

  async #register(node: MeshLibp2p, protocol: string, handler: StreamHandler): Promise<void> {
    const contained: StreamHandler = (stream, connection) => {
      try {
        if (this.#running?.node === node) this.#running.members.prove(connection)
        handler(stream, connection)
      } catch (err) {
        stream.abort(err instanceof Error ? err : new Error('handler failed', { cause: err }))
      }
    }
    // Not libp2p.use(): it runs the handler of the nth stream n times.
    await node.handle(this.#mesh.wire(protocol), contained, {
      maxInboundStreams: MAX_STREAMS_PER_PROTOCOL,
      force: true
    })
  }

  #createLan(node: MeshLibp2p, reconnector: Reconnector): Lan {
    return createLan({
      id: this.#components.identity.id,
      logger: this.#components.logger ?? silentLogger(),
      service: this.#mesh.mdnsService,
      addresses: () => node.getMultiaddrs(),
      isConnected: (peer) => this.isConnected(peer),
      onSeen: (peer) => reconnector.seen(peer),
      dial: ({ id, multiaddrs }) =>
        dial(node, withPeer(multiaddrs.map(String), id.toString()), AbortSignal.timeout(DIAL_TIMEOUT_MS))
    })
  }

  #createMembers(node: MeshLibp2p, reconnector: Reconnector): Members {
    return createMembers({
      node,
      mesh: this.#mesh,
      emit: this.#components.emit,
      onAddresses: (peer, addresses) => {
        this.#memory.see(peer, addresses)
        this.dht.moved(peer, addresses)
      },
      onLost: (peer) => reconnector.lost(peer)
    })
  }

  /** Bootstrap and kept peers for ever; the others that were known at the last time once, a few at a time. */
  #rejoin({ node, reconnector }: Running): void {
    for (const target of this.#bootstrap) reconnector.keep({ ...target })
    const known = this.#memory.peers().filter(({ peer }) => peer !== this.#components.identity.id)
    for (const { peer, addresses } of known.filter(({ kept }) => kept)) reconnector.keep({ peer, addresses })
    const others = known.filter(({ kept }) => !kept)
    const worker = async (): Promise<void> => {
      for (let next = others.shift(); next !== undefined; next = others.shift()) await this.#dialOnce(node, next)
    }
    for (let i = 0; i < REJOIN_PARALLEL_DIALS; i++) void worker()
  }

  async #dialOnce(node: MeshLibp2p, { peer, addresses }: KnownPeer): Promise<void> {
    if (this.#running?.node !== node || this.isConnected(peer)) return
    try {
      await dial(node, withPeer(addresses, peer), AbortSignal.timeout(DIAL_TIMEOUT_MS))
    } catch {
      // gone, or elsewhere now: others know
    }
  }

  /** @returns the PeerId; undefined when the address is this node's own */
  async #dialTarget(node: MeshLibp2p, target: Target, signal: AbortSignal): Promise<string | undefined> {
    const { peer, addresses } = target
    if (peer === this.#components.identity.id) return undefined
    if (peer !== undefined) this.#refuseBlocked(peer)
    try {
      const connection =
        peer === undefined || addresses.length > 0
          ? await dial(node, withPeer(addresses, peer), signal)
          : await dialPeer(this.#dialler(node), readPeerId(peer), signal)
      await this.#running?.members.admitted(connection, signal)
      return connection.remotePeer.toString()
    } catch (err) {
      const cause = err instanceof MeshError ? (err.cause as Error | undefined) : undefined
      if (cause?.name === 'InvalidPeerIdError') return undefined
      if (cause?.name !== 'NoValidAddressesError') throw err
      throw new MeshError('INVALID_ARGUMENT', `nothing here can dial ${addresses.join(', ')}`, {
        cause,
        hint: 'TCP and WebSocket addresses can be dialled.'
      })
    }
  }
}

class ListenFailed extends Error {
  readonly failures: readonly ListenFailure[]

  constructor(failures: readonly ListenFailure[], cause: unknown) {
    super('start failed', { cause })
    this.failures = failures
  }
}

/** Whom it knows, and who it is paired with, belongs to a mesh: protocols/decisions/019-a-home-has-one-mesh.md */
function refuseOtherMesh(remembered: string | undefined, wanted: string): void {
  if (remembered === undefined || remembered === wanted) return
  throw new MeshError('INVALID_CONFIG', `this home is of the mesh ${remembered}, not of ${wanted}`, {
    hint: `Leave --mesh out, or use another home for the mesh ${wanted}.`
  })
}

function toMeshError(listen: readonly string[], err: unknown): MeshError {
  return err instanceof ListenFailed ? listenError(listen, err.failures, err.cause) : MeshError.from(err)
}

function toTarget(text: string): Target {
  const { peer, address } = readPeerAddress(text)
  return { peer: peer?.toString(), addresses: address === undefined ? [] : [address.toString()] }
}

/** The addresses as libp2p dials them: all with the peer's id, if it is known. */
function withPeer(addresses: readonly string[], peer: string | undefined): ReturnType<typeof multiaddr>[] {
  const suffix = peer === undefined ? '' : `/p2p/${peer}`
  return addresses.map((text) => multiaddr(suffix === '' || text.endsWith(suffix) ? text : text + suffix))
}
