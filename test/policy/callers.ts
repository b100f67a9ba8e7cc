import type { Caller, TrustLevel } from '../../src/auth/index.ts'

export const ALICE = `12D3KooW${'A'.repeat(44)}`
export const BOB = `12D3KooW${'B'.repeat(44)}`

export function callerOf(peer: string, trust: TrustLevel = 'unknown'): Caller {
  return { peer, credentials: [{ method: 'noise' }], trust, binding: 'noise' }
}
