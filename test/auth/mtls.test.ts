import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { createMtls, type Holder, type PeerCertificate } from '../../src/auth/index.ts'
import { tempFolder } from '../temp.ts'
import {
  didOfKeys,
  makeAuthority,
  makeCertificate,
  makeKeys,
  startTlsServer,
  type TestCertificate
} from './certificates.ts'

const options = { signal: AbortSignal.timeout(30_000) }

/** As an edge presents what a connection has proven. */
const presented = ({ certificate, x5t }: PeerCertificate): [Record<string, unknown>, Holder, typeof options] => [
  { method: 'mtls', certificate },
  { x5t },
  options
]

/** Shows the certificate to a real server, and gives what that has proven to whoever accepts `init`. */
async function verified(
  shown: TestCertificate,
  init: Parameters<typeof createMtls>[0] = {}
): Promise<{ ok: boolean; reason?: string | undefined; subject?: string; scopes?: readonly string[] }> {
  const server = await startTlsServer()
  const proven = await server.shows(shown)
  if (proven === undefined) throw new Error('the server has seen no certificate')
  const verifier = await createMtls(init)
  return verifier.verify(...presented(proven)).then(
    ({ subject, scopes }) => ({ ok: true, subject, scopes }),
    (err: { code: string; data?: { reason: string } }) => {
      expect(err).toMatchObject({ code: 'UNAUTHENTICATED' })
      return { ok: false, reason: err.data?.reason }
    }
  )
}

/** A file of authorities. */
async function fileOf(...certificates: readonly Pick<TestCertificate, 'cert'>[]): Promise<string> {
  const path = join(await tempFolder(), 'ca.pem')
  await writeFile(path, certificates.map(({ cert }) => cert).join('\n'))
  return path
}

async function someDid(): Promise<string> {
  return didOfKeys(await makeKeys('Ed25519'))
}

