import { createHash } from 'node:crypto'
import { isDeepStrictEqual } from 'node:util'
import { LRUCache } from 'lru-cache'
import { keyFromDid, peerIdFromKey } from '../wire/index.ts'
import { MAX_EDGE_SESSIONS } from './constants.ts'
import type { AuthComponents, Caller, Credential, EdgeClaim, Holder, Session, Verifier } from './index.ts'
import { refused } from './refusals.ts'

/** Makes a caller of what is proven; session.ts has the one of connections. */
type MakeCaller = (peer: string, standing: ReturnType<AuthComponents['standingOf']>, all: All) => Caller

type All = readonly Credential[]

interface EdgeSessionsInit extends Required<AuthComponents> {
  readonly callerFrom: MakeCaller
}

/** The sessions of those who come by an edge: found again by what they present, as each request presents it. */
export interface EdgeSessions {
  authenticate(claim: EdgeClaim, options: { signal: AbortSignal }): Promise<Session>
  revoke(matches: (credential: Credential) => boolean): void
  refresh(peer: string): void
}

/** What is proven, and by which keys. */
interface Proven {
  readonly credentials: Credential[]
  readonly peers: Set<string>
}

export function createEdgeSessions(init: EdgeSessionsInit): EdgeSessions {
  const { verifiers } = init
  const byClaim = new LRUCache<string, EdgeSession>({ max: MAX_EDGE_SESSIONS })
  // Beside the cache: a session that fell out of it may still be somebody's, on a WebSocket
  const alive = new Set<WeakRef<EdgeSession>>()
  const gone = new FinalizationRegistry<WeakRef<EdgeSession>>((ref) => alive.delete(ref))

  const verify = async (
    presented: Readonly<Record<string, unknown>>,
    holder: Holder,
    options: { signal: AbortSignal }
  ): Promise<Credential> => {
    const verifier = verifiers.find(({ method }) => method === presented['method'])
    if (verifier === undefined) throw refused('unsupported', 'this node does not accept that method')
    return verifier.verify(presented, holder, options)
  }

  const open = (key: string, peer: string | undefined, credentials: All): EdgeSession => {
    const known = byClaim.get(key)
    if (known?.renew(credentials) === true) return known
    const session = new EdgeSession(peer, credentials, init)
    byClaim.set(key, session)
    const ref = new WeakRef(session)
    alive.add(ref)
    gone.register(session, ref)
    return session
  }

  return {
    async authenticate(claim, options) {
      const proven = await prove(claim, (presented, holder) => verify(presented, holder, options))
      const [peer, other] = proven.peers
      if (other !== undefined) throw refused('wrong-peer', 'what was presented proves the keys of two peers')
      return open(keyOf(claim, peer), peer, proven.credentials)
    },
    revoke(matches) {
      for (const ref of alive) ref.deref()?.end(matches)
    },
    refresh(peer) {
      for (const ref of alive) ref.deref()?.change(peer)
    }
  }
}

type Verify = (presented: Readonly<Record<string, unknown>>, holder: Holder) => ReturnType<Verifier['verify']>

/** In the order of what they prove: a later credential may be bound to a key that an earlier one has proven. */
async function prove({ signed, certificate, presented = [], dpop }: EdgeClaim, verify: Verify): Promise<Proven> {
  const credentials: Credential[] = signed === undefined ? [] : [signed]
  const peers = new Set(signed === undefined ? [] : [signed.subject])
  const holder = (): Holder => {
    const [peer] = peers
    return {
      ...(peer === undefined ? {} : { peer }),
      ...(certificate === undefined ? {} : { x5t: certificate.x5t }),
      ...(dpop === undefined ? {} : { jkt: dpop.jkt })
    }
  }
  if (certificate !== undefined) {
    // Beside something else a certificate may be there only to be what a token is bound to, RFC 8705 §3
    const isAlone = signed === undefined && presented.length === 0
    const credential = await verify({ method: 'mtls', certificate: certificate.certificate }, holder()).catch(
      (err: unknown) => {
        if (isAlone) throw err
        return undefined
      }
    )
    if (credential !== undefined) credentials.push(credential)
    if (credential?.subject.startsWith('did:key:') === true) peers.add(peerIdFromKey(keyFromDid(credential.subject)))
  }
  for (const each of presented) {
    const credential = await verify(each, each['method'] === 'shared-secret' ? claimed(each) : holder())
    credentials.push(credential)
    if (credential.method === 'shared-secret') peers.add(credential.subject)
    if (credential.binding === 'dpop' && dpop?.peer !== undefined) peers.add(dpop.peer)
  }
  if (credentials.length === 0) throw refused('unbound', 'no credentials were presented')
  return { credentials, peers }
}

/** The secret is known to two: whoever makes a MAC by it is the other one. */
function claimed({ peer }: Readonly<Record<string, unknown>>): Holder {
  return typeof peer === 'string' ? { peer } : {}
}

/** Two requests share a session when they present the same and prove the same; nothing of it can be read back. */
function keyOf({ signed, certificate, presented = [], dpop }: EdgeClaim, peer: string | undefined): string {
  // A proof by a shared secret is another each time
  const shown = presented.map((each) => (each['method'] === 'shared-secret' ? ['shared-secret'] : each))
  const parts = [signed?.method, signed?.subject, certificate?.x5t, dpop?.jkt, peer, shown]
  return createHash('sha256').update(JSON.stringify(parts)).digest('base64url')
}

/** Who has no PeerId is named by its first credential. An issuer's URL has no fragment, so that no two share a name. */
function nameOf([first]: All): string {
  if (first === undefined) throw refused('unbound', 'no credentials were presented')
  const { method, issuer, subject } = first
  return `${method}:${issuer === undefined ? '' : `${issuer}#`}${subject}`
}

class EdgeSession implements Session {
  readonly #peer: string | undefined
  readonly #init: EdgeSessionsInit
  #credentials: All
  #caller: Caller | undefined
  #validUntil: number
  #isRevoked = false

  constructor(peer: string | undefined, credentials: All, init: EdgeSessionsInit) {
    this.#peer = peer
    this.#init = init
    this.#credentials = credentials
    this.#validUntil = endOf(credentials)
  }

  /** @throws {MeshError} UNAUTHENTICATED once what it was proven by has expired or was revoked */
  get caller(): Caller {
    if (this.#isRevoked) throw refused('revoked', 'the credentials of this session have been revoked')
    if (this.#init.clock() >= this.#validUntil) throw refused('expired', 'the credentials of this session have expired')
    this.#caller ??= this.#make()
    return this.#caller
  }

  /** Takes what was presented again. @returns false when nothing can be taken any more */
  renew(credentials: All): boolean {
    if (this.#isRevoked) return false
    if (isDeepStrictEqual(credentials, this.#credentials)) return true
    this.#credentials = credentials
    this.#validUntil = endOf(credentials)
    this.#caller = undefined
    return true
  }

  /** It was authenticated by all of them together: with one of them, it ends. */
  end(matches: (credential: Credential) => boolean): void {
    if (this.#credentials.some(matches)) this.#isRevoked = true
  }

  change(peer: string): void {
    if (peer === this.#peer) this.#caller = undefined
  }

  #make(): Caller {
    const peer = this.#peer
    const standing = peer === undefined ? { level: 'unknown' as const } : this.#init.standingOf(peer)
    return this.#init.callerFrom(peer ?? nameOf(this.#credentials), standing, this.#credentials)
  }
}

function endOf(credentials: All): number {
  return Math.min(...credentials.map(({ expiresAt = Number.POSITIVE_INFINITY }) => expiresAt))
}
