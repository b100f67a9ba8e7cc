import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { networkInterfaces } from 'node:os'
import type { ComponentLogger, PeerDiscovery, PeerInfo, Startable } from '@libp2p/interface'
import type { Multiaddr } from '@multiformats/multiaddr'
import { LAN_CHECK_MS, MAX_LAN_DIALS, MDNS_INTERVAL_MS, MDNS_YIELD_MS } from './constants.ts'
import type { LanStatus } from './index.ts'

const MULTICAST_ADDRESS = '224.0.0.251' // RFC 6762 §3
const MULTICAST_PORT = 5353

export interface LanComponents {
  /** PeerId of this node. */
  readonly id: string
  readonly logger: ComponentLogger
  /** The service that is asked for: nodes that ask for another one don't see each other. */
  readonly service: string
  /** Where this node is reached. */
  readonly addresses: () => Multiaddr[]
  readonly isConnected: (peer: string) => boolean
  /** Told of every answer of another node. */
  readonly onSeen: (peer: string) => void
  readonly dial: (peer: PeerInfo) => Promise<unknown>
}

/** Finds nodes on the local network and dials them. */
export interface Lan {
  status(): LanStatus
  start(): Promise<void>
  stop(): Promise<void>
}

type Mdns = PeerDiscovery & Startable

/**
 * mDNS finds and never dials. Only who asks gets answers, so the newcomer must dial; when both ask, the smaller id dials at once
 * and the larger one only if nothing has come of that.
 */
export function createLan(components: LanComponents): Lan {
  return new MdnsLan(components)
}

class MdnsLan implements Lan {
  readonly #components: LanComponents
  readonly #dialling = new Map<string, NodeJS.Timeout | undefined>()
  #mdns: Mdns | undefined
  #status: LanStatus = 'off'
  #link = ''
  #timer: NodeJS.Timeout | undefined
  #isStopped = false

  constructor(components: LanComponents) {
    this.#components = components
  }

  status(): LanStatus {
    return this.#status
  }

  async start(): Promise<void> {
    this.#mdns = await createMdns(this.#components)
    this.#mdns.addEventListener('peer', ({ detail }) => this.#onPeer(detail))
    await this.#watch()
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    clearTimeout(this.#timer)
    for (const waiting of this.#dialling.values()) clearTimeout(waiting)
    await this.#mdns?.stop()
    this.#status = 'off'
  }

  async #watch(): Promise<void> {
    try {
      await this.#check()
    } finally {
      if (!this.#isStopped) this.#timer = setTimeout(() => void this.#watch().catch(() => {}), LAN_CHECK_MS)
    }
  }

  /** A restart joins the multicast group on the interfaces there are now, and asks at once. */
  async #check(): Promise<void> {
    const hasRoute = await hasMulticastRoute()
    if (this.#isStopped) return
    this.#status = hasRoute ? 'on' : 'no multicast route'
    const link = `${this.#status} ${externalAddresses().sort().join()}`
    if (link === this.#link) return
    this.#link = link
    await this.#mdns?.stop()
    if (!this.#isStopped) await this.#mdns?.start()
  }

  #onPeer(peer: PeerInfo): void {
    const { id, isConnected, onSeen } = this.#components
    const key = peer.id.toString()
    if (key === id || this.#isStopped) return
    onSeen(key)
    if (isConnected(key) || this.#dialling.has(key) || this.#dialling.size >= MAX_LAN_DIALS) return
    this.#dialling.set(key, undefined)
    if (id < key) void this.#dial(peer)
    else
      this.#dialling.set(
        key,
        setTimeout(() => void this.#dial(peer), MDNS_YIELD_MS)
      )
  }

  async #dial(peer: PeerInfo): Promise<void> {
    const key = peer.id.toString()
    try {
      if (!this.#components.isConnected(key)) await this.#components.dial(peer)
    } catch {
      // mDNS repeats itself: the next answer is the next try
    } finally {
      this.#dialling.delete(key)
    }
  }
}

/** Loaded when first needed: a start need not wait for it. */
async function createMdns({ logger, service, addresses }: LanComponents): Promise<Mdns> {
  const { mdns } = await import('@libp2p/mdns')
  type Components = Parameters<ReturnType<typeof mdns>>[0]
  // Of the address manager it uses this one method.
  const addressManager = { getAddresses: addresses } as unknown as Components['addressManager']
  return mdns({ serviceTag: service, interval: MDNS_INTERVAL_MS })({ addressManager, logger }) as Mdns
}

/**
 * True when the kernel knows where to send multicast. Without a default or a multicast route (containers, namespaces) nothing
 * is sent and nobody says so. Connecting a UDP socket looks the route up and sends nothing.
 */
async function hasMulticastRoute(): Promise<boolean> {
  const socket = createSocket('udp4')
  try {
    socket.bind(0)
    await once(socket, 'listening')
    // With nothing but loopback, mDNS uses that: nodes of one machine find each other.
    if (externalAddresses().length === 0) socket.setMulticastInterface('127.0.0.1')
    socket.connect(MULTICAST_PORT, MULTICAST_ADDRESS)
    await once(socket, 'connect') // rejects on error
    return true
  } catch {
    return false
  } finally {
    socket.close()
  }
}

function externalAddresses(): string[] {
  return Object.entries(networkInterfaces()).flatMap(([name, addresses = []]) =>
    addresses
      .filter(({ family, internal }) => family === 'IPv4' && !internal)
      .map(({ address }) => `${name} ${address}`)
  )
}
