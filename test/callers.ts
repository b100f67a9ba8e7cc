import { type Auth, type Caller, createAuth, type TrustLevel } from '../src/auth/index.ts'

/** A caller whose Noise key is all that is proven. */
export function callerOf(peer: string, trust: TrustLevel = 'unknown'): Caller {
  return {
    peer,
    credentials: [{ method: 'noise', binding: 'noise', subject: peer, scopes: [] }],
    trust,
    binding: 'noise'
  }
}

/** What a handler gets beside the body. */
export function contextOf(caller: Caller, signal: AbortSignal) {
  return { caller, session: { caller }, signal, charge: () => {}, cost: 0 }
}

/** Sessions of strangers, all of them unknown. */
export function strangersAuth(): Auth {
  return createAuth({ standingOf: () => ({ level: 'unknown' }) })
}
