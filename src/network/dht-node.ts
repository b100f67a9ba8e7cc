import { newestConnection } from './connections.ts'
import type { DhtNode } from './dht.ts'
import type { MeshLibp2p } from './libp2p.ts'
import { readPeerId } from './listen.ts'
import { knownAddresses, reach } from './streams.ts'

/** Lends a node to the DHT. @param refuse throws for a peer that isn't to be dialled */
export function lendNode(node: MeshLibp2p, refuse: (peer: string) => void): DhtNode {
  return {
    dht: node.services.dht,
    isConnected: (peer) => newestConnection(node, readPeerId(peer)) !== undefined,
    isAlone: () => node.getConnections().length === 0,
    reach: async ({ id, addresses }, { signal }) => {
      refuse(id)
      await reach(node, readPeerId(id), addresses, signal)
    },
    ping: (peer, options) => node.services.ping.ping(readPeerId(peer), options),
    isStored: (peer) => node.peerStore.has(peer),
    addressesOf: async (peer) => (await knownAddresses(node, readPeerId(peer))).map(String),
    addressOf: (peer) => newestConnection(node, readPeerId(peer))?.remoteAddr.toString(),
    ownAddresses: () => node.getMultiaddrs()
  }
}
