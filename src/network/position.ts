import { createHash } from 'node:crypto'
import { peerIdFromString } from '@libp2p/peer-id'
import type { CID } from 'multiformats/cid'

/** Where the DHT places a key or a peer: 32 bytes, the SHA-256 of a key's multihash or of a PeerId's. */
export type Position = Uint8Array

/** The position of a key: of its whole multihash, prefix included, as kad-dht hashes it once more. */
export function positionOf(key: CID): Position {
  return hash(key.multihash.bytes)
}

/** @throws when the text is no PeerId */
export function positionOfPeer(peer: string): Position {
  return hash(peerIdFromString(peer).toMultihash().bytes)
}

export function hash(bytes: Uint8Array): Position {
  return createHash('sha256').update(bytes).digest()
}

/** The distance of two positions, big-endian; compare with {@link nearer}. */
export function distance(a: Position, b: Position): Uint8Array {
  return a.map((byte, i) => byte ^ (b[i] ?? 0))
}

/** Orders distances, the smaller first. */
export function nearer(a: Uint8Array, b: Uint8Array): number {
  return Buffer.compare(a, b)
}

/** A distance as a share of the whole ring, 0 to 1. */
export function shareOfRing(distance: Uint8Array): number {
  let share = 0
  for (let i = distance.length - 1; i >= 0; i--) share = (share + (distance[i] ?? 0)) / 256
  return share
}
