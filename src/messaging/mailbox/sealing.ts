import { createPrivateKey, createPublicKey, generateKeyPairSync, type KeyObject } from 'node:crypto'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { MeshError } from '../../errors.ts'
import type { Store } from '../../store/index.ts'
import type { Vault } from '../../vault/index.ts'
import { parseJson } from '../../wire/index.ts'
import { text } from '../rows.ts'
import { MAX_PLAIN_BYTES, SEALED_TYPE } from './constants.ts'
import { type SealingKey, sealingKey } from './messages.ts'

const ALGORITHM = 'ECDH-ES+A256KW'
const ENCRYPTION = 'A256GCM'

/** The key that others seal to, and what opens it. */
export interface SealingPair {
  readonly publicKey: SealingKey
  readonly privateKey: KeyObject
}

/**
 * Reads the node's sealing key; the first time it makes one. The private half lies in the vault.
 *
 * @throws {MeshError} INVALID_CONFIG when the vault can't open it, IO
 */
export async function openSealingKey(store: Store, vault: Vault): Promise<SealingPair> {
  const row = store.get('SELECT x, sealed FROM mailbox_key')
  if (row !== undefined) {
    const der = Buffer.from(await vault.open(text(row, 'sealed')), 'base64url')
    return {
      publicKey: { kty: 'OKP', crv: 'X25519', x: text(row, 'x') },
      privateKey: createPrivateKey({ key: der, format: 'der', type: 'pkcs8' })
    }
  }
  const pair = generateKeyPairSync('x25519')
  const publicKey = sealingKey.parse(pair.publicKey.export({ format: 'jwk' }))
  const der = pair.privateKey.export({ format: 'der', type: 'pkcs8' })
  await store.write([
    {
      sql: 'INSERT INTO mailbox_key (id, x, sealed) VALUES (1, ?, ?)',
      params: [publicKey.x, await vault.seal(der.toString('base64url'))]
    }
  ])
  return { publicKey, privateKey: pair.privateKey }
}

/**
 * Encrypts a text so that only the holder of the key reads it; who wrote it, is within.
 *
 * @throws {MeshError} INVALID_RECORD when nothing can be encrypted to the key
 */
export async function seal(plain: string, key: SealingKey): Promise<string> {
  try {
    return await new CompactEncrypt(Buffer.from(plain))
      .setProtectedHeader({ alg: ALGORITHM, enc: ENCRYPTION, typ: SEALED_TYPE })
      .encrypt(createPublicKey({ key: { ...key }, format: 'jwk' }))
  } catch (err) {
    throw new MeshError('INVALID_RECORD', 'nothing can be sealed to the key of the mailbox statement', { cause: err })
  }
}

/** What was sealed, as JSON; undefined when it isn't for this key, or isn't JSON. */
export async function unseal(sealed: string, { privateKey }: SealingPair): Promise<unknown> {
  try {
    const { plaintext, protectedHeader } = await compactDecrypt(sealed, privateKey, {
      keyManagementAlgorithms: [ALGORITHM],
      contentEncryptionAlgorithms: [ENCRYPTION]
    })
    // A compressed text may be any size when it is opened
    if (protectedHeader.typ !== SEALED_TYPE || plaintext.byteLength > MAX_PLAIN_BYTES) return undefined
    return parseJson(plaintext)
  } catch {
    return undefined // anybody who may deposit can deposit anything
  }
}
