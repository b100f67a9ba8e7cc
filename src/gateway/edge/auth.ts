import { createSecretKey, hash, timingSafeEqual } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import type { TLSSocket } from 'node:tls'
import { LRUCache } from 'lru-cache'
import { type Credential, certificateOf, type EdgeClaim, refused, type Session } from '../../auth/index.ts'
import { MeshError } from '../../errors.ts'
import type { Node } from '../../index.ts'
import {
  type HttpRequest,
  type HttpSignature,
  type HttpSignatureKey,
  httpKeyOfDid,
  keyFromDid,
  peerIdFromKey,
  readSignature,
  verifyRequest
} from '../../wire/index.ts'
import {
  AUTHENTICATE_TIMEOUT_MS,
  MAX_COUNTED_ADDRESSES,
  MAX_REFUSED_PER_ADDRESS,
  PROOF_WINDOW_MS,
  REFUSED_WINDOW_MS
} from './constants.ts'
import { checkDpop } from './dpop.ts'
import { type Hosts, isLoopback } from './hosts.ts'
import { createKeptKeys } from './kept-keys.ts'
import { isBadCredential } from './problems.ts'
import type { Replays } from './replays.ts'

interface AuthenticateOptions {
  /** All of it, where a signature is to cover it; absent: there is none. */
  readonly body?: Uint8Array
  readonly signal?: AbortSignal
}

/** Finds out who sends a request. */
export interface EdgeAuth {
  /**
   * By what the request itself brings: TLS client certificate, HTTP message signature, `Authorization` (DPoP, Bearer),
   * `x-api-key`. All that is brought must be good, and of one peer.
   *
   * @throws {MeshError} UNAUTHENTICATED; BUSY after MAX_REFUSED_PER_ADDRESS refusals; UNREACHABLE, TIMEOUT
   */
  authenticate(request: IncomingMessage, options?: AuthenticateOptions): Promise<Session>
  /**
   * By a credential that came in another way than headers, such as a first frame: `{method: 'api-key', key}`, `{method:
   * 'oauth', token}` that is bound to no DPoP key, `{method: 'shared-secret', peer, …}`, or `{method: 'local', token}` with
   * the owner's token.
   *
   * @param request that the connection began with
   * @throws {MeshError} as {@link authenticate}
   */
  present(
    request: IncomingMessage,
    presented: Readonly<Record<string, unknown>>,
    options?: { readonly signal?: AbortSignal }
  ): Promise<Session>
}

export interface EdgeAuthInit {
  readonly edges: Node['edges']
  readonly hosts: Hosts
  readonly replays: Replays
  /** The same for keys that nobody knows. */
  readonly strangers: Replays
  /** Milliseconds since 1970. */
  readonly now: () => number
}

/** A claim, and what has to be remembered of the proofs in it once it is accepted. */
interface Read {
  readonly claim: EdgeClaim
  readonly proofs: readonly { readonly key: string; readonly id: string; readonly at: number }[]
}

export function createEdgeAuth({ edges, hosts, replays, strangers, now }: EdgeAuthInit): EdgeAuth {
  const attempts = createAttempts(now)
  const keptKeys = createKeptKeys(now)
  const readClaim = createReader({ edges, hosts, now })

  const accept = async ({ claim, proofs }: Read, signal: AbortSignal | undefined): Promise<Session> => {
    const session = await within(signal, (during) => edges.authenticate(claim, { signal: during })).catch(
      (err: unknown) => {
        throw withNextStep(err, claim)
      }
    )
    // Last, and in one go: of two copies of a request one is refused
    const remembered = isStranger(session, claim) ? strangers : replays
    for (const { key, id, at } of proofs) remembered.take(key, id, at)
    return session
  }

  const asOwner = async (request: IncomingMessage, token: string): Promise<Session> => {
    if (!isLoopback(request.socket.remoteAddress))
      throw refused('wrong-peer', "the owner's token is good on this machine only")
    if (!isSame(token, await edges.ownerToken())) throw refused('unknown', "that is not the owner's token")
    return edges.owner
  }

  return {
    authenticate: (request, { body, signal } = {}) =>
      attempts(request, async () => {
        const token = bearerOf(request)
        if (token !== undefined && isOwnerToken(token)) return asOwner(request, token)
        const key = loneKeyOf(request, token)
        const known = key === undefined ? undefined : keptKeys.find(key)
        if (known !== undefined) return known
        const session = await accept(await readClaim(request, body), signal)
        if (key !== undefined) keptKeys.keep(key, session)
        return session
      }),
    present: (request, presented, { signal } = {}) =>
      attempts(request, async () => {
        const { method, token } = presented
        if (method === 'local' && typeof token === 'string') return asOwner(request, token)
        const certificate = certificateFrom(request)
        const claim = { presented: [presented], ...(certificate && { certificate }) }
        return accept({ claim, proofs: [] }, signal)
      })
  }
}

