import type { Connection } from '@libp2p/interface'
import { MeshError } from '../errors.ts'
import { MAX_CREDENTIALS, MAX_REFUSED_CREDENTIALS, REFUSED_WINDOW_MS } from './constants.ts'
import type { Auth, AuthComponents, Caller, Credential, Presented, Session } from './index.ts'
import { refused } from './refusals.ts'

/** Makes the sessions of peers that are connected and keeps their callers true. */
export function createAuth(components: AuthComponents): Auth {
  const { verifiers = [], clock = Date.now } = components
  const byConnection = new WeakMap<Connection, PeerSession>()
  /** By PeerId, with their open connections: of two, requests may take the one on which nothing was presented. */
  const open = new Map<string, { readonly session: PeerSession; readonly connections: Set<Connection> }>()

  const check = async (presented: unknown, peer: string, signal: AbortSignal): Promise<Presented> => {
    try {
      if (typeof presented !== 'object' || presented === null) throw refused('malformed', 'a credential is an object')
      const { method } = presented as { method?: unknown }
      const verifier = verifiers.find((each) => each.method === method)
      if (verifier === undefined) throw refused('unsupported', 'this node does not accept that method')
      const credential = await verifier.verify(presented as Record<string, unknown>, { peer }, { signal })
      return { ok: true, credential }
    } catch (err) {
      return { ok: false, error: MeshError.from(err) }
    }
  }

  return {
    sessionOf(connection) {
      const known = byConnection.get(connection)
      if (known !== undefined) return known
      const peer = peerOf(connection)
      const shared = open.get(peer)
      const session = shared?.session ?? new PeerSession(peer, components.standingOf, clock)
      byConnection.set(connection, session)
      if (connection.status !== 'open') return session
      const { connections } = shared ?? { connections: new Set<Connection>() }
      open.set(peer, { session, connections: connections.add(connection) })
      const close = (): void => {
        connections.delete(connection)
        if (connections.size === 0) open.delete(peer)
      }
      connection.addEventListener('close', close, { once: true })
      return session
    },
    async present(session, presented, { signal }) {
      if (!(session instanceof PeerSession)) return presented.map(() => ({ ok: false, error: notHere() }))
      session.checkAttempts()
      // Each is taken at once: while a slow one is checked, a quick one may be revoked
      const checkAndTake = async (each: unknown): Promise<Presented> => {
        const checked = await check(each, session.peer, signal)
        session.take(checked)
        return checked
      }
      return Promise.all(presented.map(checkAndTake))
    },
    revoke(matches) {
      for (const { session } of open.values()) session.drop(matches)
    },
    refresh(peer) {
      open.get(peer)?.session.change()
    }
  }
}

/**
 * The caller for the owner at the control socket and for the node itself.
 *
 * @param peer the node's own PeerId as text
 */
export function ownerCaller(peer: string): Caller {
  return callerFrom(peer, { level: 'owner' }, [{ method: 'local', binding: 'local', subject: peer, scopes: [] }])
}

class PeerSession implements Session {
  readonly peer: string
  readonly #standingOf: AuthComponents['standingOf']
  readonly #clock: () => number
  #credentials: readonly Credential[]
  #caller: Caller | undefined
  /** When the first credential of `#caller` expires. */
  #validUntil = Number.POSITIVE_INFINITY
  #refusals = { since: 0, count: 0 }

  constructor(peer: string, standingOf: AuthComponents['standingOf'], clock: () => number) {
    this.peer = peer
    this.#standingOf = standingOf
    this.#clock = clock
    this.#credentials = [{ method: 'noise', binding: 'noise', subject: peer, scopes: [] }]
  }

  get caller(): Caller {
    if (
      this.#caller !== undefined &&
      (this.#validUntil === Number.POSITIVE_INFINITY || this.#clock() < this.#validUntil)
    ) {
      return this.#caller
    }
    const now = this.#clock()
    this.#credentials = this.#credentials.filter(({ expiresAt = Number.POSITIVE_INFINITY }) => expiresAt > now)
    this.#validUntil = Math.min(...this.#credentials.map(({ expiresAt = Number.POSITIVE_INFINITY }) => expiresAt))
    this.#caller = callerFrom(this.peer, this.#standingOf(this.peer), this.#credentials)
    return this.#caller
  }

  /** The next request sees another caller. */
  change(): void {
    this.#caller = undefined
  }

  /** @throws {MeshError} BUSY */
  checkAttempts(): void {
    if (this.#clock() - this.#refusals.since > REFUSED_WINDOW_MS) this.#refusals = { since: this.#clock(), count: 0 }
    if (this.#refusals.count < MAX_REFUSED_CREDENTIALS) return
    throw new MeshError('BUSY', 'too many bad credentials on this connection', { hint: 'wait a minute' })
  }

  take(presented: Presented): void {
    if (!presented.ok) {
      // That an issuer can't be asked is not the peer's doing
      if (presented.error.code === 'UNAUTHENTICATED') this.#refusals.count += 1
      return
    }
    const { credential } = presented
    const others = this.#credentials.filter(
      ({ method, subject, issuer }) =>
        method !== credential.method || subject !== credential.subject || issuer !== credential.issuer
    )
    const [identity, ...rest] = others
    if (identity === undefined) return
    this.#credentials = [identity, ...rest.slice(-(MAX_CREDENTIALS - 2)), credential]
    this.change()
  }

  drop(matches: (credential: Credential) => boolean): void {
    const kept = this.#credentials.filter((credential, index) => index === 0 || !matches(credential))
    if (kept.length === this.#credentials.length) return
    this.#credentials = kept
    this.change()
  }
}

function callerFrom(
  peer: string,
  { level, alias }: ReturnType<AuthComponents['standingOf']>,
  credentials: readonly Credential[]
): Caller {
  const owner = credentials.find(({ method }) => method === 'owner')?.subject
  return {
    peer,
    credentials,
    trust: level,
    binding: credentials[0]?.binding ?? 'none',
    ...(alias === undefined ? {} : { alias }),
    ...(owner === undefined ? {} : { owner })
  }
}

function peerOf({ remotePeer, encryption }: Connection): string {
  // Other keys' PeerIds are hashes: they have no did:key, and nothing could be verified from the name alone.
  if (remotePeer.type !== 'Ed25519')
    throw new MeshError('FORBIDDEN', `only peers with an Ed25519 key are served, not ${remotePeer.type}`)
  if (encryption === undefined) throw new MeshError('FORBIDDEN', 'the connection proves no identity')
  return remotePeer.toString()
}

function notHere(): MeshError {
  return new MeshError('INVALID_ARGUMENT', 'credentials are presented on connections of peers')
}
