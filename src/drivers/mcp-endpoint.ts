import { setTimeout as sleep } from 'node:timers/promises'
import type { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { abortError, MeshError } from '../errors.ts'
import { CLOSE_GRACE_MS, CONNECT_TIMEOUT_MS, HEALTH_TIMEOUT_MS } from './constants.ts'
import { HttpTransport } from './http-transport.ts'
import type { AgentConnection, DriverContext } from './index.ts'
import { createClient, McpSession } from './mcp-session.ts'

/**
 * Shakes hands with the MCP server at a URL.
 *
 * @throws {MeshError} AGENT_UNAVAILABLE, TIMEOUT, CANCELLED
 */
export async function openHttp(
  url: URL,
  headers: Record<string, string>,
  context: DriverContext
): Promise<AgentConnection> {
  const { signal } = context
  const client = createClient()
  const transport = new HttpTransport(url, headers)
  const stop = () => void transport.close() // Ends its requests; the handshake then fails.
  signal.addEventListener('abort', stop, { once: true })
  try {
    await client.connect(transport, { signal, timeout: CONNECT_TIMEOUT_MS })
    if (signal.aborted) throw abortError(signal)
    return watched(transport, client, context)
  } catch (err) {
    await transport.close()
    if (signal.aborted) throw abortError(signal)
    throw new MeshError('AGENT_UNAVAILABLE', `no MCP server answers at ${url.href}: ${rootOf(err)}`, { cause: err })
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

// There is no connection that could break, so every failure of the transport is a reason to ask whether the server is there.
function watched(transport: StreamableHTTPClientTransport, client: Client, context: DriverContext): AgentConnection {
  const ended = new AbortController()
  let asking = false
  const session = new McpSession({
    client,
    context,
    close: async () => {
      ended.abort()
      await Promise.race([
        transport.terminateSession().catch(() => {}),
        sleep(CLOSE_GRACE_MS, undefined, { ref: false })
      ])
      await client.close()
    }
  })
  client.onerror = () => {
    if (asking || ended.signal.aborted) return
    asking = true
    const signal = AbortSignal.any([ended.signal, AbortSignal.timeout(HEALTH_TIMEOUT_MS)])
    session
      .ping(signal)
      .catch((err: unknown) => {
        if (ended.signal.aborted) return
        ended.abort()
        context.onLost('its server does not answer', MeshError.from(err).message)
      })
      .finally(() => {
        asking = false
      })
  }
  return session
}

/** What `fetch` and the SDK have wrapped: `connect ECONNREFUSED 127.0.0.1:3000`. */
function rootOf(err: unknown): string {
  let root = err
  while (root instanceof Error && root.cause instanceof Error) root = root.cause
  return root instanceof Error ? root.message : String(root)
}
