import { createHash, type KeyObject, X509Certificate } from 'node:crypto'
import { readFile, stat } from 'node:fs/promises'
import type { TLSSocket } from 'node:tls'
import { MeshError } from '../errors.ts'
import { keyFromDid } from '../wire/index.ts'
import { MAX_AUTHORITIES, MAX_CA_FILE_BYTES, MAX_CERTIFICATE_BYTES } from './constants.ts'
import type { Credential, Holder, Verifier } from './index.ts'
import { refused } from './refusals.ts'

/** Whose client certificates are accepted. A certificate that a node has signed with its own key needs no entry. */
export interface MtlsInit {
  /** PEM file of the authorities whose certificates may name a node in a SAN URI `did:key:…`. */
  readonly ca?: string
  /** Certificates known by their key, whoever signed them. Taking one out revokes it. */
  readonly pins?: readonly CertificatePin[]
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
}

export interface CertificatePin {
  /** base64url SHA-256 of the certificate's SubjectPublicKeyInfo. */
  readonly spki: string
  /** Names it in policies and lists. */
  readonly name: string
  readonly scopes?: readonly string[]
}

/** A client certificate as an edge presents it. */
export interface PeerCertificate {
  /** DER. */
  readonly certificate: Uint8Array
  /** RFC 8705 thumbprint, base64url SHA-256 of the DER: what the handshake has proven, for a `Holder`. */
  readonly x5t: string
}

/**
 * The certificate that the other side of a TLS connection has shown, and with the handshake proven to hold the key of;
 * undefined when it has shown none.
 *
 * For an edge with `requestCert: true, rejectUnauthorized: false` and TLS 1.3: who is accepted is for the verifier to
 * say, not for a chain to an authority of the system.
 */
export function certificateOf(socket: Pick<TLSSocket, 'getPeerX509Certificate'>): PeerCertificate | undefined {
  const raw = socket.getPeerX509Certificate()?.raw
  return raw === undefined ? undefined : { certificate: raw, x5t: thumbprint(raw) }
}

/**
 * Makes the verifier of `mtls`: `{ method, certificate }`, the DER of {@link certificateOf}.
 *
 * Reads the file of authorities now, once.
 *
 * @throws {MeshError} INVALID_CONFIG when the file or a pin is unusable
 */
export async function createMtls(init: MtlsInit): Promise<Verifier> {
  const { clock = Date.now } = init
  const authorities = init.ca === undefined ? [] : await readAuthorities(init.ca)
  const pins = readPins(init.pins ?? [])

  const identify = (certificate: X509Certificate): Pick<Credential, 'subject' | 'scopes'> => {
    const pin = pins.get(spkiOf(certificate.publicKey))
    if (pin !== undefined) return { subject: pin.name, scopes: pin.scopes ?? [] }
    const did = didOf(certificate)
    if (did === undefined) throw refused('unknown', 'the certificate is not pinned here and names no did:key')
    checkSigner(certificate, { did, authorities, now: clock() })
    return { subject: did, scopes: [] }
  }

  return {
    method: 'mtls',
    async verify({ certificate: der }, { x5t }: Holder): Promise<Credential> {
      if (x5t === undefined) throw refused('unbound', 'no client certificate has been proven on this connection')
      const certificate = parse(der)
      if (thumbprint(certificate.raw) !== x5t) {
        throw refused('wrong-peer', 'the certificate is not the one that the connection has proven')
      }
      checkPeriod(certificate, clock())
      const expiresAt = certificate.validToDate.getTime()
      return { method: 'mtls', binding: 'mtls', ...identify(certificate), expiresAt }
    }
  }
}

/** A certificate that was shown. @throws {MeshError} UNAUTHENTICATED */
function parse(der: unknown): X509Certificate {
  if (!(der instanceof Uint8Array) || der.length > MAX_CERTIFICATE_BYTES) {
    throw refused('malformed', `a certificate is given as DER, at most ${MAX_CERTIFICATE_BYTES} bytes`)
  }
  try {
    const certificate = new X509Certificate(der)
    // Thrown for a kind of key that OpenSSL doesn't know
    if (certificate.publicKey.type !== 'public') throw new TypeError('not a public key')
    return certificate
  } catch (err) {
    throw refused('malformed', 'that is no X.509 certificate', err)
  }
}

/** RFC 5280 §4.1.2.5: both ends belong to the period. */
function checkPeriod({ validFromDate, validToDate }: X509Certificate, now: number): void {
  if (now < validFromDate.getTime()) throw refused('not-yet-valid', 'the certificate is not valid yet')
  if (now > validToDate.getTime()) throw refused('expired', 'the certificate has expired')
}

