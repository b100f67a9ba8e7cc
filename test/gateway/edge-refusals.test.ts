import type { IncomingMessage } from 'node:http'
import { expect, it } from 'vitest'
import { createEdgeAuth } from '../../src/gateway/edge/auth.ts'
import { MAX_REFUSED_PER_ADDRESS, REFUSED_WINDOW_MS } from '../../src/gateway/edge/constants.ts'
import { createHosts } from '../../src/gateway/edge/hosts.ts'
import { createReplays } from '../../src/gateway/edge/replays.ts'
import { failureOf, startNode } from '../nodes.ts'
import { type Key, makeKey, signed } from './edge-clients.ts'

/** A request as it came from an address, which a test on one machine can't be at. */
function requestFrom(remoteAddress: string, bearer: string): IncomingMessage {
  const headers = { host: '203.0.113.5:8645', authorization: `Bearer ${bearer}` }
  // Of a request no more is looked at
  return {
    method: 'GET',
    url: '/v1/self',
    headers,
    rawHeaders: Object.entries(headers).flat(),
    socket: { remoteAddress }
  } as unknown as IncomingMessage
}

async function start() {
  const node = await startNode()
  const time = { now: Date.now() }
  const now = () => time.now
  const hosts = createHosts({ listen: { host: '203.0.113.5', port: 8645 }, isTls: true, hosts: [], origins: [] })
  const memory = { replays: createReplays(now), strangers: createReplays(now, 3) }
  return { node, time, auth: createEdgeAuth({ edges: node.edges, hosts, ...memory, now }) }
}

it('the owner’s token is good on its machine only', async () => {
  const { auth, node } = await start()
  const token = await node.edges.ownerToken()
  const refused = await failureOf(auth.authenticate(requestFrom('192.0.2.1', token)))
  expect(refused).toMatchObject({ code: 'UNAUTHENTICATED', data: { reason: 'wrong-peer' } })
  expect((await auth.authenticate(requestFrom('127.0.0.1', token))).caller.trust).toBe('owner')
  expect((await auth.authenticate(requestFrom('::ffff:127.0.0.1', token))).caller.trust).toBe('owner')
})

it('an address that guesses has to wait, and others don’t', async () => {
  const { auth, node, time } = await start()
  const guess = (address: string) => failureOf(auth.authenticate(requestFrom(address, 'mesh_k_guess')))
  for (let n = 0; n < MAX_REFUSED_PER_ADDRESS; n += 1)
    expect(await guess('192.0.2.1')).toMatchObject({ code: 'UNAUTHENTICATED' })
  expect(await guess('192.0.2.1')).toMatchObject({ code: 'BUSY' })
  const { key } = await node.keys.create({ name: 'ci', pin: 'off' })
  expect(await failureOf(auth.authenticate(requestFrom('192.0.2.1', key)))).toMatchObject({ code: 'BUSY' })
  expect((await auth.authenticate(requestFrom('192.0.2.2', key))).caller.peer).toMatch(/^api-key:/)
  time.now += REFUSED_WINDOW_MS
  expect((await auth.authenticate(requestFrom('192.0.2.1', key))).caller.peer).toMatch(/^api-key:/)
})

it('guesses that come at once are counted each', async () => {
  const { auth } = await start()
  const guess = () => failureOf(auth.authenticate(requestFrom('192.0.2.1', 'mesh_k_guess')))
  await Promise.all(Array.from({ length: MAX_REFUSED_PER_ADDRESS }, guess))
  expect(await guess()).toMatchObject({ code: 'BUSY' })
})

it('this machine may have a proxy for everybody, and never waits', async () => {
  const { auth } = await start()
  for (let n = 0; n < 2 * MAX_REFUSED_PER_ADDRESS; n += 1)
    expect(await failureOf(auth.authenticate(requestFrom('127.0.0.1', 'mesh_k_guess')))).toMatchObject({
      code: 'UNAUTHENTICATED'
    })
})

it('keys that anybody can make don’t take the place of those that somebody knows', async () => {
  const { auth, node } = await start()
  const ask = (key: Key) => {
    const { init } = signed({ url: 'https://203.0.113.5:8645/v1/self', key: key.privateKey, keyId: key.did })
    const request = requestFrom('192.0.2.1', 'x')
    return auth.authenticate(
      Object.assign(request, { headers: { host: request.headers.host, ...(init.headers as object) } })
    )
  }
  for (let n = 0; n < 3; n += 1) expect((await ask(makeKey())).caller.trust).toBe('unknown')
  expect(await failureOf(ask(makeKey()))).toMatchObject({ code: 'BUSY' })
  const known = makeKey()
  await node.trust.set(known.peer, { level: 'known' })
  expect((await ask(known)).caller).toMatchObject({ peer: known.peer, trust: 'known' })
})

it('a credential in a first frame is as good as in a header', async () => {
  const { auth, node } = await start()
  const { key } = await node.keys.create({ name: 'ci', pin: 'off' })
  const request = requestFrom('127.0.0.1', 'x')
  expect((await auth.present(request, { method: 'api-key', key })).caller.peer).toMatch(/^api-key:/)
  const token = await node.edges.ownerToken()
  expect((await auth.present(request, { method: 'local', token })).caller.trust).toBe('owner')
  for (const presented of [{ method: 'local' }, { method: 'noise' }, { method: 'mtls', certificate: 'x' }, {}])
    expect(await failureOf(auth.present(request, presented))).toMatchObject({ code: 'UNAUTHENTICATED' })
})

it('a proof by the secret of a pair names the peer who makes it, once', async () => {
  const { auth, node } = await start()
  const far = await startNode()
  const [address = ''] = node.addresses
  await far.connect(address)
  await far.pairing.join((await node.pairing.invite()).token)
  const pairing = far.pairing as unknown as { prove: (peer: string) => Promise<Record<string, unknown>> }
  const proof = { ...(await pairing.prove(node.id)), peer: far.id }
  const request = requestFrom('192.0.2.1', 'x')
  expect((await auth.present(request, proof)).caller).toMatchObject({ peer: far.id, binding: 'hmac' })
  expect(await failureOf(auth.present(request, proof))).toMatchObject({ data: { reason: 'replayed' } })
  const other = { ...(await pairing.prove(node.id)), peer: node.id }
  expect(await failureOf(auth.present(request, other))).toMatchObject({ code: 'UNAUTHENTICATED' })
})
