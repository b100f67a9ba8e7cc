import type { Client, PriorDiscovery } from '@modelcontextprotocol/client'
import { abortError, MeshError } from '../errors.ts'
import { type ChildInit, ChildTransport } from './child-transport.ts'
import { CONNECT_TIMEOUT_MS } from './constants.ts'
import type { AgentConnection, DriverContext } from './index.ts'
import { createClient, McpSession } from './mcp-session.ts'

/**
 * Starts an MCP server and shakes hands with it.
 *
 * @throws {MeshError} AGENT_UNAVAILABLE with the last lines of its stderr, TIMEOUT, CANCELLED
 */
export async function openChild(init: ChildInit, context: DriverContext): Promise<AgentConnection> {
  const first = new ChildTransport(init)
  try {
    return await open(first, context)
  } catch (err) {
    // Some servers end at any request before `initialize`, so also at the question which protocol they speak.
    if (context.signal.aborted || !first.wasLost) throw err
    return open(new ChildTransport(init), context, { kind: 'legacy' })
  }
}

async function open(child: ChildTransport, context: DriverContext, prior?: PriorDiscovery): Promise<AgentConnection> {
  const { signal } = context
  const client = createClient()
  const stop = () => void child.close() // Never rejects; the handshake then fails.
  signal.addEventListener('abort', stop, { once: true })
  try {
    await client.connect(child, { signal, timeout: CONNECT_TIMEOUT_MS, ...(prior === undefined ? {} : { prior }) })
    if (signal.aborted) throw abortError(signal)
    return watched(child, client, context)
  } catch (err) {
    await child.close()
    throw signal.aborted ? abortError(signal) : startFailure(child, err)
  } finally {
    signal.removeEventListener('abort', stop)
  }
}

function watched(child: ChildTransport, client: Client, context: DriverContext): AgentConnection {
  let closing = false
  client.onclose = () => {
    if (!closing) context.onLost(child.exit ?? 'its process is gone', child.stderr || undefined)
  }
  return new McpSession({
    client,
    context,
    close: () => {
      closing = true
      return child.close()
    }
  })
}

function startFailure(child: ChildTransport, err: unknown): MeshError {
  if (err instanceof MeshError && !child.wasLost) return err
  const said = child.stderr === '' ? '' : `; its last words: ${child.stderr}`
  const text = err instanceof Error ? err.message : String(err)
  const why = child.wasLost && child.exit !== undefined ? child.exit : text
  return new MeshError('AGENT_UNAVAILABLE', `the MCP server did not come up: ${why}${said}`, { cause: err })
}
