import type { ConnectionGater, MultiaddrConnection } from '@libp2p/interface'
import { LRUCache } from 'lru-cache'
import {
  CONNECTION_BURST_PER_IP,
  CONNECTIONS_PER_SECOND_PER_IP,
  MAX_CONNECTIONS_PER_IP,
  MAX_PENDING_PER_IP,
  MAX_TRACKED_IPS
} from './constants.ts'
import { isLoopback, networkOf } from './ip.ts'

interface Network {
  pending: number
  open: number
  tokens: number
  refilledAt: number
}

export interface GaterComponents {
  /** Milliseconds since 1970. */
  readonly clock: () => number
  readonly isBlocked: (peer: string) => boolean
}

/**
 * Refuses inbound connections of a network address that has too many, or opens them too fast (loopback is exempt), and
 * every connection with a blocked peer.
 */
export function createGater({ clock, isBlocked }: GaterComponents): ConnectionGater {
  const networks = new LRUCache<string, Network>({ max: MAX_TRACKED_IPS })
  const admitted = new WeakMap<MultiaddrConnection, { isOpen: boolean; network: Network }>()

  const networkFor = (key: string): Network => {
    const known = networks.get(key)
    if (known !== undefined) return known
    const network = { pending: 0, open: 0, tokens: CONNECTION_BURST_PER_IP, refilledAt: clock() }
    networks.set(key, network)
    return network
  }

  return {
    denyDialPeer: (peer) => isBlocked(peer.toString()),
    denyInboundEncryptedConnection: (peer) => isBlocked(peer.toString()),
    denyOutboundEncryptedConnection: (peer) => isBlocked(peer.toString()),
    denyInboundConnection(connection) {
      const host = hostOf(connection)
      if (host === undefined || isLoopback(host)) return false
      const network = networkFor(networkOf(host))
      if (!takeToken(network, clock())) return true
      if (network.pending >= MAX_PENDING_PER_IP || network.open >= MAX_CONNECTIONS_PER_IP) return true
      const admission = { isOpen: false, network }
      network.pending++
      admitted.set(connection, admission)
      connection.addEventListener('close', () => network[admission.isOpen ? 'open' : 'pending']--, { once: true })
      return false
    },
    denyInboundUpgradedConnection(_peer, connection) {
      const admission = admitted.get(connection)
      if (admission === undefined || admission.isOpen || connection.status !== 'open') return false
      admission.isOpen = true
      admission.network.pending--
      admission.network.open++
      return false
    }
  }
}

function takeToken(network: Network, now: number): boolean {
  const refill = ((now - network.refilledAt) / 1_000) * CONNECTIONS_PER_SECOND_PER_IP
  network.tokens = Math.min(CONNECTION_BURST_PER_IP, network.tokens + Math.max(0, refill))
  network.refilledAt = now
  if (network.tokens < 1) return false
  network.tokens--
  return true
}

/** The IP address of the other end; undefined for transports without one. */
function hostOf(connection: MultiaddrConnection): string | undefined {
  const [first] = connection.remoteAddr.getComponents()
  return first?.name === 'ip4' || first?.name === 'ip6' ? first.value : undefined
}
