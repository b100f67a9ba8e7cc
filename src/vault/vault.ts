import { hkdfSync, randomBytes } from 'node:crypto'
import { CompactEncrypt, compactDecrypt } from 'jose'
import { MeshError } from '../errors.ts'
import { readOrCreatePrivate } from '../store/index.ts'
import type { Vault, VaultInit } from './index.ts'

const KEY_BYTES = 32

/** 43 characters of base64url; some editors add a newline. */
const MAX_FILE_BYTES = 64

/** Not a purpose that a room may ask for: sealing has its own key. */
const SEAL_INFO = 'pryx-mesh:vault:seal:v1'
const DERIVE_INFO = 'pryx-mesh:vault:derive:v1\0'

export async function openVault({ path }: VaultInit = {}): Promise<Vault> {
  const master = path === undefined ? randomBytes(KEY_BYTES) : await readMaster(path)
  const sealing = expand(master, SEAL_INFO)
  return {
    seal: (text) =>
      new CompactEncrypt(new TextEncoder().encode(text))
        .setProtectedHeader({ alg: 'dir', enc: 'A256GCM' })
        .encrypt(sealing),
    async open(sealed) {
      try {
        const { plaintext } = await compactDecrypt(sealed, sealing, {
          keyManagementAlgorithms: ['dir'],
          contentEncryptionAlgorithms: ['A256GCM']
        })
        return new TextDecoder().decode(plaintext)
      } catch (err) {
        throw new MeshError('INVALID_CONFIG', 'a secret in the database was sealed with another key, or changed', {
          cause: err,
          hint: 'put back the secrets.key that belongs to this database; else give the secrets to the node anew'
        })
      }
    },
    derive: (purpose) => expand(master, DERIVE_INFO + purpose)
  }
}

async function readMaster(path: string): Promise<Buffer> {
  const unusable = (): MeshError =>
    new MeshError('INVALID_CONFIG', `${path} does not hold a key of ${KEY_BYTES} bytes in base64url`, {
      hint: 'put a backup of it in its place; or move it away: then API keys and kept secrets are lost'
    })
  const make = (): string => randomBytes(KEY_BYTES).toString('base64url')
  const text = (await readOrCreatePrivate({ path, maxBytes: MAX_FILE_BYTES, make, unusable })).trim()
  const master = Buffer.from(text, 'base64url')
  // Buffer skips what is no base64url, so only the way back tells
  if (master.length !== KEY_BYTES || master.toString('base64url') !== text) throw unusable()
  return master
}

function expand(master: Buffer, info: string): Buffer {
  return Buffer.from(hkdfSync('sha256', master, '', info, KEY_BYTES))
}
