import { multiaddr } from '@multiformats/multiaddr'
import { calculateJwkThumbprint } from 'jose'
import { expect, it } from 'vitest'
import { HELLO, type Hello, type HelloAnswer, readHello } from '../../src/auth/index.ts'
import { CALL } from '../../src/calls/index.ts'
import type { Node } from '../../src/index.ts'
import { addressOf, failureOf, nextEvent, startNode } from '../nodes.ts'
import { startNode as startPeer, type TestNode } from '../rpc/nodes.ts'
import { type AuthorizationServer, startAuthorizationServer } from './authorization-server.ts'

const HELLO_OF_PEER: Hello = {
  name: 'peer',
  version: '0.1.0',
  time: '2026-11-23T16:43:39.000Z',
  protocols: {},
  auth: ['noise']
}

/** A node that serves whoever has the scope `build`, and its issuer. */
async function startServing(): Promise<{ server: AuthorizationServer; node: Node; release: () => void }> {
  const released = Promise.withResolvers<void>()
  const server = await startAuthorizationServer()
  const node = await startNode({ name: 'far', auth: { issuers: [{ issuer: server.issuer }] } })
  await node.agents.add({
    name: 'echo',
    capabilities: [
      { name: 'echo', handler: (input: unknown) => input },
      {
        name: 'slow',
        async *handler() {
          yield 'first'
          await released.promise
          yield 'last'
        }
      }
    ]
  })
  await node.policy.put([{ id: 'build', effect: 'allow', who: 'scope:build', act: '*.call', res: 'tool:echo/*' }])
  return { server, node, release: released.resolve }
}

/** A peer that speaks the protocols, and presents what the test gives it. */
async function startPresenting(node: Node) {
  const peer = await startPeer()
  await peer.libp2p.dial(multiaddr(addressOf(node)))
  const call = (capability = 'echo') =>
    peer.rpc.request(node.id, CALL, { agent: 'echo', capability, input: { a: 1 } }, { timeoutMs: 10_000 })
  const present = async (...tokens: readonly string[]): Promise<NonNullable<HelloAnswer['credentials']>> => {
    const credentials = tokens.map((token) => ({ method: 'oauth', token }))
    const answer = readHello(await peer.rpc.request(node.id, HELLO, { ...HELLO_OF_PEER, credentials }))
    return answer.credentials ?? []
  }
  return { peer, call, present }
}

/** A token for the peer's key, which is good for so many seconds. */
async function tokenFor(
  { libp2p }: TestNode,
  node: Node,
  server: AuthorizationServer,
  seconds: number
): Promise<string> {
  const { publicKey } = libp2p.peerId
  if (publicKey === undefined) throw new Error('a PeerId without key')
  const x = Buffer.from(publicKey.raw).toString('base64url')
  const now = Date.now() / 1_000
  return server.sign({
    iss: server.issuer,
    aud: node.did,
    client_id: 'agent',
    sub: 'agent',
    jti: crypto.randomUUID(),
    scope: 'build',
    iat: Math.floor(now),
    exp: now + seconds,
    cnf: { jkt: await calculateJwkThumbprint({ kty: 'OKP', crv: 'Ed25519', x }) }
  })
}

it('a node says which issuers it accepts, and for what a token must be', async () => {
  const { server, node } = await startServing()
  const { peer } = await startPresenting(node)
  expect(readHello(await peer.rpc.request(node.id, HELLO, HELLO_OF_PEER))).toMatchObject({
    auth: expect.arrayContaining(['oauth']),
    oauth: { resource: node.did, issuers: [server.issuer] }
  })
})

it('a node that has logged in is let in by the scope of its token', async () => {
  const { server, node } = await startServing()
  const near = await startNode({ name: 'near' })
  const { confidential } = server.clients
  const login = near.logins.login(
    {
      issuer: server.issuer,
      clientId: confidential.client_id,
      clientSecret: confidential.client_secret,
      flow: 'client-credentials',
      scopes: ['build'],
      peers: [node.id]
    },
    { signal: AbortSignal.timeout(10_000) }
  )
  for await (const { step } of login) expect(step).toBe('done')
  const presented = nextEvent(node, 'credential:presented', ({ method }) => method === 'oauth')
  await near.connect(addressOf(node))
  expect(await near.call(`${node.id}/echo`, 'echo', { a: 1 })).toEqual({ a: 1 })
  expect(await presented).toEqual({ peer: near.id, method: 'oauth', subject: 'agent', token: expect.any(String) })
})

