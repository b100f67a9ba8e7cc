import { randomBytes } from 'node:crypto'
import { crc32 } from 'node:zlib'

/** Letters and digits only, so that a double click selects the whole key. */
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

const ID_BYTES = 8
const ID_LENGTH = 11
const SECRET_BYTES = 32
const SECRET_LENGTH = 43
const CHECKSUM_LENGTH = 6

/** What secret scanners may look for. */
export const KEY_PATTERN = /\bmesh_k_[0-9A-Za-z]{11}_[0-9A-Za-z]{49}\b/

const SHAPE = new RegExp(
  `^(mesh_k_([0-9A-Za-z]{${ID_LENGTH}})_[0-9A-Za-z]{${SECRET_LENGTH}})([0-9A-Za-z]{${CHECKSUM_LENGTH}})$`
)

/** A new key's public id: 64 random bits. */
export function newId(): string {
  return base62(randomBytes(ID_BYTES), ID_LENGTH)
}

/** A new key for an id: 256 random bits, and a checksum of all before it. */
export function newKey(id: string): string {
  const text = `mesh_k_${id}_${base62(randomBytes(SECRET_BYTES), SECRET_LENGTH)}`
  return text + checksumOf(text)
}

/** The public id of a key that was typed right; undefined when it is no key. */
export function readKeyId(key: unknown): string | undefined {
  const [, text = '', id, checksum] = (typeof key === 'string' ? SHAPE.exec(key) : null) ?? []
  return checksum === checksumOf(text) ? id : undefined
}

function checksumOf(text: string): string {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(crc32(text))
  return base62(bytes, CHECKSUM_LENGTH)
}

function base62(bytes: Uint8Array, length: number): string {
  let rest = BigInt(`0x${Buffer.from(bytes).toString('hex')}`)
  let text = ''
  while (text.length < length) {
    text = ALPHABET.charAt(Number(rest % 62n)) + text
    rest /= 62n
  }
  return text
}
