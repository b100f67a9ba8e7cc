import { onTestFinished } from 'vitest'
import type { Caller, Session } from '../../src/auth/index.ts'
import { createGrants, type GrantQuestion, type Grants, grantsMigrations } from '../../src/grants/index.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import { openStore, type Store } from '../../src/store/index.ts'

export const START = Date.parse('2026-11-23T10:00:00Z')
export const MINUTE = 60_000
export const DAY = 86_400_000

/** One node, as far as its grants go. */
export interface Party {
  readonly identity: Identity
  readonly id: string
  readonly store: Store
  readonly grants: Grants
  readonly events: unknown[][]
  now: number
  /** PeerIds. */
  readonly blocked: Set<string>
  /** The grants of the same node after a restart. */
  reopen(): Promise<Grants>
}

export async function party(init: { path?: string; identity?: Identity } = {}): Promise<Party> {
  const identity = init.identity ?? createIdentity()
  const store = await openStore({ path: init.path, migrations: [grantsMigrations] })
  onTestFinished(() => store.close())
  const events: unknown[][] = []
  const reopen = () =>
    createGrants({
      identity,
      store,
      emit: (...event) => void events.push(event),
      isBlocked: (peer) => made.blocked.has(peer),
      clock: () => made.now
    })
  const made: Omit<Party, 'grants'> & { grants?: Grants } = {
    identity,
    id: identity.id,
    store,
    events,
    now: START,
    blocked: new Set(),
    reopen
  }
  const grants = await reopen()
  return Object.assign(made, { grants })
}

export function sessionOf(peer: string): Session {
  const caller: Caller = { peer, credentials: [], trust: 'unknown', binding: 'noise' }
  return { caller }
}

/** What a peer wants to do, by default to read a file. */
export function question(peer: string, more: Partial<GrantQuestion> = {}): GrantQuestion {
  const session = more.session ?? sessionOf(peer)
  return { caller: session.caller, session, action: 'tool.call', resource: 'tool:fs/read_file', ...more }
}

export const READ = { act: 'tool.call', res: 'tool:fs/read_file' } as const
export const ALL = { act: '*', res: '*' } as const

export const refusal = (reason: string): object => ({ code: 'UNAUTHENTICATED', data: { reason } })

/** Signs a grant that says what the tests want, by whatever rules; first of its chain unless `prf` is given. */
export async function handMade(issuer: Party, holder: Party, says: Readonly<Record<string, unknown>>): Promise<string> {
  const { did } = issuer.identity
  const usual = {
    v: 1,
    jti: crypto.randomUUID(),
    iss: did,
    aud: holder.identity.did,
    sub: did,
    iat: START / 1000,
    dep: 0
  }
  return issuer.identity.sign('mesh-grant+jws', { ...usual, ...READ, ...says })
}