/** Signed by an authority of ours, or by the very key that it names. @throws {MeshError} UNAUTHENTICATED */
function checkSigner(
  certificate: X509Certificate,
  { did, authorities, now }: { did: string; authorities: readonly X509Certificate[]; now: number }
): void {
  if (isOwn(certificate, did)) return
  if (certificate.checkIssued(certificate)) {
    throw refused('signature', 'the certificate is signed by another key than the one that it names')
  }
  const named = authorities.filter((authority) => certificate.checkIssued(authority))
  if (named.length === 0) throw refused('unknown', 'the certificate is signed by nobody who is accepted here')
  const authority = named.find(({ publicKey }) => certificate.verify(publicKey))
  if (authority === undefined || isBroken(certificate)) {
    throw refused('signature', 'the signature of the certificate is not that of the authority')
  }
  checkPeriod(authority, now)
  const uses: readonly string[] | undefined = certificate.keyUsage
  if (uses !== undefined && !uses.includes(CLIENT_AUTH) && !uses.includes(ANY_USE)) {
    throw refused('wrong-audience', 'the certificate is not one for clients')
  }
}

// RFC 5280 §4.2.1.12: an authority limits by it what a certificate is for
const CLIENT_AUTH = '1.3.6.1.5.5.7.3.2'
const ANY_USE = '2.5.29.37.0'

/** Two texts with one digest can be made for these, so the authority may have signed the other one. */
function isBroken({ signatureAlgorithm = '' }: X509Certificate): boolean {
  return /md5|sha1(?!\d)/i.test(signatureAlgorithm)
}

/** Its key is the one that the did:key stands for, and has signed it. */
function isOwn(certificate: X509Certificate, did: string): boolean {
  const { publicKey } = certificate
  if (publicKey.asymmetricKeyType !== 'ed25519') return false
  const { x = '' } = publicKey.export({ format: 'jwk' })
  return Buffer.from(x, 'base64url').equals(keyFromDid(did)) && certificate.verify(publicKey)
}

/** The one did:key among its subject alternative names. @throws {MeshError} UNAUTHENTICATED */
function didOf({ subjectAltName }: X509Certificate): string | undefined {
  const dids = uris(subjectAltName ?? '').filter((uri) => uri.startsWith('did:key:'))
  const [did] = dids
  if (did === undefined) return undefined
  if (dids.length > 1) throw refused('malformed', 'the certificate names more than one did:key')
  try {
    keyFromDid(did)
    return did
  } catch (err) {
    throw refused('malformed', 'the certificate names a did:key that is none of an Ed25519 key', err)
  }
}

/** Reads Node's text of the names, `kind:value, …`: a comma within a value is escaped there. */
function uris(names: string): string[] {
  return names.split(', ').flatMap((name) => (name.startsWith('URI:') ? [name.slice('URI:'.length)] : []))
}

async function readAuthorities(path: string): Promise<readonly X509Certificate[]> {
  try {
    if ((await stat(path)).size > MAX_CA_FILE_BYTES) throw new RangeError('too large')
    const blocks = (await readFile(path, 'utf8')).match(PEM_CERTIFICATE) ?? []
    if (blocks.length === 0 || blocks.length > MAX_AUTHORITIES) throw new RangeError(`${blocks.length} certificates`)
    const authorities = blocks.map((pem) => new X509Certificate(pem))
    if (!authorities.every(({ ca }) => ca)) throw new RangeError('a certificate that is none of an authority')
    return authorities
  } catch (err) {
    throw new MeshError('INVALID_CONFIG', `the file of certificate authorities ${path} is unusable: ${reason(err)}`, {
      cause: err,
      hint: `put 1 to ${MAX_AUTHORITIES} certificates of authorities (CA:TRUE) into it, in PEM; auth.mtls.ca in config.json names it`
    })
  }
}

const PEM_CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g

function readPins(pins: readonly CertificatePin[]): ReadonlyMap<string, CertificatePin> {
  for (const { spki, name } of pins) {
    if (!/^[\w-]{43}$/.test(spki)) {
      throw badPin(`${JSON.stringify(spki.slice(0, 80))} is no base64url SHA-256`)
    }
    // What names a key must not be had by a certificate with another one
    if (name === '' || name.startsWith('did:'))
      throw badPin(`${JSON.stringify(name.slice(0, 80))} is no name for a pin`)
  }
  const known = new Map(pins.map((pin) => [pin.spki, pin]))
  if (known.size < pins.length) throw badPin('two pins are for the same key')
  return known
}

function badPin(what: string): MeshError {
  return new MeshError('INVALID_CONFIG', `the certificate pins are unusable: ${what}`, {
    hint: 'spki is what this prints: openssl x509 -in CERT -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | basenc --base64url | tr -d ='
  })
}

function spkiOf(publicKey: KeyObject): string {
  return thumbprint(publicKey.export({ type: 'spki', format: 'der' }))
}

function thumbprint(der: Uint8Array): string {
  return createHash('sha256').update(der).digest('base64url')
}

function reason(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
