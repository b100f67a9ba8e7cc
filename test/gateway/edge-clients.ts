import { createHash, createSecretKey, generateKeyPairSync, type KeyObject, randomBytes } from 'node:crypto'
import { request as httpsRequest } from 'node:https'
import { exportJWK, SignJWT } from 'jose'
import { didFromKey, peerIdFromKey, type SignRequestInit, signRequest } from '../../src/wire/index.ts'
import type { TestCertificate } from '../auth/certificates.ts'

/** An Ed25519 key and its three names. */
export interface Key {
  readonly privateKey: KeyObject
  readonly publicKey: KeyObject
  readonly did: string
  readonly peer: string
}

export function makeKey(): Key {
  const { privateKey, publicKey } = generateKeyPairSync('ed25519')
  const raw = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url')
  return { privateKey, publicKey, did: didFromKey(raw), peer: peerIdFromKey(raw) }
}

export interface ProofInit {
  readonly key: Pick<Key, 'privateKey' | 'publicKey'>
  readonly method?: string
  readonly url: string
  readonly token: string
  readonly alg?: string
  /** In place of what is right. */
  readonly claims?: Readonly<Record<string, unknown>>
  readonly header?: Readonly<Record<string, unknown>>
}

/** A DPoP proof. */
export async function proofOf(init: ProofInit): Promise<string> {
  const { key, method = 'GET', url, token, alg = 'EdDSA' } = init
  const claims = {
    htm: method,
    htu: url,
    iat: Math.floor(Date.now() / 1_000),
    jti: randomBytes(16).toString('base64url'),
    ath: createHash('sha256').update(token).digest('base64url'),
    ...init.claims
  }
  return new SignJWT(claims)
    .setProtectedHeader({ typ: 'dpop+jwt', alg, jwk: await exportJWK(key.publicKey), ...init.header })
    .sign(key.privateKey)
}

export interface SignedInit extends Partial<SignRequestInit> {
  readonly url: string
  readonly method?: string
  readonly body?: unknown
}

/** What to give to `fetch` for a request that a key signs. */
export function signed(init: SignedInit): { readonly url: string; readonly init: RequestInit } {
  const { url, method = 'GET', body, ...rest } = init
  const bytes = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  const headers = signRequest(
    { method, url: new URL(url), headers: {}, ...(bytes && { body: bytes }) },
    {
      algorithm: 'ed25519',
      key: createSecretKey(Buffer.alloc(32)),
      keyId: 'nobody',
      created: Math.floor(Date.now() / 1_000),
      nonce: randomBytes(16).toString('base64url'),
      ...rest
    }
  )
  return {
    url,
    init: {
      method,
      headers: { ...headers, ...(bytes && { 'content-type': 'application/json' }) },
      ...(bytes && { body: bytes })
    }
  }
}

export interface TlsAnswer {
  readonly status: number
  readonly body: Readonly<Record<string, unknown>>
}

/** Asks over TLS, with a client certificate or none; the server's own is taken as it is. */
export function askTls(
  url: string,
  headers: Readonly<Record<string, string>> = {},
  certificate?: Pick<TestCertificate, 'cert' | 'key'>
): Promise<TlsAnswer> {
  return new Promise((resolve, reject) => {
    const asked = httpsRequest(url, {
      headers,
      agent: false,
      rejectUnauthorized: false,
      ...(certificate && { cert: certificate.cert, key: certificate.key })
    })
    asked.on('error', reject)
    asked.on('response', (response) => {
      const answer = async (): Promise<TlsAnswer> => {
        const chunks = await Array.fromAsync(response)
        return { status: response.statusCode ?? 0, body: JSON.parse(Buffer.concat(chunks).toString()) }
      }
      answer().then(resolve, reject)
    })
    asked.end()
  })
}
