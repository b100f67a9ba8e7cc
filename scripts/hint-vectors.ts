// Makes protocols/hints/1.0.0/vectors/signed.json. Uses nothing of src/, so that the vectors check it and don't echo it.
import { createHash, sign } from 'node:crypto'
import { type KeyPair, OWNER, STRANGER } from './vectors.ts'

const NOW = '2026-11-23T12:00:00.000Z'
const SECONDS = Date.parse(NOW) / 1000
const HOUR = 3_600
const DOMAIN = 'pryx-mesh-hint/1\n'

const KEYS: Readonly<Record<string, string>> = {
  [OWNER.peer]: 'd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a',
  [STRANGER.peer]: '3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c'
}

const digestOf = (text: string): Buffer => createHash('sha256').update(text).digest()
const KEY = digestOf('/pryx-mesh/capability/1/tool/add')
const OTHER_KEY = digestOf('/pryx-mesh/capability/1/tool/db.*')

interface Fields {
  readonly layout: number
  readonly key: Buffer
  readonly publicKey: string
  readonly seq: number
  /** Unix time in seconds. */
  readonly expires: number
  readonly flags: number
  readonly count: number
  readonly versions: readonly string[]
  readonly domain: string
  readonly signer: KeyPair
  /** Added to what is signed. */
  readonly rest: string
}

interface Vector {
  readonly name: string
  /** The receiver's clock. */
  readonly now: string
  /** The key that was asked for, base64url. */
  readonly key: string
  /** The hint, base64url. */
  readonly hint: string
  /** What a valid one says. */
  readonly says?: { peer: string; seq: number; expiresAt: string; versions: readonly string[]; hasMore: boolean }
  /** Why an invalid one is refused. */
  readonly refusal?: 'bad-hint' | 'expired' | 'forged'
}

function bytesOf(changes: Partial<Fields> = {}): Buffer {
  const versions = changes.versions ?? ['1.0.0']
  const fields: Fields = {
    layout: 1,
    key: KEY,
    publicKey: KEYS[OWNER.peer] ?? '',
    seq: Date.parse(NOW),
    expires: SECONDS + 2.5 * HOUR,
    flags: 0,
    count: versions.length,
    versions,
    domain: DOMAIN,
    signer: OWNER,
    rest: '',
    ...changes
  }
  const numbers = Buffer.alloc(12)
  numbers.writeUIntBE(fields.seq, 0, 6)
  numbers.writeUInt32BE(fields.expires, 6)
  numbers.writeUInt8(fields.flags, 10)
  numbers.writeUInt8(fields.count, 11)
  const unsigned = Buffer.concat([
    Buffer.of(fields.layout),
    fields.key,
    Buffer.from(fields.publicKey, 'hex'),
    numbers,
    ...versions.map((version) => Buffer.concat([Buffer.of(version.length), Buffer.from(version)])),
    Buffer.from(fields.rest)
  ])
  const signed = Buffer.concat([Buffer.from(fields.domain), unsigned])
  return Buffer.concat([unsigned, sign(null, signed, fields.signer.privateKey)])
}

function valid(name: string, changes: Partial<Fields> = {}): Vector {
  const { signer = OWNER, seq = Date.parse(NOW), expires = SECONDS + 2.5 * HOUR, key = KEY, flags = 0 } = changes
  const expiresAt = new Date(expires * 1000).toISOString()
  const versions = changes.versions ?? ['1.0.0']
  const says = { peer: signer.peer, seq, expiresAt, versions, hasMore: flags % 2 === 1 }
  return { ...given(name, bytesOf(changes), key), says }
}

function given(name: string, bytes: Buffer, key = KEY): Vector {
  return { name, now: NOW, key: key.toString('base64url'), hint: bytes.toString('base64url') }
}

const invalid = (name: string, refusal: Vector['refusal'] & string, bytes: Buffer): Vector => ({
  ...given(name, bytes),
  refusal
})

function flipped(bytes: Buffer, at: number): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeUInt8(copy.readUInt8(at) ^ 1, at)
  return copy
}

const ORDER = Buffer.from('edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010', 'hex')

