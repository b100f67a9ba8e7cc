import type { Connection } from '@libp2p/interface'
import { describe, expect, it } from 'vitest'
import { MAX_CREDENTIALS, MAX_REFUSED_CREDENTIALS, REFUSED_WINDOW_MS } from '../../src/auth/constants.ts'
import { type Credential, createAuth, refused, type Verifier } from '../../src/auth/index.ts'
import { createIdentity, type Identity } from '../../src/identity/index.ts'
import type { Standing } from '../../src/trust/index.ts'

/** Accepts what says `subject`, until `expiresAt`. */
const verifier: Verifier = {
  method: 'api-key',
  async verify({ subject, scopes = [], expiresAt }) {
    if (typeof subject !== 'string') throw refused('malformed', 'no subject')
    return { method: 'api-key', binding: 'secret', subject, scopes, ...(expiresAt ? { expiresAt } : {}) } as Credential
  }
}

function connectionOf(peerId: Identity['peerId']): Connection {
  const state = { remotePeer: peerId, encryption: '/noise', status: 'open' }
  return Object.assign(new EventTarget(), state) as unknown as Connection // what the room looks at
}

function close(connection: Connection): void {
  ;(connection as unknown as EventTarget).dispatchEvent(new Event('close'))
}

function start() {
  const { peerId, id } = createIdentity()
  const connection = connectionOf(peerId)
  const state = { now: 1_000, standing: { level: 'unknown' } as Standing }
  const auth = createAuth({ standingOf: () => state.standing, verifiers: [verifier], clock: () => state.now })
  const session = auth.sessionOf(connection)
  const present = (...presented: unknown[]) => auth.present(session, presented, { signal: AbortSignal.timeout(1_000) })
  const scopes = () => session.caller.credentials.flatMap((each) => each.scopes)
  return {
    auth,
    session,
    present,
    scopes,
    state,
    peer: id,
    close: () => close(connection),
    more: () => connectionOf(peerId)
  }
}

describe('a session', () => {
  it('has the same caller until something about it changes', async () => {
    const { auth, session, present, state, peer } = start()
    const { caller } = session
    expect(session.caller).toBe(caller)
    state.standing = { level: 'known', alias: 'carol' }
    expect(session.caller, 'not before it is told').toBe(caller)
    auth.refresh(peer)
    expect(session.caller).toMatchObject({ trust: 'known', alias: 'carol' })
    const known = session.caller
    await present({ method: 'api-key', subject: 'a' })
    expect(session.caller).not.toBe(known)
  })

  it('adds what is accepted after the key of the connection, which stays who it is', async () => {
    const { session, present, peer } = start()
    const [first] = await present({ method: 'api-key', subject: 'a', scopes: ['build'] })
    expect(first).toMatchObject({ ok: true, credential: { subject: 'a', scopes: ['build'] } })
    expect(session.caller).toMatchObject({ peer, binding: 'noise' })
    expect(session.caller.credentials.map(({ method }) => method)).toEqual(['noise', 'api-key'])
  })

  it('is the same on all connections of a peer, until the last of them ends', async () => {
    const { auth, session, present, scopes, close: closeFirst, more } = start()
    await present({ method: 'api-key', subject: 'a', scopes: ['build'] })
    const [second, third] = [more(), more()]
    expect(auth.sessionOf(second)).toBe(session)
    closeFirst()
    expect(auth.sessionOf(third)).toBe(session)
    close(second)
    auth.revoke(({ subject }) => subject === 'a')
    expect(scopes()).toEqual([])
    close(third)
    expect(auth.sessionOf(more())).not.toBe(session)
  })

  it('ends a credential at its expiry, and renews it before without a gap', async () => {
    const { present, scopes, state } = start()
    await present({ method: 'api-key', subject: 'a', scopes: ['build'], expiresAt: 2_000 })
    state.now = 1_999
    expect(scopes()).toEqual(['build'])
    await present({ method: 'api-key', subject: 'a', scopes: ['build'], expiresAt: 3_000 })
    state.now = 2_999
    expect(scopes()).toEqual(['build'])
    state.now = 3_000
    expect(scopes()).toEqual([])
  })

  it('loses what is revoked at once, and never the key of the connection', async () => {
    const { auth, session, present, scopes } = start()
    await present(
      { method: 'api-key', subject: 'a', scopes: ['x'] },
      { method: 'api-key', subject: 'b', scopes: ['y'] }
    )
    auth.revoke(({ subject }) => subject === 'a')
    expect(scopes()).toEqual(['y'])
    auth.revoke(() => true)
    expect(session.caller.credentials.map(({ method }) => method)).toEqual(['noise'])
  })

  it('keeps the latest credentials when there are too many', async () => {
    const { session, present } = start()
    for (let n = 0; n < MAX_CREDENTIALS + 4; n++) await present({ method: 'api-key', subject: `${n}` })
    const subjects = session.caller.credentials.slice(1).map(({ subject }) => subject)
    expect(subjects).toHaveLength(MAX_CREDENTIALS - 1)
    expect(subjects.at(-1)).toBe(`${MAX_CREDENTIALS + 3}`)
  })

  it.each([
    { id: 'no object', presented: 'mesh_k_', reason: 'malformed' },
    { id: 'null', presented: null, reason: 'malformed' },
    { id: 'a method that nobody checks', presented: { method: 'password' }, reason: 'unsupported' },
    { id: 'what its verifier refuses', presented: { method: 'api-key' }, reason: 'malformed' }
  ])('refuses $id with a reason, and goes on', async ({ presented, reason }) => {
    const { present, session } = start()
    const [bad, good] = await present(presented, { method: 'api-key', subject: 'a' })
    expect(bad).toMatchObject({ ok: false, error: { code: 'UNAUTHENTICATED', data: { reason } } })
    expect(good).toMatchObject({ ok: true })
    expect(session.caller.credentials).toHaveLength(2)
  })

  it('is BUSY after too many bad ones, for a minute', async () => {
    const { present, state } = start()
    for (let n = 0; n < MAX_REFUSED_CREDENTIALS; n++) await present({ method: 'api-key' })
    await expect(present({ method: 'api-key', subject: 'a' })).rejects.toMatchObject({ code: 'BUSY' })
    state.now += REFUSED_WINDOW_MS + 1
    expect(await present({ method: 'api-key', subject: 'a' })).toMatchObject([{ ok: true }])
  })
})
