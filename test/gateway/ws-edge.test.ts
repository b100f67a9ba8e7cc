import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { nextEvent } from '../nodes.ts'
import { allowRegister, Client, connect, refusal, register, startEdge } from './ws-kit.ts'

it('lets the owner in by the header, and says who it is', async () => {
  const { node, url, ownerToken } = await startEdge()
  const client = new Client({ url, token: ownerToken })
  expect(await client.take('welcome')).toEqual({
    type: 'welcome',
    node: node.id,
    caller: { peer: node.id, trust: 'owner' },
    resumeMs: 60_000
  })
  expect(client.socket.protocol).toBe('pryx-mesh.v1')
})

it('registers an agent that is called, streams and is cancelled', async () => {
  const { node, url, ownerToken } = await startEdge()
  const { client, id } = await register({ url, token: ownerToken }, 'worker')
  expect(id).toBe(`${node.id}/worker`)
  const called = node.call('@worker', 'echo', { hello: 1 })
  const call = await client.take('call')
  expect(call).toMatchObject({ agent: 'worker', capability: { name: 'echo' }, input: { hello: 1 } })
  client.send({ type: 'result', id: call['id'], result: { hello: 2 } })
  expect(await called).toEqual({ hello: 2 })

  const stream = node.stream('@worker', 'count', {})[Symbol.asyncIterator]()
  const first = stream.next()
  const { id: streamId } = await client.take('call')
  client.send({ type: 'item', id: streamId, seq: 0, item: 'a' })
  expect(await first).toEqual({ done: false, value: 'a' })
  await stream.return?.()
  expect(await client.take('cancel')).toMatchObject({ id: streamId })
})
