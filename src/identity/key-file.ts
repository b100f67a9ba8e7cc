import { createPrivateKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { MeshError } from '../errors.ts'
import { readOrCreatePrivate } from '../store/index.ts'
import { MAX_KEY_FILE_BYTES } from './constants.ts'

/**
 * Reads the node's key, PKCS#8 in PEM; makes one when there is none.
 *
 * @throws {MeshError} INVALID_CONFIG when the file is no Ed25519 key, or others may read it; IO
 */
export async function readOrCreateKey(path: string): Promise<KeyObject> {
  const pem = await readOrCreatePrivate({
    path,
    maxBytes: MAX_KEY_FILE_BYTES,
    make: () => generateKey().export({ type: 'pkcs8', format: 'pem' }).toString(),
    unusable: () => notAKey(path)
  })
  return parse(pem, path)
}

export function generateKey(): KeyObject {
  return generateKeyPairSync('ed25519').privateKey
}

function parse(pem: string, path: string): KeyObject {
  let key: KeyObject
  try {
    key = createPrivateKey(pem)
  } catch (err) {
    throw notAKey(path, err)
  }
  if (key.asymmetricKeyType !== 'ed25519') throw notAKey(path)
  return key
}

function notAKey(path: string, cause?: unknown): MeshError {
  return new MeshError('INVALID_CONFIG', `${path} does not hold an Ed25519 private key (PKCS#8, PEM)`, {
    cause,
    hint: `put a backup of it in its place; or move it away, and the node becomes a new one with another id`
  })
}
