import type { Connection, Libp2p, PeerId } from '@libp2p/interface'
import { DUPLICATE_GRACE_MS, TWIN_MS } from './constants.ts'
import type { MeshLibp2p } from './libp2p.ts'
import type { MeshIds } from './mesh.ts'

/** The newest open connection: of two, the older may be one that nobody has noticed to be dead. */
export function newestConnection(node: Libp2p, peer: PeerId): Connection | undefined {
  return openConnections(node, peer).at(-1)
}

/**
 * Keeps pairs of nodes at one connection where that costs nothing. @param id PeerId of this node
 *
 * @returns how to stop
 */
export function tidyConnections(node: MeshLibp2p, id: string, mesh: MeshIds): () => void {
  const timers = new Set<NodeJS.Timeout>()

  node.addEventListener('connection:open', ({ detail: { remotePeer } }: CustomEvent<Connection>) => {
    if (node.status !== 'started' || node.getConnections(remotePeer).length < 2) return
    const timer = setTimeout(() => {
      timers.delete(timer)
      closeTwins(openConnections(node, remotePeer), id, mesh)
    }, DUPLICATE_GRACE_MS)
    timers.add(timer)
  })
  // gossipsub doesn't open its stream anew on another connection, until it hears of one: identify tells it.
  node.addEventListener('connection:close', ({ detail: { remotePeer } }: CustomEvent<Connection>) => {
    const other = newestConnection(node, remotePeer)
    if (node.status === 'started' && other !== undefined) void node.services.identify.identify(other).catch(() => {})
  })
  return () => {
    for (const timer of timers) clearTimeout(timer)
    timers.clear()
  }
}

/**
 * Two nodes that dial each other at once get two connections; both keep the one that the smaller id dialled. Only
 * connections of about the same age: a later one is there because one side has given up the earlier.
 */
function closeTwins(connections: readonly Connection[], id: string, mesh: MeshIds): void {
  const [oldest] = connections
  if (oldest === undefined) return
  const twins = connections.filter(({ timeline }) => timeline.open - oldest.timeline.open < TWIN_MS)
  const direction = id < oldest.remotePeer.toString() ? 'outbound' : 'inbound'
  const kept = twins.find((twin) => twin.direction === direction) ?? oldest
  for (const twin of twins) {
    if (twin !== kept && !isInUse(twin, mesh)) void twin.close().catch((err: Error) => twin.abort(err))
  }
}

/** True when a stream of ours is on it, or one that hasn't said yet what it is. The libraries' streams start anew elsewhere. */
function isInUse({ streams }: Connection, { prefix, kad }: MeshIds): boolean {
  return streams.some(({ protocol }) => protocol === '' || (protocol.startsWith(prefix) && protocol !== kad))
}

function openConnections(node: Libp2p, peer: PeerId): Connection[] {
  return node
    .getConnections(peer)
    .filter(({ status }) => status === 'open')
    .sort((a, b) => a.timeline.open - b.timeline.open)
}
