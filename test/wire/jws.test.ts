import { generateKeyPairSync } from 'node:crypto'
import { CompactSign } from 'jose'
import { describe, expect, it } from 'vitest'
import { canonicalJson, didFromKey, type Signer, signJws, verifyJws } from '../../src/wire/index.ts'

const TYPE = 'mesh-test+jws'
const OPTIONS = { type: TYPE, maxBytes: 4096 }

function newSigner(): Signer {
  const { privateKey: key, publicKey } = generateKeyPairSync('ed25519')
  return { key, did: didFromKey(Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')) }
}

/** Signs whatever is given, as somebody who doesn't keep to the rules could. */
async function forge(signer: Signer, header: Record<string, unknown>, payload: string): Promise<string> {
  const { alg = 'EdDSA', ...rest } = header
  return new CompactSign(Buffer.from(payload))
    .setProtectedHeader({ alg: alg as string, ...rest })
    .sign(signer.key, { crit: { x: true } })
}

const replaced = (jws: string, part: number, text: string) =>
  jws
    .split('.')
    .map((old, index) => (index === part ? text : old))
    .join('.')

describe('a JWS', () => {
  it('tells who signed what', async () => {
    const signer = newSigner()
    const payload = { z: 1, a: ['ü', null, 1.5] }
    const jws = await signJws(signer, TYPE, payload)
    expect(await verifyJws(jws, OPTIONS)).toEqual({ did: signer.did, payload })
    expect(Buffer.from(jws.split('.')[0] ?? '', 'base64url').toString()).toBe(
      `{"alg":"EdDSA","kid":"${signer.did}","typ":"${TYPE}"}`
    )
    expect(Buffer.from(jws.split('.')[1] ?? '', 'base64url').toString()).toBe('{"a":["ü",null,1.5],"z":1}')
  })

  it('is accepted with the algorithm under its new name', async () => {
    const signer = newSigner()
    const jws = await forge(signer, { alg: 'Ed25519', kid: signer.did, typ: TYPE }, '{"a":1}')
    expect(await verifyJws(jws, OPTIONS)).toEqual({ did: signer.did, payload: { a: 1 } })
  })

  it('is refused as INVALID_RECORD when anything signed was changed', async () => {
    const [signer, other] = [newSigner(), newSigner()]
    const jws = await signJws(signer, TYPE, { a: 1 })
    const header = Buffer.from(JSON.stringify({ alg: 'EdDSA', kid: other.did, typ: TYPE })).toString('base64url')
    for (const forged of [
      replaced(jws, 0, header),
      replaced(jws, 1, Buffer.from('{"a":2}').toString('base64url')),
      replaced(jws, 2, Buffer.alloc(64).toString('base64url')),
      replaced(jws, 2, '')
    ]) {
      await expect(verifyJws(forged, OPTIONS)).rejects.toMatchObject({ code: 'INVALID_RECORD' })
    }
  })

  it.each([
    { id: 'another type', header: { typ: 'mesh-record+jws' } },
    { id: 'no type', header: { typ: undefined } },
    { id: 'no key', header: { kid: undefined } },
    { id: 'a key that is no did:key', header: { kid: 'https://example.com/key' } },
    { id: 'a key of its own', header: { jwk: { kty: 'OKP', crv: 'Ed25519', x: 'AA' } } },
    { id: 'the address of a key', header: { jku: 'https://example.com/jwks' } },
    { id: 'a critical extension', header: { crit: ['x'], x: 1 } },
    { id: 'any other member', header: { cty: 'json' } },
    { id: 'keys out of order', payload: '{"b":1,"a":2}' },
    { id: 'a space', payload: '{"a": 1}' },
    { id: 'a key twice', payload: '{"a":1,"a":1}' },
    { id: 'a number in another form', payload: '{"a":1.0}' },
    { id: 'half a surrogate pair', payload: '{"a":"\\ud800"}' },
    { id: 'a payload that is no JSON', payload: 'hello' },
    { id: 'a forbidden key', payload: '{"__proto__":1}' },
    { id: 'too deep a payload', payload: canonicalJson(JSON.parse('['.repeat(65) + ']'.repeat(65))) }
  ])('is refused as INVALID_MESSAGE with $id', async ({ header, payload }) => {
    const signer = newSigner()
    const members = Object.entries({ kid: signer.did, typ: TYPE, ...header }).filter(([, value]) => value !== undefined)
    const jws = await forge(signer, Object.fromEntries(members), payload ?? '{"a":1}')
    await expect(verifyJws(jws, OPTIONS)).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
  })

  it.each(['', 'a', 'a.b', 'a.b.c.d', '..', 'e30.e30.AA', 'bnVsbA.e30.AA', '!!.e30.AA'])('is not %j', async (text) => {
    await expect(verifyJws(text, OPTIONS)).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
  })

  it('without a signature is refused, whatever its algorithm says', async () => {
    const signer = newSigner()
    const header = Buffer.from(JSON.stringify({ alg: 'none', kid: signer.did, typ: TYPE })).toString('base64url')
    await expect(verifyJws(`${header}.e30.`, OPTIONS)).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
  })

  it('has one text: no padding, no other letters, no loose bits', async () => {
    const jws = await signJws(newSigner(), TYPE, { a: 1 })
    for (const other of [`${jws}=`, `${jws} `, jws.replace('.', '.\n'), loosen(jws)]) {
      await expect(verifyJws(other, OPTIONS)).rejects.toMatchObject({ code: 'INVALID_MESSAGE' })
    }
  })

  it('over the limit is refused before anything is read', async () => {
    const jws = await signJws(newSigner(), TYPE, { text: 'x'.repeat(4096) })
    await expect(verifyJws(jws, OPTIONS)).rejects.toMatchObject({ code: 'TOO_LARGE' })
  })

  it('can not be made of what has no JSON form', async () => {
    await expect(signJws(newSigner(), TYPE, { a: 1n })).rejects.toMatchObject({ code: 'INVALID_ARGUMENT' })
  })
})

/** The same bytes for a lenient reader: 64 bytes of signature leave four bits of the last letter unused. */
function loosen(jws: string): string {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_'
  return jws.slice(0, -1) + letters[letters.indexOf(jws.slice(-1)) + 1]
}
