/**
 * Plugins that speak to one kind of agent each, and the host that keeps their agents alive.
 *
 * A driver is chosen by name; `createNode({ drivers })` adds its owner's own.
 *
 * @packageDocumentation
 * @example
 * const host = createHost({ registry, drivers: [functionDriver, mcpStdioDriver], peer, emit, announce, retract })
 * await host.add({ name: 'fs', driver: 'mcp-stdio', config: { command: 'mcp-server-filesystem', args: ['/srv'] }, tags: [], audience: 'public' })
 * const result = await host.invoke('fs', { kind: 'tool', name: 'read_text_file' }, { path: '/srv/a.txt' }, { caller, signal })
 */

import type { Caller } from '../auth/index.ts'
import type { MessageHandler } from '../messaging/index.ts'
import type { AgentDescription } from '../registry/index.ts'
import type { CapabilityKind } from '../registry/messages.ts'

/** Speaks to one kind of agent. */
export interface Driver {
  /** `mcp-stdio`, `function`, …; what `AgentDefinition.driver` names. */
  readonly kind: string
  /** Its agents come by themselves: the host asks for a connection when one is there, and never tries again on its own. */
  readonly isPassive?: boolean
  /**
   * Checks a configuration and fills in its defaults; called before anything is stored.
   *
   * @throws {MeshError} INVALID_ARGUMENT saying what is wrong
   */
  parse(config: unknown): unknown
  /**
   * Brings the agent up.
   *
   * @param config what {@link parse} returned
   * @throws {MeshError} AGENT_UNAVAILABLE when it can't be reached, within `context.signal`
   */
  connect(config: unknown, context: DriverContext): Promise<AgentConnection>
}

export interface DriverContext {
  /** The agent's name on this node. */
  readonly agent: string
  /** Aborted when the connecting takes too long, or the agent is removed. */
  readonly signal: AbortSignal
  /** To be called when the agent's capabilities may have changed; the host asks {@link AgentConnection.describe} again. */
  readonly onChange: () => void
  /**
   * To be called once when the agent is lost (its child died, its server went away); the host connects anew with backoff.
   *
   * @param reason a few words that callers may read too: `its process ended with exit code 1`
   * @param detail what only the owner may read, such as the last lines on stderr
   */
  readonly onLost: (reason: string, detail?: string) => void
}

/** A live agent. */
export interface AgentConnection {
  describe(options: { signal: AbortSignal }): Promise<AgentDescription>
  /**
   * Invokes one capability. The input has passed its schema.
   *
   * @returns the result, a promise of it, or an async iterable of items when it streams
   * @throws {MeshError} AGENT_ERROR for a failure that the agent reports, AGENT_UNAVAILABLE when it is gone
   */
  invoke(capability: { kind: CapabilityKind; name: string }, input: unknown, context: InvokeContext): unknown
  /** Handles one durable message; without it the agent takes none. Throwing makes it be tried again. */
  readonly message?: MessageHandler
  /** @throws {MeshError} when the agent doesn't answer */
  health(options: { signal: AbortSignal }): Promise<void>
  /** Ends the agent or lets go of it. Never throws; at most a few seconds. */
  close(): Promise<void>
}

export interface InvokeContext {
  readonly caller: Caller
  /** Aborted when the caller cancels, its deadline passes or its connection breaks. */
  readonly signal: AbortSignal
  /** Says what the work has cost, for the owner's `cost` limits; adds up. */
  readonly charge: (amount: number) => void
  /** W3C `traceparent`, when the caller sent one. */
  readonly trace?: string
}

export type AgentState = 'starting' | 'up' | 'down'

export interface AgentStatus {
  readonly state: AgentState
  /** Why it is down, one sentence, with when the next attempt is due. */
  readonly reason?: string
}

export { DIALLED_IN } from '../registry/constants.ts'
export type { Duplex } from './agent-session.ts'
export { createDialledIn, type DialledIn, type Visitor } from './dialled-in.ts'
export { functionDriver } from './function.ts'
export { createHost, type Host, type HostInit } from './host.ts'
export { createHttpDriver } from './http.ts'
export { mcpHttpDriver } from './mcp-http.ts'
export { mcpStdioDriver } from './mcp-stdio.ts'
export { moduleDriver } from './module.ts'
export { createWebSocketDriver } from './websocket.ts'
