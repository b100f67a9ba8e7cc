import type { GossipSub } from '@libp2p/gossipsub'
import { type Identify, type IdentifyPush, identify, identifyPush } from '@libp2p/identify'
import type { ComponentLogger, Libp2p, Logger } from '@libp2p/interface'
import type { KadDHT } from '@libp2p/kad-dht'
import { type Ping, ping } from '@libp2p/ping'
import { preSharedKey } from '@libp2p/pnet'
import { tcp } from '@libp2p/tcp'
import type { Datastore } from 'interface-datastore'
import { createLibp2p, type Libp2pOptions } from 'libp2p'
import type { Identity } from '../identity/index.ts'
import {
  ADDRESS_DIAL_TIMEOUT_MS,
  DIAL_TIMEOUT_MS,
  INBOUND_UPGRADE_TIMEOUT_MS,
  MAX_ADDRESS_AGE_MS,
  MAX_ADDRESSES_PER_DIAL,
  MAX_CONNECTIONS,
  MAX_DIAL_QUEUE,
  MAX_PARALLEL_DIALS,
  MAX_PEER_AGE_MS,
  MAX_PENDING_CONNECTIONS,
  NEGOTIATION_TIMEOUT_MS,
  STOCK_INBOUND_THRESHOLD,
  TCP_KEEPALIVE_DELAY_MS
} from './constants.ts'
import { createGater } from './gater.ts'
import { meshGossipsub } from './gossip.ts'
import { meshKad } from './kad.ts'
import { type ListenWatch, watchListen } from './listen.ts'
import type { MeshIds } from './mesh.ts'
import { tunedNoise } from './noise.ts'
import { boundedWebSockets } from './websockets.ts'
import { tunedYamux } from './yamux.ts'

/** The services of a node; a type, for libp2p wants an index signature. */
type MeshServices = {
  identify: Identify
  identifyPush: IdentifyPush
  ping: Ping
  dht: KadDHT
  pubsub: GossipSub
}

export type MeshLibp2p = Libp2p<MeshServices>

export interface Libp2pComponents {
  readonly identity: Identity
  readonly datastore: Datastore | undefined
  readonly logger: ComponentLogger
  readonly clock: () => number
  readonly isBlocked: (peer: string) => boolean
}

export interface Libp2pInit {
  readonly listen: readonly string[]
  readonly transports: Libp2pOptions['transports']
  readonly connectionEncrypters: Libp2pOptions['connectionEncrypters']
  /** What every connection is wrapped in, below its encryption; undefined: nothing. */
  readonly swarmKey?: Uint8Array | undefined
  readonly metrics?: Libp2pOptions['metrics']
  readonly mesh: MeshIds
  readonly watch: ListenWatch
}

/** A node that isn't started, with every limit set that the defaults leave open. */
export function composeLibp2p(components: Libp2pComponents, init: Libp2pInit): Promise<MeshLibp2p> {
  const { identity, datastore, logger, clock, isBlocked } = components
  const keepAlive = { keepAlive: true, keepAliveInitialDelay: TCP_KEEPALIVE_DELAY_MS }
  const transports = init.transports ?? [tcp({ dialOpts: keepAlive, listenOpts: keepAlive }), boundedWebSockets()]
  return createLibp2p<MeshServices>({
    start: false,
    privateKey: identity.privateKey,
    nodeInfo: { name: 'pryx-mesh', userAgent: 'pryx-mesh' },
    logger,
    ...(datastore === undefined ? {} : { datastore }),
    peerStore: { maxAddressAge: MAX_ADDRESS_AGE_MS, maxPeerAge: MAX_PEER_AGE_MS },
    addresses: { listen: [...init.listen] },
    transports: transports.map((create) => watchListen(create, init.watch)),
    connectionEncrypters: init.connectionEncrypters ?? [tunedNoise()],
    streamMuxers: [tunedYamux()],
    ...(init.swarmKey === undefined ? {} : { connectionProtector: preSharedKey({ psk: init.swarmKey }) }),
    ...(init.metrics === undefined ? {} : { metrics: init.metrics }),
    connectionGater: createGater({ clock, isBlocked }),
    connectionMonitor: { enabled: false }, // cuts healthy links on one missed ping; the channel has its own heartbeat
    connectionManager: {
      maxConnections: MAX_CONNECTIONS,
      maxIncomingPendingConnections: MAX_PENDING_CONNECTIONS,
      inboundConnectionThreshold: STOCK_INBOUND_THRESHOLD,
      inboundUpgradeTimeout: INBOUND_UPGRADE_TIMEOUT_MS,
      inboundStreamProtocolNegotiationTimeout: NEGOTIATION_TIMEOUT_MS,
      outboundStreamProtocolNegotiationTimeout: NEGOTIATION_TIMEOUT_MS,
      maxParallelDials: MAX_PARALLEL_DIALS,
      maxDialQueueLength: MAX_DIAL_QUEUE,
      maxPeerAddrsToDial: MAX_ADDRESSES_PER_DIAL,
      dialTimeout: DIAL_TIMEOUT_MS,
      addressDialTimeout: ADDRESS_DIAL_TIMEOUT_MS
    },
    services: {
      // Whoever lets peers in has it run, and waits for it
      identify: identify({ runOnConnectionOpen: false }),
      identifyPush: identifyPush(),
      ping: ping(),
      dht: meshKad(init.mesh.kad),
      pubsub: meshGossipsub()
    }
  })
}

interface Debounced {
  stop?(): void
}

/** Stops a node, and with it two updates that libp2p puts off by a second: they would hold the process and write to a closed cache. */
export async function stopLibp2p(node: MeshLibp2p): Promise<void> {
  await node.stop()
  const { _push } = node.services.identifyPush as { _push?: Debounced }
  const { components } = node as { components?: { addressManager?: { _updatePeerStoreAddresses?: Debounced } } }
  _push?.stop?.()
  components?.addressManager?._updatePeerStoreAddresses?.stop?.()
}

/** A logger that says nothing: libp2p makes one for every stream, and a talking one costs a fifth of opening it. */
export function silentLogger(): ComponentLogger {
  const log: Logger = Object.assign(() => {}, { error: () => {}, trace: () => {}, enabled: false, newScope: () => log })
  return { forComponent: () => log }
}