describe('a client certificate over TLS 1.3', () => {
  it('is known by its pinned key, whoever signed it, under the name and with the scopes of the pin', async () => {
    const shown = await makeCertificate({ issuer: await makeAuthority() })
    const pins = [{ spki: shown.spki, name: 'build-server', scopes: ['build'] }]
    expect(await verified(shown, { pins })).toEqual({ ok: true, subject: 'build-server', scopes: ['build'] })
  })

  it('keeps the name of the pin when it is renewed with the same key', async () => {
    const [first, second] = [await makeCertificate(), await makeCertificate()]
    const renewed = await makeCertificate({ keys: first.keys, subject: 'CN=renewed' })
    const pins = [{ spki: first.spki, name: 'agent' }]
    expect(await verified(renewed, { pins })).toMatchObject({ ok: true, subject: 'agent' })
    expect(await verified(second, { pins })).toEqual({ ok: false, reason: 'unknown' })
  })

  it('is refused when the pin has been taken out', async () => {
    const shown = await makeCertificate()
    expect(await verified(shown, { pins: [] })).toEqual({ ok: false, reason: 'unknown' })
  })

  it('is the node that an authority of the owner names in it', async () => {
    const [authority, other, did] = [
      await makeAuthority(),
      await makeAuthority({ subject: 'CN=other' }),
      await someDid()
    ]
    const shown = await makeCertificate({ issuer: authority, uris: ['https://agent.example/', did] })
    expect(await verified(shown, { ca: await fileOf(other, authority) })).toEqual({
      ok: true,
      subject: did,
      scopes: []
    })
  })

  it('is the node whose own key has signed it', async () => {
    const keys = await makeKeys('Ed25519')
    const did = await didOfKeys(keys)
    expect(await verified(await makeCertificate({ keys, uris: [did] }))).toEqual({ ok: true, subject: did, scopes: [] })
  })

  it('is bound to the connection, and good as long as it is valid', async () => {
    const notAfter = new Date('2038-01-01T00:00:00Z')
    const shown = await makeCertificate({ notAfter })
    const proven = await (await startTlsServer()).shows(shown)
    const verifier = await createMtls({ pins: [{ spki: shown.spki, name: 'agent' }] })
    expect(proven?.certificate).toEqual(shown.der)
    expect(await verifier.verify(...presented(proven as PeerCertificate))).toMatchObject({
      method: 'mtls',
      binding: 'mtls',
      expiresAt: notAfter.getTime()
    })
  })

  it.each<{ id: string; reason: string; make: (authority: TestCertificate, did: string) => Promise<TestCertificate> }>([
    {
      id: 'of an authority that is not accepted',
      reason: 'unknown',
      make: async (_, did) => makeCertificate({ issuer: await makeAuthority({ subject: 'CN=other' }), uris: [did] })
    },
    {
      id: 'of another authority with the name of an accepted one',
      reason: 'signature',
      make: async ({ subject }, did) => makeCertificate({ issuer: { subject, keys: await makeKeys() }, uris: [did] })
    },
    {
      id: 'that names no did:key',
      reason: 'unknown',
      make: async (authority) => makeCertificate({ issuer: authority, uris: ['https://agent.example/'] })
    },
    {
      id: 'that names two did:keys',
      reason: 'malformed',
      make: async (authority, did) => makeCertificate({ issuer: authority, uris: [did, await someDid()] })
    },
    {
      id: 'that hides a did:key in another name',
      reason: 'unknown',
      make: (authority, did) => makeCertificate({ issuer: authority, uris: [`https://agent.example/, URI:${did}`] })
    },
    {
      id: 'that names a did:key of another kind',
      reason: 'malformed',
      make: (authority) =>
        makeCertificate({ issuer: authority, uris: ['did:key:zQ3shokFTS3brHcDQrn82RUDfCZESWL1ZdCEJwekUDPQiYBme'] })
    },
    {
      id: 'signed over SHA-1',
      reason: 'signature',
      make: (authority, did) => makeCertificate({ issuer: authority, uris: [did], hash: 'SHA-1' })
    },
    {
      id: 'for servers',
      reason: 'wrong-audience',
      make: (authority, did) => makeCertificate({ issuer: authority, uris: [did], uses: ['1.3.6.1.5.5.7.3.1'] })
    },
    {
      id: 'signed by its own key, which is none of a node, with the name of a node',
      reason: 'signature',
      make: (_, did) => makeCertificate({ uris: [did] })
    },
    {
      id: "signed by its own key with another node's name",
      reason: 'signature',
      make: async (_, did) => makeCertificate({ keys: await makeKeys('Ed25519'), uris: [did] })
    },
    {
      id: 'that has expired',
      reason: 'expired',
      make: (authority, did) =>
        makeCertificate({ issuer: authority, uris: [did], notAfter: new Date(Date.now() - 60_000) })
    },
    {
      id: 'that is not valid yet',
      reason: 'not-yet-valid',
      make: (authority, did) =>
        makeCertificate({ issuer: authority, uris: [did], notBefore: new Date(Date.now() + 60_000) })
    }
  ])('is refused as $reason: one $id', async ({ reason, make }) => {
    const authority = await makeAuthority()
    const shown = await make(authority, await someDid())
    expect(await verified(shown, { ca: await fileOf(authority) })).toEqual({ ok: false, reason })
  })

  it('is accepted from an authority that says that it is for clients', async () => {
    const [authority, did] = [await makeAuthority(), await someDid()]
    const shown = await makeCertificate({ issuer: authority, uris: [did], uses: ['1.3.6.1.5.5.7.3.2'] })
    expect(await verified(shown, { ca: await fileOf(authority) })).toMatchObject({ ok: true, subject: did })
  })

  it('is refused when the authority itself has expired', async () => {
    const authority = await makeAuthority({ notAfter: new Date(Date.now() - 60_000) })
    const shown = await makeCertificate({ issuer: authority, uris: [await someDid()] })
    expect(await verified(shown, { ca: await fileOf(authority) })).toEqual({ ok: false, reason: 'expired' })
  })

  it.each([
    { id: 'pinned', pinned: true, own: false },
    { id: "a node's own", pinned: false, own: true }
  ])('is refused outside its period, at the ends of which it is good: one that is $id', async ({ pinned, own }) => {
    const keys = await makeKeys(own ? 'Ed25519' : 'ECDSA')
    const [notBefore, notAfter] = [new Date('2030-01-01T00:00:00Z'), new Date('2030-02-01T00:00:00Z')]
    const shown = await makeCertificate({ keys, notBefore, notAfter, uris: own ? [await didOfKeys(keys)] : [] })
    const at = (now: number) =>
      verified(shown, { clock: () => now, pins: pinned ? [{ spki: shown.spki, name: 'agent' }] : [] })
    expect(await at(notBefore.getTime() - 1)).toEqual({ ok: false, reason: 'not-yet-valid' })
    expect(await at(notBefore.getTime())).toMatchObject({ ok: true })
    expect(await at(notAfter.getTime())).toMatchObject({ ok: true })
    expect(await at(notAfter.getTime() + 1)).toEqual({ ok: false, reason: 'expired' })
  })
})

