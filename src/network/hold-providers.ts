import type { AbortOptions, PeerId } from '@libp2p/interface'
import { peerIdFromString } from '@libp2p/peer-id'
import type { CID } from 'multiformats/cid'
import { PROVIDER_VALIDITY_MS } from './constants.ts'
import type { Holder } from './holder.ts'
import { subnetOf } from './subnet.ts'

const SHA2_256 = 0x12

/** The part of kad-dht that keeps provider records and gives them away. */
export interface ProviderStore {
  addProvider(key: CID, provider: PeerId, options?: AbortOptions): Promise<void>
  getProviders(key: CID, options?: AbortOptions): Promise<PeerId[]>
}

export interface HoldProvidersComponents {
  readonly holder: Holder
  /** Multiaddr that a connected peer is connected by. */
  readonly addressOf: (peer: string) => string | undefined
  /** Whether the peer store has the peer: kad-dht fails its whole answer for one that it hasn't. */
  readonly isStored: (peer: PeerId) => Promise<boolean>
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/**
 * Stock takes any number of providers for a key, forgets none for 48 h and names all of them. Here the holder takes what others
 * provide, with its limits, and answers for them; the wire stays as it is. Nothing is written to the datastore.
 */
export function holdProviders(store: ProviderStore, components: HoldProvidersComponents): void {
  const { holder, addressOf, isStored, now } = components
  store.addProvider = async (cid, provider) => {
    const [peer, key] = [provider.toString(), keyOf(cid)]
    // Nobody else is part of a mesh
    if (key === undefined || provider.type !== 'Ed25519' || !holder.admit(peer, key)) return
    holder.put({ key, peer, expiresAt: now() + PROVIDER_VALIDITY_MS, subnet: subnetOf(addressOf(peer)) })
  }
  store.getProviders = async (cid) => {
    const key = keyOf(cid)
    if (key === undefined) return []
    const named = holder.sample(key).map(({ peer }) => peerIdFromString(peer))
    const known = await Promise.all(named.map(async (peer) => ((await isStored(peer)) ? [peer] : [])))
    return known.flat()
  }
}

/** As the holder names it: the DHT takes nothing but SHA-256. */
function keyOf({ multihash }: CID): string | undefined {
  return multihash.code === SHA2_256 && multihash.digest.length === 32
    ? Buffer.from(multihash.digest).toString('base64url')
    : undefined
}
