import { expect, it, onTestFinished } from 'vitest'
import { createWsEdge, openEdge, WS_PATH } from '../../src/gateway/index.ts'
import type { AgentInit } from '../../src/index.ts'
import { json, startEndpoint } from '../drivers/endpoints.ts'
import { connect } from '../gateway/ws-kit.ts'
import { failureOf, startNode, startPair } from '../nodes.ts'

const TRACE = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'

/** Answers with the trace of the call, and whether its signal is one. */
const TELLER: AgentInit = {
  name: 'teller',
  allow: 'any',
  capabilities: [
    { name: 'tell', handler: (_, { trace, signal, caller }) => [trace ?? null, signal.aborted, caller.peer] },
    {
      name: 'items',
      streaming: true,
      async *handler(_, { trace }) {
        yield trace ?? null
      }
    }
  ]
}

it('the agent of a peer gets the trace of a call, and of a stream', async () => {
  const [near, far] = await startPair()
  const { id } = await far.agents.add(TELLER)
  expect(await near.call(id, 'tell', {}, { trace: TRACE })).toEqual([TRACE, false, near.id])
  expect(await Array.fromAsync(near.stream(id, 'items', {}, { trace: TRACE }))).toEqual([TRACE])
  expect(await near.call(id, 'tell'), 'without one it gets none').toEqual([null, false, near.id])
  expect(await far.call(id, 'tell', {}, { trace: TRACE }), 'an own agent too').toEqual([TRACE, false, far.id])
})

it.each([
  '',
  '00-1',
  TRACE.toUpperCase(),
  `${TRACE}-00`,
  `ff${TRACE.slice(2)}`,
  `00-${'0'.repeat(32)}-00f067aa0ba902b7-01`,
  `00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`
])('a trace that is none is INVALID_ARGUMENT for who calls: %j', async (trace) => {
  const node = await startNode()
  const { id } = await node.agents.add(TELLER)
  expect(await failureOf(node.call(id, 'tell', {}, { trace }))).toMatchObject({ code: 'INVALID_ARGUMENT' })
  expect(await failureOf(Array.fromAsync(node.stream(id, 'items', {}, { trace })))).toMatchObject({
    code: 'INVALID_ARGUMENT'
  })
})

it.each([
  { id: 'a traceparent', sent: TRACE, got: TRACE },
  { id: 'what is none, which is as good as absent', sent: '00-broken', got: null }
])('clients of the edges send $id', async ({ sent, got }) => {
  const node = await startNode()
  const { id } = await node.agents.add(TELLER)
  const edge = await openEdge({ node, listen: '127.0.0.1:0', upgrades: { [WS_PATH]: createWsEdge() } })
  onTestFinished(() => edge.close())
  const token = await node.edges.ownerToken()
  const answer = await fetch(`${edge.url}/v1/calls`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', traceparent: sent },
    body: JSON.stringify({ target: id, capability: 'tell' })
  })
  expect(await answer.json()).toEqual({ result: [got, false, node.id] })
  const client = await connect({ url: edge.url.replace('http', 'ws') + WS_PATH, token })
  client.send({ type: 'invoke', id: '1', target: id, capability: 'tell', trace: sent })
  expect(await client.take('result')).toMatchObject({ result: [got, false, node.id] })
})

it('an agent behind HTTP gets it as the header that it is', async () => {
  const [near, far] = await startPair()
  const { url, seen } = await startEndpoint((_, response) => json(response, 'ok'))
  const capabilities = [{ name: 'do' }, { name: 'items', streaming: 'ndjson' }]
  const config = { url, capabilities, allowPrivate: true }
  const { id } = await far.agents.add({ name: 'web', driver: 'http', config, allow: 'any' })
  await near.call(id, 'do', {}, { trace: TRACE })
  await Array.fromAsync(near.stream(id, 'items', {}, { trace: TRACE }))
  await near.call(id, 'do')
  const calls = seen.filter(({ method }) => method === 'POST')
  expect(calls.map(({ headers }) => headers['traceparent'])).toEqual([TRACE, TRACE, undefined])
})
