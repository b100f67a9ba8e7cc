import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { type DhtHint, readHint, signHint, verifyHint } from '../../src/discovery/dht-hint.ts'
import { MAX_DHT_HINT_BYTES, MAX_HINT_LIFETIME_MS, MAX_HINT_VERSIONS } from '../../src/discovery/hint-constants.ts'
import { nameKey } from '../../src/discovery/names.ts'
import { createIdentity } from '../../src/identity/index.ts'
import { NOW } from './records.ts'

const KEY = Buffer.from(nameKey('tool', 'add').multihash.digest).toString('base64url')
const identity = createIdentity()

async function sign(changes: Partial<DhtHint> = {}): Promise<Uint8Array> {
  return await signHint(identity, { key: KEY, seq: NOW, expiresAt: NOW + 3_600_000, versions: ['1.0.0'], ...changes })
}

const read = (bytes: Uint8Array) => verifyHint(bytes, { key: KEY, now: NOW })

const version = fc
  .tuple(fc.nat(999), fc.nat(99), fc.nat(9), fc.constantFrom('', '-rc.1', '+build.7', '-alpha.beta.1+x'))
  .map(([major, minor, patch, rest]) => `${major}.${minor}.${patch}${rest}`)

describe('a signed hint', () => {
  it('says what its provider has signed', async () => {
    expect(read(await sign())).toEqual({
      key: KEY,
      peer: identity.id,
      seq: NOW,
      expiresAt: NOW + 3_600_000,
      versions: ['1.0.0'],
      hasMore: false
    })
  })

  it('carries as many versions as fit, the highest first, and says when there are more', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(version, { maxLength: 20 }), async (versions) => {
        const bytes = await sign({ versions })
        const hint = read(bytes)
        expect(bytes.length).toBeLessThanOrEqual(MAX_DHT_HINT_BYTES)
        if (typeof hint === 'string') throw new Error(hint)
        expect(versions).toEqual(expect.arrayContaining([...hint.versions]))
        expect(hint.versions.length).toBeLessThanOrEqual(MAX_HINT_VERSIONS)
        expect(hint.hasMore).toBe(hint.versions.length < new Set(versions).size)
      }),
      { seed: 7, numRuns: 100 }
    )
  })

  it('carries the highest of too many', async () => {
    const versions = Array.from({ length: 20 }, (_, i) => `1.${i}.0`)
    expect(read(await sign({ versions }))).toMatchObject({ versions: versions.toReversed().slice(0, 8), hasMore: true })
  })

  it('leaves out a version that is too long, not those after it', async () => {
    const long = `2.0.0-${'a'.repeat(60)}`
    expect(read(await sign({ versions: [long, '1.0.0'] }))).toMatchObject({ versions: ['1.0.0'], hasMore: true })
  })

  it.each([
    { id: 'a version that is none', changes: { versions: ['newest'] } },
    { id: 'a version as tags write it', changes: { versions: ['v1.0.0'] } },
    { id: 'a key that is too short', changes: { key: 'AAAA' } }
  ])('is not made of $id', async ({ changes }) => {
    await expect(sign(changes)).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })

  it('may live 14 hours, and some for the clocks', async () => {
    expect(read(await sign({ expiresAt: NOW + MAX_HINT_LIFETIME_MS }))).toMatchObject({ peer: identity.id })
    expect(read(await sign({ expiresAt: NOW + MAX_HINT_LIFETIME_MS + 601_000 }))).toBe('expired')
    expect(read(await sign({ expiresAt: NOW }))).toBe('expired')
  })

  it('is no hint for another key', async () => {
    const other = Buffer.from(nameKey('tool', 'subtract').multihash.digest).toString('base64url')
    expect(verifyHint(await sign(), { key: other, now: NOW })).toBe('bad-hint')
  })

  it('is refused when any bit has changed', async () => {
    const bytes = await sign({ versions: ['1.0.0', '0.9.0-rc.1'] })
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.nat(7), (at, bit) => {
        const changed = Buffer.from(bytes)
        changed.writeUInt8(changed.readUInt8(at) ^ (1 << bit), at)
        expect(['bad-hint', 'expired', 'forged']).toContain(read(changed))
      }),
      { seed: 8, numRuns: 500 }
    )
  })
})

it('reads any bytes without throwing', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 220 }), fc.boolean(), (bytes, isLayout) => {
      if (isLayout && bytes.length > 0) bytes[0] = 1
      readHint(bytes, NOW)
      expect(['bad-hint', 'expired', 'forged']).toContain(read(bytes))
    }),
    { seed: 9, numRuns: 2_000 }
  )
})
