/**
 * MCP over Streamable HTTP with the official SDK, version 2, in its ordinary shape: one session, `McpServer` behind
 * `NodeStreamableHTTPServerTransport` on node:http. (Its handler for the 2026 revision, `createMcpHandler`, a server per
 * request, measured within 10 % of it or slower; express in front would only add to the time.)
 */
import { randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { IncomingMessage, ServerResponse } from 'node:http'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { NodeStreamableHTTPServerTransport } from '@modelcontextprotocol/node'
import { McpServer } from '@modelcontextprotocol/server'
import { z } from 'zod'
import type { System } from '../system.ts'

const message = z.object({
  id: z.int(),
  from: z.string(),
  method: z.string(),
  params: z.object({
    count: z.int(),
    flags: z.array(z.boolean().nullable()),
    tags: z.array(z.string()),
    text: z.string()
  })
})

export const system: System = {
  async serve() {
    const sessions = new Map<string, NodeStreamableHTTPServerTransport>()
    const server = createServer((req, res) => {
      answer(sessions, req, res).catch((err: unknown) => res.destroy(err as Error))
    })
    server.keepAliveTimeout = 60_000
    await once(server.listen(0, '127.0.0.1'), 'listening')
    const { port } = server.address() as AddressInfo
    return {
      contact: { url: `http://127.0.0.1:${port}/mcp` },
      close: async () => {
        server.close()
        server.closeAllConnections()
      }
    }
  },

  async connect({ url }) {
    const client = new Client({ name: 'bench', version: '1.0.0' })
    await client.connect(new StreamableHTTPClientTransport(new URL(String(url))))
    return {
      call: async (sent) => {
        const { content } = await client.callTool({ name: 'echo', arguments: { ...sent } })
        const [first] = content
        return first?.type === 'text' ? JSON.parse(first.text) : undefined
      },
      close: () => client.close()
    }
  }
}

async function answer(
  sessions: Map<string, NodeStreamableHTTPServerTransport>,
  req: IncomingMessage,
  res: ServerResponse
): Promise<void> {
  const known = sessions.get(String(req.headers['mcp-session-id']))
  if (known !== undefined) return known.handleRequest(req, res)
  const transport = new NodeStreamableHTTPServerTransport({
    sessionIdGenerator: randomUUID,
    onsessioninitialized: (id) => {
      sessions.set(id, transport)
    }
  })
  const server = new McpServer({ name: 'echo', version: '1.0.0' })
  server.registerTool('echo', { description: 'Says it again', inputSchema: message }, async (input) => ({
    content: [{ type: 'text', text: JSON.stringify(input) }]
  }))
  await server.connect(transport)
  await transport.handleRequest(req, res)
}