it('a token opens what its scope may, for the peer whose it is and no other', async () => {
  const { server, node } = await startServing()
  const [alice, mallory] = [await startPresenting(node), await startPresenting(node)]
  const token = await tokenFor(alice.peer, node, server, 300)
  expect(await failureOf(alice.call())).toMatchObject({ code: 'FORBIDDEN' })
  expect(await alice.present(token)).toEqual([
    { ok: true, method: 'oauth', scopes: ['build'], expiresAt: expect.any(String) }
  ])
  expect(await alice.call()).toEqual({ a: 1 })
  expect(await mallory.present(token)).toMatchObject([
    { ok: false, method: 'oauth', error: { code: 'UNAUTHENTICATED', data: { reason: 'wrong-peer' } } }
  ])
  expect(await failureOf(mallory.call())).toMatchObject({ code: 'FORBIDDEN' })
})

it('a token is no use on a connection where it was not presented', async () => {
  const { server, node } = await startServing()
  const alice = await startPresenting(node)
  const token = await tokenFor(alice.peer, node, server, 300)
  await alice.present(token)
  for (const connection of alice.peer.libp2p.getConnections()) await connection.close()
  await alice.peer.libp2p.dial(multiaddr(addressOf(node)))
  expect(await failureOf(alice.call())).toMatchObject({ code: 'FORBIDDEN' })
  expect(await alice.present(token)).toMatchObject([{ ok: true }])
  expect(await alice.call()).toEqual({ a: 1 })
})

it('at the end of a token its scope is gone for new calls, and a running one goes on', async () => {
  const { server, node, release } = await startServing()
  const alice = await startPresenting(node)
  const token = await tokenFor(alice.peer, node, server, 1.5)
  const [result] = await alice.present(token)
  const endsAt = Date.parse(result?.ok === true ? (result.expiresAt ?? '') : '')
  const running = alice.call('slow')
  const failures: { at: number; code: unknown }[] = []
  while (failures.length === 0) {
    const at = Date.now()
    await alice.call().catch((err: { code: unknown }) => failures.push({ at: Date.now(), code: err.code }))
    expect(at, 'the scope ends').toBeLessThan(endsAt + 1_000)
  }
  expect(failures).toMatchObject([{ code: 'FORBIDDEN' }])
  expect(failures[0]?.at).toBeGreaterThanOrEqual(endsAt)
  release()
  expect(await running).toEqual(['first', 'last'])
})

it('a token that is renewed in time lets no call fail', async () => {
  const { server, node } = await startServing()
  const alice = await startPresenting(node)
  const [first] = await alice.present(await tokenFor(alice.peer, node, server, 1))
  const endsAt = Date.parse(first?.ok === true ? (first.expiresAt ?? '') : '')
  let calls = 0
  const calling = (async () => {
    while (Date.now() < endsAt + 200) {
      await alice.call()
      calls += 1
    }
  })()
  expect(await alice.present(await tokenFor(alice.peer, node, server, 300))).toMatchObject([{ ok: true }])
  await calling
  expect(calls).toBeGreaterThan(1)
})

it('a peer that floods a node with bad tokens is not listened to for a minute', async () => {
  const { server, node } = await startServing()
  const [alice, mallory] = [await startPresenting(node), await startPresenting(node)]
  const token = await tokenFor(alice.peer, node, server, 300)
  for (let times = 0; times < 2; times += 1) await mallory.present(...Array.from({ length: 8 }, () => token))
  expect(await failureOf(mallory.present(token))).toMatchObject({ code: 'BUSY' })
  expect(await alice.present(token)).toMatchObject([{ ok: true }])
})