/** The same signature with the group's order added to its second half: lenient verifiers take both. */
function malleable(bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  let carry = 0
  for (let at = 0; at < 32; at++) {
    const sum = copy.readUInt8(copy.length - 32 + at) + ORDER.readUInt8(at) + carry
    copy.writeUInt8(sum % 256, copy.length - 32 + at)
    carry = sum >> 8
  }
  return copy
}

function validVectors(): Vector[] {
  return [
    valid('one version'),
    valid('no versions, under the key of a name space', { key: OTHER_KEY, versions: [] }),
    valid('by another node', { signer: STRANGER, publicKey: KEYS[STRANGER.peer] ?? '' }),
    valid('versions with pre-release and build', { versions: ['2.0.0-rc.1+build.5', '1.0.0'] }),
    valid('eight versions', { versions: Array.from({ length: 8 }, (_, i) => `${i}.0.0`) }),
    valid('more versions than fit', { flags: 1 }),
    valid('flags of a later version', { flags: 0xfe }),
    valid('200 bytes', { versions: [`1.0.0-${'a'.repeat(52)}`] }),
    valid('seq 0', { seq: 0 }),
    valid('the highest seq', { seq: 2 ** 48 - 1 }),
    valid('in its last second', { expires: SECONDS + 1 }),
    valid('14 hours and 10 minutes long', { expires: SECONDS + 14 * HOUR + 600 })
  ]
}

function invalidVectors(): Vector[] {
  const whole = bytesOf()
  const withVersions = (...versions: string[]): Buffer => bytesOf({ versions })
  return [
    invalid('nothing', 'bad-hint', Buffer.alloc(0)),
    invalid('140 bytes', 'bad-hint', bytesOf({ versions: [] }).subarray(1)),
    invalid('201 bytes', 'bad-hint', withVersions(`1.0.0-${'a'.repeat(53)}`)),
    invalid('another layout', 'bad-hint', bytesOf({ layout: 2 })),
    invalid('a byte too many before the signature', 'bad-hint', bytesOf({ rest: '\0' })),
    invalid('a byte too many after the signature', 'bad-hint', Buffer.concat([whole, Buffer.of(0)])),
    invalid('a version less than it counts', 'bad-hint', bytesOf({ count: 2 })),
    invalid('a version more than it counts', 'bad-hint', bytesOf({ count: 0 })),
    invalid('nine versions', 'bad-hint', withVersions(...Array.from({ length: 9 }, (_, i) => `${i}.0.0`))),
    invalid(
      'a version longer than what is there',
      'bad-hint',
      bytesOf({ versions: [], count: 1, rest: '\u00061.0.0' })
    ),
    invalid('an empty version', 'bad-hint', withVersions('')),
    invalid('a version that is none', 'bad-hint', withVersions('newest')),
    invalid('a version with a letter before it', 'bad-hint', withVersions('v1.0.0')),
    invalid('a range', 'bad-hint', withVersions('^1.0.0')),
    invalid('for another key', 'bad-hint', bytesOf({ key: OTHER_KEY })),
    invalid('expired', 'expired', bytesOf({ expires: SECONDS })),
    invalid('longer than 14 hours and 10 minutes', 'expired', bytesOf({ expires: SECONDS + 14 * HOUR + 601 })),
    invalid('signed by another node', 'forged', bytesOf({ signer: STRANGER })),
    invalid('without the domain', 'forged', bytesOf({ domain: '' })),
    invalid('a changed seq', 'forged', flipped(whole, 70)),
    invalid('a changed expiry', 'forged', flipped(whole, 74)),
    invalid('a changed flag', 'forged', flipped(whole, 75)),
    invalid('a changed version', 'forged', flipped(whole, 78)),
    invalid('a changed signature', 'forged', flipped(whole, whole.length - 64)),
    invalid('a signature in its other form', 'forged', malleable(whole)),
    invalid('a key that is no point of the curve', 'forged', bytesOf({ publicKey: '02'.padEnd(64, '0') }))
  ]
}

/** The file, reproducible: Ed25519 needs no randomness. */
export function hintVectors(): string {
  return `${JSON.stringify([...validVectors(), ...invalidVectors()], null, 2)}\n`
}
