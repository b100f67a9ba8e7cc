import 'reflect-metadata'
import { createHash, KeyObject, webcrypto } from 'node:crypto'
import { once } from 'node:events'
import { createServer, request } from 'node:https'
import type { AddressInfo } from 'node:net'
import type { TLSSocket } from 'node:tls'
import {
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  type Extension,
  PemConverter,
  SubjectAlternativeNameExtension,
  X509CertificateGenerator
} from '@peculiar/x509'
import { onTestFinished } from 'vitest'
import { certificateOf, type PeerCertificate } from '../../src/auth/index.ts'
import { didFromKey } from '../../src/wire/index.ts'

type Keys = webcrypto.CryptoKeyPair

/** A certificate with the private key that belongs to it. */
export interface TestCertificate {
  readonly der: Buffer
  /** Certificate, and its PKCS#8 key, in PEM. */
  readonly cert: string
  readonly key: string
  readonly keys: Keys
  readonly subject: string
  /** base64url SHA-256 of its SubjectPublicKeyInfo. */
  readonly spki: string
}

export interface CertificateInit {
  /** Distinguished name; default `CN=agent`. */
  readonly subject?: string
  /** URIs among its subject alternative names. */
  readonly uris?: readonly string[]
  readonly keys?: Keys
  /** Who signs; default itself. */
  readonly issuer?: Pick<TestCertificate, 'keys' | 'subject'>
  readonly notBefore?: Date
  readonly notAfter?: Date
  readonly isAuthority?: boolean
  /** Extended key usages, as OIDs. */
  readonly uses?: readonly string[]
  /** Of the signature; default SHA-256. */
  readonly hash?: 'SHA-1' | 'SHA-256'
}

const DAY_MS = 86_400_000

export async function makeKeys(kind: 'Ed25519' | 'ECDSA' = 'ECDSA'): Promise<Keys> {
  const algorithm = kind === 'ECDSA' ? { name: 'ECDSA', namedCurve: 'P-256' } : { name: 'Ed25519' }
  return (await webcrypto.subtle.generateKey(algorithm, true, ['sign', 'verify'])) as Keys
}

/** The name of an Ed25519 key. */
export async function didOfKeys({ publicKey }: Keys): Promise<string> {
  return didFromKey(new Uint8Array(await webcrypto.subtle.exportKey('raw', publicKey)))
}

export async function makeCertificate(init: CertificateInit = {}): Promise<TestCertificate> {
  const { subject = 'CN=agent', uris = [], keys = await makeKeys(), isAuthority = false, uses } = init
  const issuer = init.issuer ?? { keys, subject }
  const extensions: Extension[] = [
    new BasicConstraintsExtension(isAuthority, undefined, true),
    ...(uris.length === 0
      ? []
      : [new SubjectAlternativeNameExtension(uris.map((value) => ({ type: 'url' as const, value })))]),
    ...(uses === undefined ? [] : [new ExtendedKeyUsageExtension([...uses])])
  ]
  const made = await X509CertificateGenerator.create({
    serialNumber: Buffer.from(webcrypto.getRandomValues(new Uint8Array(8))).toString('hex'),
    subject,
    issuer: issuer.subject,
    notBefore: init.notBefore ?? new Date(Date.now() - DAY_MS),
    notAfter: init.notAfter ?? new Date(Date.now() + DAY_MS),
    signingAlgorithm: { ...issuer.keys.privateKey.algorithm, hash: init.hash ?? 'SHA-256' },
    publicKey: keys.publicKey,
    signingKey: issuer.keys.privateKey,
    extensions
  })
  const spki = KeyObject.from(keys.publicKey).export({ type: 'spki', format: 'der' })
  return {
    der: Buffer.from(made.rawData),
    cert: made.toString('pem'),
    key: PemConverter.encode(await webcrypto.subtle.exportKey('pkcs8', keys.privateKey), 'PRIVATE KEY'),
    keys,
    subject,
    spki: createHash('sha256').update(spki).digest('base64url')
  }
}

/** A certificate of an authority, valid for a day. */
export function makeAuthority(init: CertificateInit = {}): Promise<TestCertificate> {
  return makeCertificate({ subject: 'CN=authority', isAuthority: true, ...init })
}

/** An HTTPS server on loopback that wants a client certificate, takes any, and keeps what it has seen. */
export interface TlsServer {
  /** Connects with this certificate and key, or with none. @returns what the server's side of the connection has proven */
  shows(certificate?: { readonly cert: string; readonly key: string }): Promise<PeerCertificate | undefined>
}

export async function startTlsServer(): Promise<TlsServer> {
  const own = await makeCertificate({ subject: 'CN=127.0.0.1' })
  const seen: (PeerCertificate | undefined)[] = []
  const server = createServer(
    { key: own.key, cert: own.cert, requestCert: true, rejectUnauthorized: false, minVersion: 'TLSv1.3' },
    ({ socket }, response) => {
      seen.push(certificateOf(socket as TLSSocket)) // it came over HTTPS
      response.end()
    }
  )
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => void server.close())
  const { port } = server.address() as AddressInfo
  return {
    async shows(certificate) {
      const asked = request({ host: '127.0.0.1', port, agent: false, rejectUnauthorized: false, ...certificate })
      const answered = once(asked, 'response')
      asked.end()
      const [response] = await answered
      response.resume()
      return seen.shift()
    }
  }
}