/** An API key, when it is all that was brought: of proofs and certificates each is another. */
function loneKeyOf(request: IncomingMessage, token: string | undefined): string | undefined {
  const { 'x-api-key': header, authorization, dpop, signature, 'signature-input': input } = request.headers
  if (dpop !== undefined || signature !== undefined || input !== undefined) return undefined
  if (certificateFrom(request) !== undefined) return undefined
  if (authorization === undefined) return typeof header === 'string' ? header : undefined
  return header === undefined && token?.startsWith('mesh_k_') === true ? token : undefined
}

/** One key more, of which nobody has said anything. */
function isStranger({ caller }: Session, { presented = [] }: EdgeClaim): boolean {
  return caller.trust === 'unknown' && presented.length === 0 && caller.credentials[0]?.method === 'http-signature'
}

function isOwnerToken(token: string): boolean {
  return token.startsWith('mesh_o_')
}

function isSame(one: string, other: string): boolean {
  const digest = (text: string): Buffer => hash('sha256', text, 'buffer')
  return timingSafeEqual(digest(one), digest(other))
}

/** Not AbortSignal.timeout and any: every request would leave a timer behind, and a signal that depends on one that stays. */
async function within<T>(outer: AbortSignal | undefined, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
  const during = new AbortController()
  const timer = setTimeout(
    () => during.abort(new MeshError('TIMEOUT', 'the credentials could not be checked in time')),
    AUTHENTICATE_TIMEOUT_MS
  )
  const stop = (): void => during.abort(outer?.reason)
  outer?.addEventListener('abort', stop, { once: true })
  if (outer?.aborted === true) stop()
  try {
    return await work(during.signal)
  } finally {
    clearTimeout(timer)
    outer?.removeEventListener('abort', stop)
  }
}

interface Refusals {
  readonly since: number
  count: number
}

/** Whoever guesses has to wait; not the programs of this machine, among which may be a proxy for everybody. */
function createAttempts(now: () => number): <T>(request: IncomingMessage, work: () => Promise<T>) => Promise<T> {
  const refusals = new LRUCache<string, Refusals>({ max: MAX_COUNTED_ADDRESSES })
  return async ({ socket: { remoteAddress = '' } }, work) => {
    // An address that has not been refused is not looked at
    const recent = (): Refusals | undefined => {
      const known = refusals.get(remoteAddress)
      return known !== undefined && now() - known.since < REFUSED_WINDOW_MS ? known : undefined
    }
    if ((recent()?.count ?? 0) >= MAX_REFUSED_PER_ADDRESS)
      throw new MeshError('BUSY', 'too many bad credentials from this address', { hint: 'wait a minute' })
    try {
      return await work()
    } catch (err) {
      // Who shows nothing guesses nothing
      if (isBadCredential(err) && !isLoopback(remoteAddress)) {
        const current = recent() ?? { since: now(), count: 0 }
        current.count += 1
        refusals.set(remoteAddress, current)
      }
      throw err
    }
  }
}

/** For people who have only just found the edge; the ways are in WWW-Authenticate too. */
const NEXT_STEP =
  'send Authorization: Bearer with an API key (pryx-mesh keys create), an access token or, on this machine, the token in http.token of the home'

const PINNED_STEP =
  'sign the request with the key of that peer, or use a key for anybody: pryx-mesh keys create NAME --pin off'

/** Keys are for one peer unless they were made otherwise, which is news to who has only HTTP. */
function withNextStep(err: unknown, { presented = [] }: EdgeClaim): unknown {
  const isPinned = presented.some(({ method }) => method === 'api-key') && reasonOf(err) === 'unbound'
  if (!isPinned || !(err instanceof MeshError)) return err
  return new MeshError(err.code, err.message, { data: err.data, hint: PINNED_STEP })
}

function reasonOf(err: unknown): unknown {
  return err instanceof MeshError ? (err.data as { reason?: unknown } | undefined)?.reason : undefined
}

type ReaderInit = Pick<EdgeAuthInit, 'edges' | 'hosts' | 'now'>

