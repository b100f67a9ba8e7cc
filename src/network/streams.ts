import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { type Multiaddr, multiaddr } from '@multiformats/multiaddr'
import { abortError, MeshError, throwIfAborted } from '../errors.ts'
import { newestConnection } from './connections.ts'
import { DIAL_TIMEOUT_MS, MAX_STREAMS_PER_CONNECTION } from './constants.ts'
import type { MeshLibp2p } from './libp2p.ts'

/** How to get to a peer. */
export interface Dialler {
  readonly node: MeshLibp2p
  /** Where others say that it is. */
  readonly heardOf: (peer: string) => readonly string[]
  /** Asks the mesh where it is; nothing when nobody knows. Never rejects. */
  readonly search: (peer: string, options: { signal: AbortSignal }) => Promise<readonly string[]>
}

/**
 * Opens a stream on the newest connection, dialling when there is none.
 *
 * @throws {MeshError} UNREACHABLE, UNSUPPORTED_VERSION, TIMEOUT, CANCELLED
 */
export async function openStream(
  dialler: Dialler,
  peer: PeerId,
  protocols: readonly string[],
  signal: AbortSignal
): Promise<{ stream: Stream; connection: Connection }> {
  throwIfAborted(signal)
  const existing = newestConnection(dialler.node, peer)
  if (existing !== undefined) {
    try {
      return await openOn(existing, protocols, signal)
    } catch (err) {
      // It may have died meanwhile, which is no reason to fail.
      if (!(err instanceof MeshError) || err.code !== 'UNREACHABLE' || existing.status === 'open') throw err
    }
  }
  return openOn(await dialPeer(dialler, peer, signal), protocols, signal)
}

/**
 * Connects to a peer at the addresses known of it, or else by hearsay, else at those that the mesh knows.
 *
 * @throws {MeshError} UNREACHABLE, TIMEOUT, CANCELLED
 */
export async function dialPeer(dialler: Dialler, peer: PeerId, signal: AbortSignal): Promise<Connection> {
  const { node, heardOf, search } = dialler
  const [id, suffix] = [peer.toString(), `/p2p/${peer.toString()}`]
  const known = [...(await knownAddresses(node, peer)).map(String), ...heardOf(id)]
  let failure: unknown
  try {
    return await reach(node, peer, heardOf(id), signal)
  } catch (err) {
    throwIfAborted(signal)
    failure = err
  }
  const found = await search(id, { signal })
  throwIfAborted(signal)
  const tried = new Set(known.map((text) => text.replace(suffix, '')))
  const fresh = found.filter((text) => !tried.has(text.replace(suffix, '')))
  if (fresh.length === 0) throw failure
  return reach(node, peer, fresh, signal)
}

/**
 * Connects to a peer at the addresses known of it and at those given, by hearsay; doesn't search for others.
 *
 * @throws {MeshError} UNREACHABLE, TIMEOUT, CANCELLED
 */
export async function reach(
  node: MeshLibp2p,
  peer: PeerId,
  heard: readonly string[],
  signal: AbortSignal
): Promise<Connection> {
  const suffix = `/p2p/${peer.toString()}`
  const known = await knownAddresses(node, peer)
  const bare = [...known.map(String), ...heard].map((text) => text.replace(/\/p2p\/[^/]+$/, ''))
  const addresses = [...new Set(bare)].flatMap((text) => toMultiaddr(text + suffix) ?? [])
  if (addresses.length === 0) throw unreachable(peer, 'no address of it is known')
  return dial(node, addresses, signal)
}

/**
 * Dials with a deadline of its own beside the caller's.
 *
 * @throws {MeshError} UNREACHABLE, TIMEOUT, CANCELLED
 */
export async function dial(
  node: Libp2p,
  target: PeerId | Multiaddr | Multiaddr[],
  signal: AbortSignal
): Promise<Connection> {
  throwIfAborted(signal)
  try {
    return await node.dial(target, { signal: AbortSignal.any([signal, AbortSignal.timeout(DIAL_TIMEOUT_MS)]) })
  } catch (cause) {
    throwIfAborted(signal)
    throw unreachable(target, reasonOf(cause), cause)
  }
}

async function openOn(
  connection: Connection,
  protocols: readonly string[],
  signal: AbortSignal
): Promise<{ stream: Stream; connection: Connection }> {
  const peer = connection.remotePeer
  let stream: Stream
  try {
    stream = await connection.newStream([...protocols], { signal, maxOutboundStreams: MAX_STREAMS_PER_CONNECTION })
  } catch (cause) {
    if (signal.aborted) throw abortError(signal)
    if (cause instanceof Error && cause.name === 'UnsupportedProtocolError') {
      throw new MeshError('UNSUPPORTED_VERSION', `${peer.toString()} speaks none of ${protocols.join(', ')}`, {
        cause,
        hint: 'One of the two nodes needs a newer version.'
      })
    }
    throw unreachable(peer, 'no stream could be opened', cause)
  }
  // It may be closed by now: the other side resets what is beyond its limits.
  if (stream.status !== 'open') throw unreachable(peer, 'it closed the stream at once')
  return { stream, connection }
}

/** Where a peer is, as it says itself or as it was reached; none when it isn't known. */
export async function knownAddresses(node: Libp2p, peer: PeerId): Promise<Multiaddr[]> {
  try {
    const { addresses } = await node.peerStore.get(peer)
    return addresses.map(({ multiaddr }) => multiaddr)
  } catch {
    return [] // not in the peer store
  }
}

function toMultiaddr(text: string): Multiaddr | undefined {
  try {
    return multiaddr(text)
  } catch {
    return undefined // hearsay
  }
}

function reasonOf(err: unknown): string {
  const { name, message } = err as Error
  if (name === 'TimeoutError' || name === 'AbortError') return 'no answer in time'
  if (/ECONNREFUSED/.test(message)) return 'connection refused'
  return hasBrokenOff(err) ? BROKEN_OFF : 'the dial failed'
}

const BROKEN_OFF = 'it broke off the handshake, as with another swarm key'

/** Somebody was there, but no sense came of it: a handshake doesn't come through another swarm key, and nothing says why. */
function hasBrokenOff(err: unknown): boolean {
  const { name, message = '', errors } = err as Partial<AggregateError>
  if (Array.isArray(errors)) return errors.some(hasBrokenOff)
  // Who turns out to be another peer has the right swarm key, if any
  if (name === 'EncryptionFailedError') return !/identity key/.test(message)
  return /ECONNRESET|EPIPE|unexpected EOF/i.test(message)
}

function unreachable(target: PeerId | Multiaddr | Multiaddr[], reason: string, cause?: unknown): MeshError {
  return new MeshError('UNREACHABLE', `${String(target)} can't be reached: ${reason}`, {
    ...(cause === undefined ? {} : { cause }),
    hint:
      reason === BROKEN_OFF
        ? 'Check that both nodes were started with the same swarm key, or both without one; and that a node runs there.'
        : 'Check that the node runs, that its address is right, and that no firewall is between.'
  })
}
