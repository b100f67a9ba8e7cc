/**
 * The owner's way in: HTTP over a unix socket in the home, which only the owner's user may open.
 *
 * | route | body or query | answer |
 * |---|---|---|
 * | `GET /v1/status` | | `NodeStatus` |
 * | `GET /v1/peers` | | `PeerInfo[]` |
 * | `POST /v1/connect` | `{address}` | `{peer}` |
 * | `GET /v1/agents` | `?id agent kind name version tag… text` | `LocalAgent[]` |
 * | `POST /v1/agents` | `AgentInit` without `capabilities` | 201 `LocalAgent` |
 * | `GET /v1/agents/:target` | local name, agent id, `@name`, `@name@peer` | `{signed?, local?}`: its record, and what only its owner knows |
 * | `PATCH /v1/agents/:target` | `AgentPatch` | `LocalAgent` |
 * | `DELETE /v1/agents/:target` | | `{removed: id}` |
 * | `GET /v1/find` | as agents, `timeoutMs`, `limit`, `explain` | NDJSON of `Found`, ended by `FindSummary`; with `explain=true` its `steps` too |
 * | `GET /v1/watch` | as agents | NDJSON of `Change` |
 * | `POST /v1/call` | `{target, capability, input?, kind?, version?, timeoutMs?}` | `{result}`, or NDJSON of items when the capability streams |
 * | `GET /v1/events` | `?type=peer:join&type=…` | NDJSON of `{event, at, detail}` |
 * | `POST /v1/stop` | | `{stopped: true}` when the node is down |
 * | `/v1/trust`, `/v1/policy`, `/v1/keys`, `/v1/pins` | | trust-, policy-, key- and pin-routes.ts have them |
 * | `/v1/logins`, `/v1/tokens`, `/v1/invites`, `/v1/pairs` | | login- and pair-routes.ts |
 * | `/v1/approvals`, `/v1/permissions`, `/v1/grants`, `/v1/check` | | permission-, grant- and check-routes.ts |
 *
 * NDJSON lines are `{"item":…}`, then one `{"end":…}` or `{"error":…}`. A request that fails answers `{"error":{code, message,
 * retryable, hint?}}` with the code's status. A client that goes away cancels what it asked for.
 */
import { createAdaptorServer } from '@hono/node-server'
import { MeshError } from '../errors.ts'
import type { Node } from '../index.ts'
import { HEADERS_TIMEOUT_MS, MAX_CONNECTIONS, REQUEST_TIMEOUT_MS } from './constants.ts'
import { createRoutes } from './routes.ts'
import { listenPrivately } from './socket.ts'

export interface ControlInit {
  /** Started. */
  readonly node: Node
  /** The socket, in a home that this process has locked. */
  readonly path: string
  /** Stops the node and this control; the client that asked for it waits. */
  readonly onStop: () => Promise<void>
  /** Told what went wrong behind an INTERNAL, which says nothing itself. */
  readonly onDefect?: (cause: unknown) => void
  /** Milliseconds since 1970; default `Date.now`. */
  readonly now?: () => number
}

export interface Control {
  /** Removes the socket and ends what is under way, but for a stop. */
  close(): void
}

/**
 * Opens the control socket.
 *
 * @throws {MeshError} IO
 */
export async function openControl(init: ControlInit): Promise<Control> {
  const closing = new AbortController()
  const server = createAdaptorServer({
    fetch: createRoutes(init, closing.signal).fetch,
    // Else it would replace Request and Response for the whole process
    overrideGlobalObjects: false,
    hostname: 'mesh',
    serverOptions: { headersTimeout: HEADERS_TIMEOUT_MS, requestTimeout: REQUEST_TIMEOUT_MS }
  })
  server.maxConnections = MAX_CONNECTIONS
  await listenPrivately(server, init.path)
  return {
    close() {
      closing.abort(new MeshError('UNREACHABLE', 'the node is stopping'))
      server.close()
    }
  }
}
