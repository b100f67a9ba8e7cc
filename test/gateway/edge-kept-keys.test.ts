import type { IncomingMessage } from 'node:http'
import { expect, it } from 'vitest'
import { createEdgeAuth } from '../../src/gateway/edge/auth.ts'
import { KEPT_KEY_MS } from '../../src/gateway/edge/constants.ts'
import { createHosts } from '../../src/gateway/edge/hosts.ts'
import { createReplays } from '../../src/gateway/edge/replays.ts'
import { failureOf, startNode } from '../nodes.ts'

/** An edge's auth on a real node, that counts how often a credential is looked up. */
async function start() {
  const node = await startNode()
  const time = { now: Date.now() }
  const now = () => time.now
  const looked = { times: 0 }
  const edges: typeof node.edges = {
    ...node.edges,
    authenticate: (...asked) => {
      looked.times += 1
      return node.edges.authenticate(...asked)
    }
  }
  const hosts = createHosts({ listen: { host: '127.0.0.1', port: 8645 }, isTls: false, hosts: [], origins: [] })
  const memory = { replays: createReplays(now), strangers: createReplays(now) }
  const auth = createEdgeAuth({ edges, hosts, ...memory, now })
  const { key, info } = await node.keys.create({ name: 'ci', pin: 'off' })
  const come = (headers: Record<string, string>) => auth.authenticate(requestWith(headers))
  return { node, time, looked, come, key, id: info.id }
}

function requestWith(more: Record<string, string>): IncomingMessage {
  const headers = { host: '127.0.0.1:8645', ...more }
  // Of a request no more is looked at
  return {
    method: 'GET',
    url: '/v1/self',
    headers,
    rawHeaders: Object.entries(headers).flat(),
    socket: { remoteAddress: '127.0.0.1' }
  } as unknown as IncomingMessage
}

it.each([
  { id: 'Bearer', headers: (key: string) => ({ authorization: `Bearer ${key}` }) },
  { id: 'X-Api-Key', headers: (key: string) => ({ 'x-api-key': key }) }
])('a key in $id is looked up once within seconds, and then again', async ({ headers }) => {
  const { time, looked, come, key, id } = await start()
  for (let n = 0; n < 3; n += 1) expect((await come(headers(key))).caller.peer).toBe(`api-key:${id}`)
  expect(looked.times).toBe(1)
  time.now += KEPT_KEY_MS
  await come(headers(key))
  expect(looked.times).toBe(2)
  // Nor is it kept by a clock that was set back
  time.now -= 10 * KEPT_KEY_MS
  await come(headers(key))
  expect(looked.times).toBe(3)
})

it('a key that was revoked a moment ago is refused for that', async () => {
  const { node, come, key, id } = await start()
  await come({ authorization: `Bearer ${key}` })
  await node.keys.revoke(id)
  expect(await failureOf(come({ authorization: `Bearer ${key}` }))).toMatchObject({
    code: 'UNAUTHENTICATED',
    data: { reason: 'revoked' }
  })
})

it('a secret that was rotated out is refused at once, and the new one is taken', async () => {
  const { node, come, key, id } = await start()
  await come({ authorization: `Bearer ${key}` })
  const rotated = await node.keys.rotate(id, { overlapMs: 0 })
  expect(await failureOf(come({ authorization: `Bearer ${key}` }))).toMatchObject({ code: 'UNAUTHENTICATED' })
  expect((await come({ authorization: `Bearer ${rotated.key}` })).caller.peer).toBe(`api-key:${id}`)
})

it('what comes beside a key is looked at each time', async () => {
  const { looked, come, key } = await start()
  await come({ authorization: `Bearer ${key}` })
  const both = { authorization: `Bearer ${key}`, 'x-api-key': 'mesh_k_guess' }
  expect(await failureOf(come(both))).toMatchObject({ code: 'UNAUTHENTICATED', data: { reason: 'malformed' } })
  const signed = { authorization: `Bearer ${key}`, signature: 'sig=:AA==:', 'signature-input': 'sig=()' }
  expect(await failureOf(come(signed))).toMatchObject({ code: 'UNAUTHENTICATED' })
  expect(looked.times).toBe(2)
})
