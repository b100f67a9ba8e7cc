import { base58btc } from 'multiformats/bases/base58'
import { MeshError } from '../errors.ts'

// Three names of one Ed25519 key, all plain byte mappings:
// did:key = multibase z + base58btc(varint 0xed + key), https://w3c-ccg.github.io/did-key-spec/
const DID_PREFIX = Uint8Array.of(0xed, 0x01)
// PeerId = base58btc(identity multihash of the protobuf { type: 1, data: key }), libp2p specs/peer-ids
const PEER_ID_PREFIX = Uint8Array.of(0x00, 0x24, 0x08, 0x01, 0x12, 0x20)

const KEY_BYTES = 32

/** `did:key:z6Mk…` of a raw Ed25519 public key. */
export function didFromKey(publicKey: Uint8Array): string {
  return `did:key:${base58btc.encode(prefixed(DID_PREFIX, publicKey))}`
}

/** The raw Ed25519 public key, 32 bytes. @throws {MeshError} INVALID_MESSAGE for anything but an Ed25519 did:key */
export function keyFromDid(did: string): Uint8Array {
  return keyFrom(DID_PREFIX, did.startsWith('did:key:z') ? did.slice(8) : '', did)
}

/** PeerId as text, `12D3KooW…`, of a raw Ed25519 public key. */
export function peerIdFromKey(publicKey: Uint8Array): string {
  return base58btc.encode(prefixed(PEER_ID_PREFIX, publicKey)).slice(1)
}

/** The raw Ed25519 public key, 32 bytes. @throws {MeshError} INVALID_MESSAGE for anything but an Ed25519 PeerId */
export function keyFromPeerId(peer: string): Uint8Array {
  return keyFrom(PEER_ID_PREFIX, `z${peer}`, peer)
}

function prefixed(prefix: Uint8Array, publicKey: Uint8Array): Uint8Array {
  if (publicKey.length !== KEY_BYTES) throw new MeshError('INVALID_ARGUMENT', 'an Ed25519 public key has 32 bytes')
  return Buffer.concat([prefix, publicKey])
}

function keyFrom(prefix: Uint8Array, multibase: string, name: string): Uint8Array {
  const bytes = decode(multibase)
  if (bytes?.length === prefix.length + KEY_BYTES && prefix.every((byte, at) => bytes[at] === byte)) {
    return bytes.subarray(prefix.length)
  }
  throw new MeshError('INVALID_MESSAGE', `not the name of an Ed25519 key: ${name.slice(0, 80)}`)
}

function decode(multibase: string): Uint8Array | undefined {
  // base58 takes quadratic time; every name of a key is shorter
  if (multibase.length > 64) return undefined
  try {
    return base58btc.decode(multibase)
  } catch {
    return undefined
  }
}
