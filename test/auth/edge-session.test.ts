import { expect, it } from 'vitest'
import { type Credential, createAuth, type TrustLevel, type Verifier } from '../../src/auth/index.ts'
import { makeKey } from '../gateway/edge-clients.ts'

const signal = AbortSignal.timeout(60_000)
const START = Date.parse('2026-11-23T10:00:00Z')

function start() {
  const time = { now: START }
  const levels = new Map<string, TrustLevel>()
  /** Accepts what it is shown, as it is shown. */
  const verifier: Verifier = {
    method: 'oauth',
    verify: async ({ subject, scopes = [], expiresAt, issuer = 'https://a.example' }, { jkt }) =>
      ({
        method: 'oauth',
        binding: jkt === undefined ? 'none' : 'dpop',
        subject,
        issuer,
        scopes,
        ...(expiresAt === undefined ? {} : { expiresAt })
      }) as Credential
  }
  const auth = createAuth({
    standingOf: (peer) => ({ level: levels.get(peer) ?? 'unknown' }),
    verifiers: [verifier],
    clock: () => time.now
  })
  const show = (shown: object, dpop?: { jkt: string; peer?: string }) =>
    auth.authenticate({ presented: [{ method: 'oauth', ...shown }], ...(dpop && { dpop }) }, { signal })
  return { auth, time, levels, show }
}

it('who shows the same is the same caller, and who shows something else is another', async () => {
  const { show } = start()
  const first = await show({ subject: 'app' })
  expect(await show({ subject: 'app' })).toBe(first)
  expect((await show({ subject: 'app' })).caller).toBe(first.caller)
  const wider = await show({ subject: 'app', scopes: ['all'] })
  expect(wider.caller.credentials[0]?.scopes).toEqual(['all'])
  expect(first.caller.credentials[0]?.scopes).toEqual([])
})

it('no two issuers name the same caller', async () => {
  const { show } = start()
  const one = await show({ subject: 'app', issuer: 'https://a.example' })
  const other = await show({ subject: 'app', issuer: 'https://b.example' })
  expect(one.caller.peer).toBe('oauth:https://a.example#app')
  expect(other.caller.peer).not.toBe(one.caller.peer)
})

it('a session ends when its credential expires', async () => {
  const { show, time } = start()
  const session = await show({ subject: 'app', expiresAt: START + 1_000 })
  expect(session.caller.peer).toContain('app')
  time.now += 1_000
  expect(() => session.caller).toThrow(
    expect.objectContaining({ code: 'UNAUTHENTICATED', data: { reason: 'expired' } })
  )
})

it('a session ends when one of its credentials is revoked, and a new one begins', async () => {
  const { auth, show } = start()
  const [session, other] = [await show({ subject: 'app' }), await show({ subject: 'other' })]
  auth.revoke(({ subject }) => subject === 'app')
  expect(() => session.caller).toThrow(
    expect.objectContaining({ code: 'UNAUTHENTICATED', data: { reason: 'revoked' } })
  )
  expect(other.caller.peer).toContain('other')
  // Whether it is still good is for its verifier to say
  expect((await show({ subject: 'app' })).caller.peer).toContain('app')
})

it('a peer’s standing is that of the moment', async () => {
  const { auth, show, levels } = start()
  const { peer } = makeKey()
  const session = await show({ subject: 'app' }, { jkt: 'x', peer })
  expect(session.caller).toMatchObject({ peer, trust: 'unknown', binding: 'dpop' })
  levels.set(peer, 'blocked')
  auth.refresh(peer)
  expect(session.caller.trust).toBe('blocked')
})

it('nothing is nobody', async () => {
  const { auth } = start()
  await expect(auth.authenticate({}, { signal })).rejects.toMatchObject({ data: { reason: 'unbound' } })
  await expect(auth.authenticate({ presented: [{ method: 'owner' }] }, { signal })).rejects.toMatchObject({
    data: { reason: 'unsupported' }
  })
})
