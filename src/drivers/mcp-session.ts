import { createRequire } from 'node:module'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, type JsonSchemaValidator, type McpSubscription, type Tool } from '@modelcontextprotocol/client'
import pRetry from 'p-retry'
import { MeshError } from '../errors.ts'
import type { AgentDescription } from '../registry/index.ts'
import type { CapabilityKind } from '../registry/messages.ts'
import * as limits from './constants.ts'
import type { AgentConnection, DriverContext, InvokeContext } from './index.ts'
import { callError, isRefusal } from './mcp-errors.ts'
import { toolCapability, toolResult, toSemver } from './mcp-tools.ts'

/** A client that has nothing to offer to its server: no sampling, no elicitation, no roots. */
export function createClient(): Client {
  const { name, version } = createRequire(import.meta.url)('../../package.json') as { name: string; version: string }
  return new Client(
    { name, version },
    {
      capabilities: {},
      versionNegotiation: { mode: 'auto', probe: { timeoutMs: limits.PROBE_TIMEOUT_MS } },
      inputRequired: { autoFulfill: false },
      // The mesh checks results itself, with bounded validators; the SDK would compile whatever a server sends.
      jsonSchemaValidator: {
        getValidator:
          <T>(): JsonSchemaValidator<T> =>
          (input) => ({ valid: true, data: input as T, errorMessage: undefined })
      }
    }
  )
}

export interface SessionInit {
  readonly client: Client
  readonly context: DriverContext
  /** Ends the transport. */
  readonly close: () => Promise<void>
}

/** A connected MCP server as an agent, over whatever transport. */
export class McpSession implements AgentConnection {
  readonly #client: Client
  readonly #context: DriverContext
  readonly #close: () => Promise<void>
  readonly #ended = new AbortController()
  /** By name, what a call over HTTP needs of it: some inputs go into headers. */
  #tools = new Map<string, Tool>()
  #calls = 0
  #refresh: NodeJS.Timeout | undefined

  constructor({ client, context, close }: SessionInit) {
    this.#client = client
    this.#context = context
    this.#close = close
    if (this.#announcesChanges) this.#watch()
  }

  async describe({ signal }: { signal: AbortSignal }): Promise<AgentDescription> {
    const server = this.#client.getServerVersion()
    const version = toSemver(server?.version)
    const tools = await this.#listTools(signal)
    this.#tools = new Map(tools.map((tool) => [tool.name, { name: tool.name, inputSchema: tool.inputSchema }]))
    const description = server?.description ?? server?.title ?? this.#client.getInstructions()
    return {
      ...(description === undefined ? {} : { description }),
      version,
      capabilities: tools.map((tool) => toolCapability(tool, version))
    }
  }

  async invoke(
    { kind, name }: { kind: CapabilityKind; name: string },
    input: unknown,
    { signal, trace }: InvokeContext
  ): Promise<unknown> {
    if (kind !== 'tool') throw new MeshError('NOT_FOUND', `an MCP server offers no ${kind}`)
    if (input !== undefined && !isObject(input))
      throw new MeshError('INVALID_INPUT', 'the input of an MCP tool is an object')
    if (this.#client.transport === undefined) throw new MeshError('AGENT_UNAVAILABLE', 'the agent is not connected')
    this.#calls += 1
    try {
      // Given the definition, the SDK looks into no cache; without an output schema in it, it checks nothing.
      const toolDefinition = this.#tools.get(name) ?? { name, inputSchema: { type: 'object' } }
      const params = {
        name,
        ...(input === undefined ? {} : { arguments: input }),
        ...(trace === undefined ? {} : { _meta: { traceparent: trace } })
      }
      return toolResult(await this.#client.callTool(params, { signal, timeout: limits.NO_TIMEOUT_MS, toolDefinition }))
    } catch (err) {
      throw callError(err, signal)
    } finally {
      this.#calls -= 1
    }
  }

  /** A server at work on a call may be too busy to answer; the call's own deadline is there for that. */
  async health({ signal }: { signal: AbortSignal }): Promise<void> {
    if (this.#calls === 0) await this.ping(signal)
  }

  async ping(signal: AbortSignal): Promise<void> {
    const options = { signal, timeout: limits.HEALTH_TIMEOUT_MS }
    try {
      // The protocol of 2026 has no `ping`.
      await (this.#client.getProtocolEra() === 'modern' ? this.#client.discover(options) : this.#client.ping(options))
    } catch (err) {
      // Whoever refuses a ping is there.
      if (!isRefusal(err)) throw callError(err, signal)
    }
  }

  async close(): Promise<void> {
    this.#ended.abort()
    clearTimeout(this.#refresh)
    await this.#close()
  }

  async #listTools(signal: AbortSignal): Promise<Tool[]> {
    // Asked without it, the SDK prints a line.
    if (this.#client.getServerCapabilities()?.tools === undefined) return []
    try {
      const listed = await this.#client.listTools(
        {},
        { signal, timeout: limits.DESCRIBE_TIMEOUT_MS, cacheMode: 'bypass' }
      )
      const ttlMs = 'ttlMs' in listed && typeof listed.ttlMs === 'number' ? listed.ttlMs : 0
      if (ttlMs > 0 && !this.#announcesChanges) this.#refreshAfter(ttlMs)
      return listed.tools
    } catch (err) {
      throw callError(err, signal)
    }
  }

  get #announcesChanges(): boolean {
    return this.#client.getServerCapabilities()?.tools?.listChanged === true
  }

  // A list that says how long it is good for, from a server that won't say when it changes.
  #refreshAfter(ttlMs: number): void {
    clearTimeout(this.#refresh)
    if (this.#ended.signal.aborted) return
    const delay = Math.min(Math.max(ttlMs, limits.MIN_LIST_TTL_MS), limits.NO_TIMEOUT_MS)
    this.#refresh = setTimeout(() => this.#context.onChange(), delay).unref()
  }

  #watch(): void {
    this.#client.setNotificationHandler('notifications/tools/list_changed', () => this.#context.onChange())
    if (this.#client.getProtocolEra() !== 'modern') return
    this.#listen(this.#ended.signal).catch((err: unknown) => {
      if (!this.#ended.signal.aborted) this.#context.onLost('its changes cannot be followed', String(err))
    })
  }

  // In the protocol of 2026 changes are told to who subscribes; a subscription may end at any time.
  async #listen(signal: AbortSignal): Promise<void> {
    for (let first = true; !signal.aborted; first = false) {
      const subscription = await pRetry(() => this.#subscribe(signal), {
        signal,
        retries: Number.POSITIVE_INFINITY,
        minTimeout: limits.RELISTEN_MS,
        maxTimeout: limits.RECONNECT_MAX_MS,
        randomize: true,
        unref: true
      })
      if (!first) this.#context.onChange()
      await subscription.closed
      await sleep(limits.RELISTEN_MS, undefined, { signal, ref: false })
    }
  }

  #subscribe(signal: AbortSignal): Promise<McpSubscription> {
    return this.#client.listen({ toolsListChanged: true }, { signal, timeout: limits.DESCRIBE_TIMEOUT_MS })
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
