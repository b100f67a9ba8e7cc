import type { Connection } from '@libp2p/interface'
import { MeshError } from '../errors.ts'
import type { Auth, Caller } from './index.ts'

/** Makes the callers of connections. */
export function createAuth(): Auth {
  const callers = new WeakMap<Connection, Caller>()
  return {
    callerOf(connection) {
      const known = callers.get(connection)
      if (known !== undefined) return known
      const caller = noiseCaller(connection)
      callers.set(connection, caller)
      return caller
    }
  }
}

function noiseCaller(connection: Connection): Caller {
  const { remotePeer } = connection
  // Other keys' PeerIds are hashes: they have no did:key, and nothing could be verified from the name alone.
  if (remotePeer.type !== 'Ed25519')
    throw new MeshError('FORBIDDEN', `only peers with an Ed25519 key are served, not ${remotePeer.type}`)
  if (connection.encryption === undefined) throw new MeshError('FORBIDDEN', 'the connection proves no identity')
  return { peer: remotePeer.toString(), credentials: [{ method: 'noise' }], trust: 'unknown', binding: 'noise' }
}

/**
 * The caller for the owner at the control socket and for the node itself.
 *
 * @param peer the node's own PeerId as text
 */
export function ownerCaller(peer: string): Caller {
  return { peer, credentials: [{ method: 'local' }], trust: 'owner', binding: 'local' }
}
