import type { KeyObject } from 'node:crypto'
import { privateKeyFromRaw } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import { MeshError } from '../errors.ts'
import { didFromKey, signBytes, signJws } from '../wire/index.ts'
import type { Identity } from './index.ts'

/** Makes an identity of an Ed25519 key of Node's own crypto. */
export function identityFrom(key: KeyObject): Identity {
  const { d = '', x = '' } = key.export({ format: 'jwk' })
  // libp2p's raw private key is the seed followed by the public key.
  const privateKey = privateKeyFromRaw(Buffer.concat([Buffer.from(d, 'base64url'), Buffer.from(x, 'base64url')]))
  if (privateKey.type !== 'Ed25519') throw new MeshError('INTERNAL', `a key of type ${privateKey.type}`)
  const peerId = peerIdFromPrivateKey(privateKey)
  const did = didFromKey(privateKey.publicKey.raw)
  return {
    peerId,
    id: peerId.toString(),
    did,
    privateKey,
    sign: (type, payload) => signJws({ key, did }, type, payload),
    signBytes: (domain, bytes) => signBytes(key, domain, bytes)
  }
}
