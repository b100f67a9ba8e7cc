import { createPrivateKey, createSecretKey, type KeyObject, randomUUID } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { z } from 'zod'
import { MeshError } from '../errors.ts'
import type { Identity } from '../identity/index.ts'
import { readPrivate } from '../store/index.ts'
import { signRequest } from '../wire/index.ts'
import { MAX_SECRET_BYTES } from './endpoint-constants.ts'
import { openTokens } from './endpoint-tokens.ts'
import { endpointUrl } from './endpoint-url.ts'
import type { Reach, Resolve } from './ssrf.ts'

/** What drivers of endpoints that are dialled need of the node. */
export interface EndpointComponents {
  /** Signs requests, where that is what an endpoint asks for. */
  readonly identity: Pick<Identity, 'privateKey' | 'did'>
  /** Default: the system's. */
  readonly resolve?: Resolve
  /** Milliseconds since 1970; default `Date.now`. */
  readonly clock?: () => number
  /** Uniform in [0, 1); default `Math.random`. */
  readonly random?: () => number
}

/** A request that is about to be sent. */
interface OutgoingRequest {
  readonly method: string
  readonly url: URL
  readonly body?: Uint8Array | undefined
}

/** How the node shows an endpoint who it is. */
export interface EndpointAccess {
  /** @throws {MeshError} AGENT_UNAVAILABLE when no token is to be had; CANCELLED, TIMEOUT */
  headers(request: OutgoingRequest, options: { signal: AbortSignal }): Promise<Record<string, string>>
  /** To be told of a 401. @returns whether asking again may do better */
  refused(): boolean
  readonly tls: { readonly cert?: string; readonly key?: string; readonly ca?: string }
  close(): void
}

const file = z.string().refine(isAbsolute, 'must be an absolute path')

/** Secrets stand in files that only the owner can read; a configuration only says where. */
export const endpointAuth = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('api-key'),
    header: z.string().regex(/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}$/, 'must be the name of a header'),
    secretFile: file
  }),
  z.strictObject({ type: z.literal('bearer'), secretFile: file }),
  /** Client credentials, RFC 6749 §4.4. */
  z.strictObject({
    type: z.literal('oauth'),
    issuer: endpointUrl(['https:', 'http:']),
    clientId: z.string().min(1).max(256),
    secretFile: file,
    scopes: z
      .array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]{1,128}$/))
      .max(32)
      .optional(),
    /** RFC 8707 */
    resource: z.url().optional()
  }),
  /** RFC 9421 with HMAC-SHA256. */
  z.strictObject({ type: z.literal('hmac'), keyId: z.string().regex(/^[ -~]{1,128}$/), secretFile: file }),
  /** RFC 9421 with the node's own key; the key's id is its did:key. */
  z.strictObject({ type: z.literal('ed25519') }),
  z.strictObject({ type: z.literal('mtls'), certFile: file, keyFile: file, caFile: file.optional() })
])
export type EndpointAuth = z.infer<typeof endpointAuth>

/**
 * Reads what the endpoint's authentication needs.
 *
 * @throws {MeshError} INVALID_CONFIG when a file is missing, can be read by others, or is empty; IO
 */
export async function openEndpointAuth(
  auth: EndpointAuth | undefined,
  reach: Reach,
  components: EndpointComponents
): Promise<EndpointAccess> {
  switch (auth?.type) {
    case undefined:
      return access(async () => ({}))
    case 'api-key': {
      const secret = await readSecret(auth.secretFile)
      return access(async () => ({ [auth.header.toLowerCase()]: secret }))
    }
    case 'bearer': {
      const secret = await readSecret(auth.secretFile)
      return access(async () => ({ authorization: `Bearer ${secret}` }))
    }
    case 'oauth': {
      const { secretFile, ...client } = auth
      const tokens = openTokens({ ...client, secret: await readSecret(secretFile), reach }, components)
      return {
        headers: async (_, options) => ({ authorization: `Bearer ${await tokens.get(options)}` }),
        refused: () => tokens.forget(),
        tls: {},
        close: () => tokens.close()
      }
    }
    case 'hmac': {
      const key = createSecretKey(Buffer.from(await readSecret(auth.secretFile)))
      return access(signer({ algorithm: 'hmac-sha256', key, keyId: auth.keyId }, components))
    }
    case 'ed25519': {
      const { did } = components.identity
      return access(signer({ algorithm: 'ed25519', key: keyOf(components.identity), keyId: did }, components))
    }
    case 'mtls': {
      const [cert, key, ca] = await Promise.all([
        readPublic(auth.certFile),
        readSecret(auth.keyFile),
        auth.caFile === undefined ? undefined : readPublic(auth.caFile)
      ])
      return { ...access(async () => ({})), tls: { cert, key, ...(ca === undefined ? {} : { ca }) } }
    }
  }
}

function access(headers: EndpointAccess['headers']): EndpointAccess {
  return { headers, refused: () => false, tls: {}, close: () => {} }
}

function signer(
  init: { algorithm: 'ed25519' | 'hmac-sha256'; key: KeyObject; keyId: string },
  { clock = Date.now }: EndpointComponents
): EndpointAccess['headers'] {
  return async (request) =>
    signRequest({ ...request, headers: {} }, { ...init, created: Math.floor(clock() / 1000), nonce: randomUUID() })
}

function keyOf({ privateKey: { raw } }: EndpointComponents['identity']): KeyObject {
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url')
  // libp2p's raw private key is the seed followed by the public key
  const jwk = { kty: 'OKP', crv: 'Ed25519', d: text(raw.subarray(0, 32)), x: text(raw.subarray(32)) }
  return createPrivateKey({ format: 'jwk', key: jwk })
}

async function readSecret(path: string): Promise<string> {
  const unusable = (): MeshError => new MeshError('INVALID_CONFIG', `${path} is too large for a secret`)
  const text = await readPrivate({ path, maxBytes: MAX_SECRET_BYTES, unusable })
  const secret = text?.trim() ?? ''
  if (secret !== '') return secret
  throw new MeshError('INVALID_CONFIG', `${path} ${text === undefined ? 'is not there' : 'is empty'}`, {
    hint: 'put the secret into it, and nothing else; mode 600'
  })
}

async function readPublic(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (err) {
    throw new MeshError('INVALID_CONFIG', `${path} can't be read`, { cause: err })
  }
}
