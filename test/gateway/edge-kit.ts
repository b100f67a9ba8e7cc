import { onTestFinished } from 'vitest'
import { type Edge, type EdgeInit, openEdge } from '../../src/gateway/index.ts'
import type { Node, NodeInit } from '../../src/index.ts'
import { startNode } from '../nodes.ts'

export interface EdgeKit {
  readonly node: Node
  readonly edge: Edge
  readonly url: string
  /** Of the owner. */
  readonly token: string
  /** As the owner; a body is sent as JSON. */
  readonly owner: (method: string, path: string, body?: unknown, headers?: Record<string, string>) => Promise<Response>
}

/** An agent with what tests call. */
export const CALCULATOR = {
  name: 'calculator',
  description: 'adds',
  capabilities: [
    {
      name: 'add',
      effects: 'none' as const,
      input: { type: 'object', properties: { a: { type: 'number' }, b: { type: 'number' } }, required: ['a', 'b'] },
      handler: (input: unknown) => {
        const { a, b } = input as { a: number; b: number }
        return a + b
      }
    },
    {
      name: 'count',
      streaming: true,
      effects: 'none' as const,
      handler: async function* (input: unknown) {
        const { to } = input as { to: number }
        for (let n = 1; n <= to; n += 1) yield { n }
      }
    },
    { name: 'who', effects: 'none' as const, handler: (_: unknown, { caller }: { caller: unknown }) => caller }
  ]
}

/** A node with an agent and an open HTTP edge on loopback. */
export async function startEdge(init: NodeInit = {}, edgeInit: Partial<Omit<EdgeInit, 'node'>> = {}): Promise<EdgeKit> {
  const node = await startNode(init)
  await node.agents.add(CALCULATOR)
  const edge = await openEdge({ node, listen: '127.0.0.1:0', ...edgeInit })
  onTestFinished(() => edge.close())
  await node.edges.ownerToken()
  const token = await node.edges.ownerToken()
  return {
    node,
    edge,
    url: edge.url,
    token,
    owner: (method, path, body, headers = {}) =>
      fetch(`${edge.url}${path}`, {
        method,
        headers: {
          authorization: `Bearer ${token}`,
          ...(body === undefined ? {} : { 'content-type': 'application/json' }),
          ...headers
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) })
      })
  }
}

/** What a problem says, in short. */
export async function problemOf(response: Response): Promise<{ status: number; code: string; reason?: string }> {
  const { code, data } = (await response.json()) as { code: string; data?: { reason?: string } }
  return { status: response.status, code, ...(data?.reason === undefined ? {} : { reason: data.reason }) }
}
