import type { Connection, IdentifyResult, PeerId } from '@libp2p/interface'
import { LRUCache } from 'lru-cache'
import { abortError, MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import { newestConnection } from './connections.ts'
import { MAX_OTHER_PEERS, OTHER_MESH_GRACE_MS } from './constants.ts'
import type { PeerInfo } from './index.ts'
import type { MeshLibp2p } from './libp2p.ts'
import { type MeshIds, meshOf } from './mesh.ts'

export interface MembersComponents {
  readonly node: MeshLibp2p
  readonly mesh: MeshIds
  readonly emit: Emit
  /** A peer has said where it can be reached. */
  readonly onAddresses: (peer: string, addresses: readonly string[]) => void
  /** A peer of this mesh is gone. */
  readonly onLost: (peer: string) => void
}

/**
 * Who of the connected is of this mesh. A peer is let in when identify doesn't show it to be of another one, and at once when a
 * stream of a protocol of this mesh is open with it: nobody else has its ids. Before that it is nobody's peer.
 */
export interface Members {
  has(peer: string): boolean
  list(): readonly PeerInfo[]
  /** Where it says that it listens. */
  addressesOf(peer: string): readonly string[]
  setName(peer: string, name: string): void
  /** A stream of this mesh is open on the connection. */
  prove(connection: Connection): void
  /** Waits until the peer is let in. @throws {MeshError} UNSUPPORTED_VERSION when it is of another mesh, UNREACHABLE, CANCELLED, TIMEOUT */
  admitted(connection: Connection, signal: AbortSignal): Promise<void>
  stop(): void
}

export function createMembers(components: MembersComponents): Members {
  return new IdentifiedMembers(components)
}

interface Member {
  name?: string
  /** Of this mesh for certain: not only because it has said nothing else. */
  isProven: boolean
  addresses: readonly string[]
}

class IdentifiedMembers implements Members {
  readonly #components: MembersComponents
  readonly #members = new Map<string, Member>()
  /** Of connections in whose peer nobody has looked yet. */
  readonly #judging = new Map<Connection, Promise<void>>()
  readonly #others = new LRUCache<string, string>({ max: MAX_OTHER_PEERS })
  readonly #leaving = new Set<NodeJS.Timeout>()
  #isStopped = false

  constructor(components: MembersComponents) {
    this.#components = components
    const { node } = components
    node.addEventListener('connection:open', ({ detail }: CustomEvent<Connection>) => void this.#onOpen(detail))
    node.addEventListener('peer:disconnect', ({ detail }: CustomEvent<PeerId>) => this.#onDisconnect(detail.toString()))
    // Pushed, when it serves more, and after an identify that somebody else has asked for
    node.addEventListener('peer:identify', ({ detail }: CustomEvent<IdentifyResult>) => this.#onIdentify(detail))
    // Some may have come while the node was starting
    for (const connection of node.getConnections()) void this.#onOpen(connection)
  }

  has(peer: string): boolean {
    return this.#members.has(peer)
  }

  list(): readonly PeerInfo[] {
    const { node } = this.#components
    return node.getPeers().flatMap((id) => {
      const connection = this.has(id.toString()) ? newestConnection(node, id) : undefined
      return connection === undefined ? [] : [describe(connection, this.#members.get(id.toString())?.name)]
    })
  }

  addressesOf(peer: string): readonly string[] {
    return this.#members.get(peer)?.addresses ?? []
  }

  setName(peer: string, name: string): void {
    const member = this.#members.get(peer)
    if (member !== undefined) member.name = name
  }

  prove(connection: Connection): void {
    const peer = connection.remotePeer.toString()
    this.#others.delete(peer)
    if (connection.status === 'open') this.#admit(connection)
    const member = this.#members.get(peer)
    if (member !== undefined) member.isProven = true
  }

  async admitted(connection: Connection, signal: AbortSignal): Promise<void> {
    const peer = connection.remotePeer.toString()
    if (this.has(peer)) return
    const judging = this.#judging.get(connection)
    if (judging !== undefined || !this.#others.has(peer)) await until(judging ?? this.#onOpen(connection), signal)
    if (this.has(peer)) return
    const other = this.#others.get(peer)
    if (other !== undefined) throw ofOtherMesh(peer, other, this.#components.mesh.name)
    throw new MeshError('UNREACHABLE', `${peer} closed the connection at once`)
  }

  stop(): void {
    this.#isStopped = true
    for (const timer of this.#leaving) clearTimeout(timer)
    for (const peer of this.#members.keys()) this.#components.emit('peer:leave', { peer })
    this.#members.clear()
  }

  #onOpen(connection: Connection): Promise<void> {
    const judging = this.#judge(connection).finally(() => this.#judging.delete(connection))
    this.#judging.set(connection, judging)
    return judging
  }

  /** Never rejects. */
  async #judge(connection: Connection): Promise<void> {
    try {
      // Its result comes as an event too, by which the peer is let in or let go
      await this.#components.node.services.identify.identify(connection)
    } catch (err) {
      // It doesn't speak identify, as the smallest of peers; or it has gone, or is about to go
      if (!isSilence(err)) await closed(connection, OTHER_MESH_GRACE_MS)
      const peer = connection.remotePeer.toString()
      if (connection.status === 'open' && !this.#others.has(peer)) this.#admit(connection)
    }
  }

  #onIdentify({ connection, listenAddrs, peerId, protocols }: IdentifyResult): void {
    const { mesh, onAddresses } = this.#components
    const [peer, other] = [peerId.toString(), meshOf(protocols, mesh)]
    const isOther = other !== undefined && other !== mesh.name
    if (isOther && this.#members.get(peer)?.isProven !== true) return this.#refuse(connection, other)
    if (other === mesh.name) this.prove(connection)
    else if (connection.status === 'open') this.#admit(connection)
    const listening = listenAddrs.map((address) => withoutPeer(address.toString()))
    const member = this.#members.get(peer)
    if (member !== undefined) member.addresses = listening
    const dialled = connection.direction === 'outbound' ? [withoutPeer(connection.remoteAddr.toString())] : []
    onAddresses(peer, [...new Set([...dialled, ...listening])])
  }

  #admit(connection: Connection): void {
    const peer = connection.remotePeer.toString()
    if (this.#isStopped || this.#members.has(peer)) return
    this.#members.set(peer, { isProven: false, addresses: [] })
    this.#components.emit('peer:join', { peer, address: connection.remoteAddr.toString() })
  }

  /** Both sides are given the time to see why. */
  #refuse(connection: Connection, mesh: string): void {
    const { node, emit, mesh: own } = this.#components
    const peer = connection.remotePeer
    this.#others.set(peer.toString(), mesh)
    // It was let in before it served anything
    this.#onDisconnect(peer.toString())
    const close = (): void => void connection.close().catch((err: Error) => connection.abort(err))
    // What is known of it is of no use here; only the cache it is deleted from can fail
    void node.peerStore.delete(peer).catch(() => {})
    if (connection.direction === 'outbound') {
      emit('peer:refused', {
        peer: peer.toString(),
        address: connection.remoteAddr.toString(),
        reason: reason(mesh, own.name)
      })
    }
    const timer = setTimeout(() => {
      this.#leaving.delete(timer)
      if (!this.has(peer.toString())) close()
    }, OTHER_MESH_GRACE_MS)
    this.#leaving.add(timer)
  }

  #onDisconnect(peer: string): void {
    if (!this.#members.delete(peer) || this.#isStopped) return
    this.#components.emit('peer:leave', { peer })
    this.#components.onLost(peer)
  }
}

/** It said that it doesn't speak identify, or nothing at all. */
function isSilence(err: unknown): boolean {
  return err instanceof Error && /^(?:UnsupportedProtocol|Timeout|Abort)Error$/.test(err.name)
}

/** Waits until the connection is closed, or for that long. */
async function closed(connection: Connection, ms: number): Promise<void> {
  if (connection.status !== 'open') return
  const { promise, resolve } = Promise.withResolvers<void>()
  const timer = setTimeout(resolve, ms)
  connection.addEventListener('close', () => resolve(), { once: true })
  await promise
  clearTimeout(timer)
}

function describe(connection: Connection, name: string | undefined): PeerInfo {
  return {
    peer: connection.remotePeer.toString(),
    address: connection.remoteAddr.toString(),
    direction: connection.direction,
    connectedAt: new Date(connection.timeline.open).toISOString(),
    ...(name === undefined ? {} : { name })
  }
}

function withoutPeer(address: string): string {
  return address.replace(/\/p2p\/[^/]+$/, '')
}

function reason(other: string, own: string): string {
  return `it is of the mesh ${other}, and speaks no protocol of the mesh ${own}`
}

function ofOtherMesh(peer: string, other: string, own: string): MeshError {
  return new MeshError('UNSUPPORTED_VERSION', `${peer} can't be a peer: ${reason(other, own)}`, {
    hint: `Nodes meet when both are started with the same --mesh; a home keeps to the mesh that it was first started in.`
  })
}

async function until(work: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) throw abortError(signal)
  const { promise, reject } = Promise.withResolvers<never>()
  const onAbort = (): void => reject(abortError(signal))
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    await Promise.race([work, promise])
  } finally {
    signal.removeEventListener('abort', onAbort)
  }
}
