import { once } from 'node:events'
import { WebSocket } from 'ws'
import { z } from 'zod'
import { abortable, abortError, MeshError } from '../errors.ts'
import { AgentSession } from './agent-session.ts'
import { type EndpointComponents, endpointAuth, openEndpointAuth } from './endpoint-auth.ts'
import { endpointUrl } from './endpoint-url.ts'
import type { Driver, DriverContext } from './index.ts'
import { parseConfig } from './parse-config.ts'
import { CALL_TIMEOUT_MS, HELLO_TIMEOUT_MS, MAX_FRAME_BYTES } from './session-constants.ts'
import { checkUrl, guardedLookup, reachOf } from './ssrf.ts'
import { duplexOf } from './websocket-duplex.ts'

/**
 * The agent listens on a WebSocket, which the node dials.
 *
 * @see protocols/agents/websocket.md
 */
export function createWebSocketDriver(components: EndpointComponents): Driver {
  return {
    kind: 'websocket',
    parse: (config) => parseConfig(websocketConfig, config, 'the configuration of a websocket agent'),
    connect: (config, context) => connect(websocketConfig.parse(config), context, components)
  }
}

const websocketConfig = z.strictObject({
  url: endpointUrl(['ws:', 'wss:']),
  auth: endpointAuth.optional(),
  /** How long to wait for a result, or for each item. */
  timeoutMs: z.int().min(100).max(86_400_000).default(CALL_TIMEOUT_MS),
  /** Whether it may be on a private network. */
  allowPrivate: z.boolean().default(false)
})

async function connect(
  { url: text, auth, timeoutMs, allowPrivate }: z.infer<typeof websocketConfig>,
  { signal, onChange, onLost }: DriverContext,
  components: EndpointComponents
): Promise<AgentSession> {
  const url = new URL(text)
  const reach = reachOf(url, allowPrivate)
  checkUrl(url, reach)
  const access = await openEndpointAuth(auth, reach, components)
  // A token is needed for the opening only.
  const headers = await access.headers({ method: 'GET', url }, { signal }).finally(() => access.close())
  const options = {
    headers,
    ...access.tls,
    lookup: guardedLookup(reach, components.resolve),
    maxPayload: MAX_FRAME_BYTES,
    perMessageDeflate: false,
    handshakeTimeout: HELLO_TIMEOUT_MS,
    followRedirects: false
  }
  const socket = new WebSocket(url, options)
  // Before it is open, so that no text is lost.
  const session = new AgentSession({ duplex: duplexOf(socket), timeoutMs, onChange, onLost })
  try {
    await opened(socket, signal)
    await abortable(session.ready({ signal: AbortSignal.timeout(HELLO_TIMEOUT_MS) }), signal)
    return session
  } catch (err) {
    socket.terminate()
    throw err
  }
}

async function opened(socket: WebSocket, signal: AbortSignal): Promise<void> {
  try {
    await once(socket, 'open', { signal })
  } catch (err) {
    if (signal.aborted) throw abortError(signal)
    if (err instanceof MeshError) throw err
    const why = err instanceof Error ? err.message : String(err)
    throw new MeshError('AGENT_UNAVAILABLE', `the agent can't be reached: ${why}`, { cause: err })
  }
}
