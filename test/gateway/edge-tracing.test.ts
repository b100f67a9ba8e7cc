import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { expect, it, onTestFinished } from 'vitest'
import { openEdge } from '../../src/gateway/index.ts'
import { failureOf, startNode } from '../nodes.ts'
import { startEdge } from './edge-kit.ts'

interface Span {
  readonly name: string
  readonly traceId: string
  readonly parentSpanId?: string
  readonly attributes: readonly { readonly key: string; readonly value: object }[]
}

/** Takes spans, as a collector does. */
async function startCollector(): Promise<{ readonly url: string; readonly spans: Span[]; readonly bodies: string[] }> {
  const spans: Span[] = []
  const bodies: string[] = []
  const collect = async (chunks: AsyncIterable<Uint8Array>): Promise<void> => {
    const text = Buffer.concat(await Array.fromAsync(chunks)).toString()
    bodies.push(text)
    const { resourceSpans } = JSON.parse(text) as { resourceSpans: { scopeSpans: { spans: Span[] }[] }[] }
    spans.push(...resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans)))
  }
  const server = createServer((request, response) => {
    collect(request).then(
      () => response.end('{}'),
      () => response.writeHead(500).end()
    )
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`, spans, bodies }
}

it('requests are spans of the trace that they came in, without what is secret', async () => {
  const collector = await startCollector()
  const { edge, owner, token, node } = await startEdge({}, { traces: collector.url })
  const traceId = 'a'.repeat(32)
  await owner('GET', '/v1/status?x=secret', undefined, { traceparent: `00-${traceId}-${'b'.repeat(16)}-01` })
  await owner('GET', '/v1/agents/nobody', undefined, { traceparent: '00-broken' })
  await edge.close()
  const [first, second] = collector.spans
  expect(first).toMatchObject({ name: 'GET /v1/status', traceId, parentSpanId: 'b'.repeat(16) })
  expect(first?.attributes).toContainEqual({ key: 'http.response.status_code', value: { intValue: 200 } })
  expect(second).toMatchObject({ name: 'GET /v1/agents/{id}' })
  expect(second?.traceId).toMatch(/^[0-9a-f]{32}$/)
  const text = collector.bodies.join('')
  expect(text).toContain(node.id)
  expect(text).not.toContain('secret')
  expect(text).not.toContain(token)
})

it('a collector that is away disturbs nobody', async () => {
  const { edge, owner } = await startEdge({}, { traces: 'http://127.0.0.1:9/v1/traces' })
  expect((await owner('GET', '/v1/status')).status).toBe(200)
  await edge.close()
})

it('a collector that is no URL is refused', async () => {
  const node = await startNode()
  const opening = openEdge({ node, listen: '127.0.0.1:0', traces: 'nowhere' })
  expect(await failureOf(opening)).toMatchObject({ code: 'INVALID_CONFIG' })
})
