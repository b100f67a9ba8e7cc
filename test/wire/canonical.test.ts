import { generateKeyPair } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey } from '@libp2p/peer-id'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { canonicalJson, didFromKey, digest, keyFromDid, keyFromPeerId, peerIdFromKey } from '../../src/wire/index.ts'

const cycle: unknown[] = []
cycle.push(cycle)

describe('canonicalJson', () => {
  // https://www.rfc-editor.org/rfc/rfc8785#section-3.2.3
  it('gives the text of the example in RFC 8785', () => {
    const value = {
      numbers: [Number('333333333.33333329'), 1e30, 4.5, 2e-3, 0.000000000000000000000000001],
      string: '\u20ac$\u000F\u000aA\'\u0042\u0022\u005c\\\"/',
      literals: [null, true, false]
    }
    expect(canonicalJson(value)).toBe(
      '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
  })

  it('gives one text to equal values, whatever the order of their keys', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue()), (value) => {
        const reversed = Object.fromEntries(Object.entries(value).reverse())
        expect(canonicalJson(reversed)).toBe(canonicalJson(value))
        expect(JSON.parse(canonicalJson(value))).toEqual(JSON.parse(JSON.stringify(value)))
      })
    )
  })

  it.each([
    { id: 'undefined', value: undefined },
    { id: 'NaN', value: [Number.NaN] },
    { id: 'infinity', value: { a: Number.POSITIVE_INFINITY } },
    { id: 'a BigInt', value: [1n] },
    { id: 'a function', value: () => 1 },
    { id: 'a function in an object', value: { a: { b: () => 1 } } },
    { id: 'a function in a list', value: [[() => 1]] },
    { id: 'what a toJSON does not say', value: { a: { toJSON: () => undefined } } },
    { id: 'a function that a toJSON gives', value: { a: { toJSON: () => ({ b: () => 1 }) } } },
    { id: 'half a surrogate pair', value: '\ud800' },
    { id: 'a cycle', value: cycle }
  ])('refuses $id', ({ value }) => {
    expect(() => canonicalJson(value)).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })

  it('makes digests that depend on content only', () => {
    expect(digest({})).toBe('RBNvo1WzZ4oRRq0W9-hknpT7T8If536DEMBg9hyq_4o')
    expect(digest({ b: 1, a: [2] })).toBe(digest({ a: [2], b: 1 }))
    expect(digest({ a: 1 })).not.toBe(digest({ a: 2 }))
  })
})

describe('the names of a key', () => {
  it("are libp2p's PeerId and the did:key of the same 32 bytes", async () => {
    const privateKey = await generateKeyPair('Ed25519')
    const { raw } = privateKey.publicKey
    expect(peerIdFromKey(raw)).toBe(peerIdFromPrivateKey(privateKey).toString())
    expect(didFromKey(raw)).toMatch(/^did:key:z6Mk[1-9A-HJ-NP-Za-km-z]{44}$/)
    expect(keyFromDid(didFromKey(raw))).toEqual(new Uint8Array(raw))
    expect(keyFromPeerId(peerIdFromKey(raw))).toEqual(new Uint8Array(raw))
  })

  // https://w3c-ccg.github.io/did-key-spec/#ed25519-x25519
  it('are those of the test vector of did:key', () => {
    const key = keyFromDid('did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooWp')
    expect(Buffer.from(key).toString('hex')).toBe('3b6a27bcceb6a42d62a3a8d02a6f0d73653215771de243a63ac048a18b59da29')
  })

  it.each([
    { id: 'nothing', did: '' },
    { id: 'another method', did: 'did:web:example.com' },
    { id: 'a secp256k1 key', did: 'did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme' },
    { id: 'a letter that base58 has not', did: 'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDooW0' },
    { id: 'a short key', did: 'did:key:z6MkiTBz1ymuepAQ4HEHYSF1H8quG5GLVVQR3djdX3mDoo' },
    { id: 'a very long one', did: `did:key:z${'6'.repeat(100_000)}` }
  ])('refuse $id', ({ did }) => {
    expect(() => keyFromDid(did)).toThrow(expect.objectContaining({ code: 'INVALID_MESSAGE' }))
    expect(() => keyFromPeerId(did)).toThrow(expect.objectContaining({ code: 'INVALID_MESSAGE' }))
  })

  it('are made of 32 bytes only', () => {
    expect(() => didFromKey(new Uint8Array(31))).toThrow(expect.objectContaining({ code: 'INVALID_ARGUMENT' }))
  })
})