/** Reads what a request brings, and checks what is proven by the request alone. */
function createReader({ edges, hosts, now }: ReaderInit) {
  return async (request: IncomingMessage, body: Uint8Array | undefined): Promise<Read> => {
    const seen = requestOf(request, hosts, body)
    const signature = readSignature(seen.headers)
    const { scheme, token } = authorizationOf(request)
    const proof = scheme === 'dpop' ? await readDpop(seen, token, now()) : undefined
    const signed = signature === undefined ? undefined : await readSigned(seen, signature, edges, now())
    const presented = [...apiKeyOf(request), ...(token === undefined ? [] : [tokenOrKey(token)])]
    const certificate = certificateFrom(request)
    if (presented.length === 0 && certificate === undefined && signed === undefined)
      throw new MeshError('UNAUTHENTICATED', 'no credentials were presented', { hint: NEXT_STEP })
    return {
      claim: {
        presented,
        ...(signed && { signed: signed.credential }),
        ...(certificate && { certificate }),
        ...(proof && { dpop: { jkt: proof.jkt, ...(proof.peer === undefined ? {} : { peer: proof.peer }) } })
      },
      proofs: [
        ...(signed === undefined ? [] : [signed.proof]),
        ...(proof === undefined ? [] : [{ key: `dpop ${proof.jkt}`, id: proof.jti, at: proof.at }])
      ]
    }
  }
}

function requestOf(request: IncomingMessage, hosts: Hosts, body: Uint8Array | undefined): HttpRequest {
  const { method = '', url = '', headers } = request
  const origin = hosts.originOf(request)
  if (origin === undefined || !URL.canParse(url, origin)) throw refused('malformed', 'the request is for another host')
  const texts = Object.entries(headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(', ') : value])
  return { method, url: new URL(url, origin), headers: Object.fromEntries(texts), body }
}

async function readDpop({ method, url, headers }: HttpRequest, token: string | undefined, now: number) {
  const { dpop } = headers
  if (dpop === undefined || token === undefined) throw refused('malformed', 'the DPoP proof is missing')
  return checkDpop(dpop, { method, url, token, now })
}

async function readSigned(request: HttpRequest, signature: HttpSignature, edges: Node['edges'], now: number) {
  const { key, credential } = await signerOf(signature.keyId, edges)
  let checked: ReturnType<typeof verifyRequest>
  try {
    checked = verifyRequest(request, signature, { key, now, maxAgeMs: PROOF_WINDOW_MS })
  } catch (err) {
    if (err instanceof MeshError && err.code === 'UNAUTHENTICATED') throw err
    throw refused('signature', 'the signature covers what the request does not have', err)
  }
  const proof = { key: signature.keyId, id: checked.nonce, at: checked.created * 1_000 }
  return { credential, proof }
}

/** `did:key:z6Mk…`, or `<PeerId>/<id>` with the id of a secret that the peer shares with this node. */
async function signerOf(
  keyId: string,
  edges: Node['edges']
): Promise<{ readonly key: HttpSignatureKey; readonly credential: Credential }> {
  if (keyId.startsWith('did:')) {
    const subject = peerOf(keyId)
    return {
      key: httpKeyOfDid(keyId),
      credential: { method: 'http-signature', binding: 'dpop', subject, scopes: [] }
    }
  }
  const [peer = '', id] = keyId.split('/')
  const secret = (await edges.secretsOf(peer)).find((each) => each.keyId === id)
  if (secret === undefined) throw refused('unknown', 'there is no such key, or it has expired')
  return {
    key: { algorithm: 'hmac-sha256', key: createSecretKey(secret.key) },
    credential: { method: 'shared-secret', binding: 'hmac', subject: peer, scopes: [] }
  }
}

function peerOf(did: string): string {
  try {
    return peerIdFromKey(keyFromDid(did))
  } catch (err) {
    throw refused('malformed', 'the signature names no Ed25519 did:key', err)
  }
}

function authorizationOf({ headers: { authorization } }: IncomingMessage): {
  readonly scheme?: 'dpop' | 'bearer'
  readonly token?: string
} {
  if (authorization === undefined) return {}
  const [, scheme = '', token] = /^([A-Za-z]{1,32}) +([\w.~+/-]+=*)$/.exec(authorization) ?? []
  const name = scheme.toLowerCase()
  if (token !== undefined && (name === 'dpop' || name === 'bearer')) return { scheme: name, token }
  throw refused('unsupported', 'credentials are presented as DPoP or Bearer')
}

function bearerOf(request: IncomingMessage): string | undefined {
  const { scheme, token } = authorizationOf(request)
  return scheme === 'bearer' ? token : undefined
}

function apiKeyOf({ headers: { 'x-api-key': key } }: IncomingMessage): readonly Readonly<Record<string, unknown>>[] {
  return key === undefined ? [] : [{ method: 'api-key', key }]
}

function tokenOrKey(token: string): Readonly<Record<string, unknown>> {
  return token.startsWith('mesh_k_') ? { method: 'api-key', key: token } : { method: 'oauth', token }
}

function certificateFrom({ socket }: IncomingMessage): ReturnType<typeof certificateOf> {
  return 'getPeerX509Certificate' in socket ? certificateOf(socket as TLSSocket) : undefined
}