describe('who has no certificate, or not the key of it', () => {
  it('proves nothing by a handshake without one', async () => {
    const server = await startTlsServer()
    expect(await server.shows()).toBeUndefined()
    const shown = await makeCertificate()
    const verifier = await createMtls({ pins: [{ spki: shown.spki, name: 'agent' }] })
    await expect(verifier.verify({ method: 'mtls', certificate: shown.der }, {}, options)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      data: { reason: 'unbound' }
    })
    const overNoise = verifier.verify({ method: 'mtls', certificate: shown.der }, { peer: '12D3KooW' }, options)
    await expect(overNoise).rejects.toMatchObject({ data: { reason: 'unbound' } })
  })

  it("can't present the stolen certificate of another on a connection that has proven its own", async () => {
    const [stolen, thief] = [await makeCertificate(), await makeCertificate()]
    const proven = await (await startTlsServer()).shows(thief)
    const verifier = await createMtls({ pins: [{ spki: stolen.spki, name: 'agent' }] })
    const presenting = verifier.verify({ method: 'mtls', certificate: stolen.der }, { x5t: proven?.x5t ?? '' }, options)
    await expect(presenting).rejects.toMatchObject({ code: 'UNAUTHENTICATED', data: { reason: 'wrong-peer' } })
  })

  it.each([
    { id: 'text', certificate: 'MIIB' },
    { id: 'nothing', certificate: undefined },
    { id: 'bytes that are none', certificate: Buffer.from('not a certificate') },
    { id: 'too many bytes', certificate: Buffer.alloc(16_385) }
  ])('is refused as malformed: $id in place of a certificate', async ({ certificate }) => {
    const verifier = await createMtls({})
    await expect(verifier.verify({ method: 'mtls', certificate }, { x5t: 'x' }, options)).rejects.toMatchObject({
      code: 'UNAUTHENTICATED',
      data: { reason: 'malformed' }
    })
  })
})

describe('what the owner accepts', () => {
  it.each([
    { id: 'no certificate', content: async () => 'hello' },
    { id: 'half a certificate', content: async () => (await makeAuthority()).cert.replace(/\n.+\n/, '\n') },
    { id: 'a broken certificate', content: async () => '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----' },
    { id: 'a certificate of no authority', content: async () => (await makeCertificate()).cert },
    { id: 'too many', content: async () => (await makeAuthority()).cert.concat('\n').repeat(65) }
  ])("can't be a file with $id", async ({ content }) => {
    const path = await fileOf({ cert: await content() })
    await expect(createMtls({ ca: path })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })

  it("can't be a file that is not there", async () => {
    const ca = join(await tempFolder(), 'none.pem')
    await expect(createMtls({ ca })).rejects.toMatchObject({
      code: 'INVALID_CONFIG',
      message: expect.stringContaining(ca)
    })
  })

  const spki = 'A'.repeat(43)
  it.each([
    { id: 'of something that is no digest', pins: [{ spki: 'AAAA', name: 'agent' }] },
    { id: 'in hexadecimal', pins: [{ spki: 'a'.repeat(64), name: 'agent' }] },
    { id: 'without a name', pins: [{ spki, name: '' }] },
    { id: 'with the name of a key', pins: [{ spki, name: 'did:key:z6Mk' }] },
    {
      id: 'twice',
      pins: [
        { spki, name: 'one' },
        { spki, name: 'two' }
      ]
    }
  ])("can't be a pin $id", async ({ pins }) => {
    await expect(createMtls({ pins })).rejects.toMatchObject({ code: 'INVALID_CONFIG' })
  })
})
