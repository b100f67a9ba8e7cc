import { MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import type { Receiver } from '../messaging/index.ts'
import type { AgentDefinition, Registry } from '../registry/index.ts'
import { agentName, type CapabilityKind, type SignedRecord } from '../registry/messages.ts'
import * as limits from './constants.ts'
import { HostedAgent, type Surroundings } from './hosted-agent.ts'
import type { AgentStatus, Driver, InvokeContext } from './index.ts'

/** What to change of an agent; absent fields stay. */
type AgentChange = Partial<Omit<AgentDefinition, 'name'>>

/** Keeps the agents of this node alive, and their records in step with what they offer. */
export interface Host {
  /** Brings every stored agent up, in the background: a broken one keeps nobody waiting. */
  start(): void
  /** Ends every agent; records and definitions stay. */
  stop(): Promise<void>
  /**
   * Connects a new agent, stores its definition, publishes and announces it.
   *
   * @throws {MeshError} ALREADY_EXISTS, INVALID_ARGUMENT, INVALID_SCHEMA, BUSY, AGENT_UNAVAILABLE; nothing is kept then
   */
  add(definition: AgentDefinition): Promise<SignedRecord>
  /**
   * Changes an agent. With another driver or configuration it is connected anew, and the old connection closed once the
   * new one has been published; with neither, it isn't disturbed.
   *
   * @returns its record, or undefined when it is down and nothing was changed that could bring it up
   * @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT, INVALID_SCHEMA, AGENT_UNAVAILABLE; the agent is as before then
   */
  update(name: string, change: AgentChange): Promise<SignedRecord | undefined>
  /** Ends an agent, takes its record back and forgets it. @throws {MeshError} NOT_FOUND */
  remove(name: string): Promise<AgentDefinition>
  /** Undefined when there is no such agent. */
  status(name: string): AgentStatus | undefined
  /** Asks an agent whether it is well. @throws {MeshError} NOT_FOUND, AGENT_UNAVAILABLE, and what its driver says is wrong */
  probe(name: string, options: { signal: AbortSignal }): Promise<void>
  /** Gives an agent up for lost that doesn't answer any more: it is connected anew. */
  lose(name: string, reason: string, detail?: string): void
  /**
   * Invokes a capability; the input has passed its schema. Returns what {@link AgentConnection.invoke} does.
   *
   * @throws {MeshError} NOT_FOUND, AGENT_UNAVAILABLE saying why and when the next attempt is due, and what the driver throws
   */
  invoke(
    name: string,
    capability: { kind: CapabilityKind; name: string },
    input: unknown,
    context: InvokeContext
  ): unknown
  /** How an agent stands to messages. */
  receiver(name: string): Receiver
}

export interface HostComponents {
  readonly registry: Registry
  readonly drivers: readonly Driver[]
  /** This node's PeerId, for the ids in events. */
  readonly peer: string
  readonly emit: Emit
  /** Tells the mesh of a new or changed record; failures are logged. */
  readonly announce: (name: string) => Promise<void>
  readonly retract: (name: string) => Promise<void>
  /** Told what went wrong without anybody waiting for it. Default: nobody. */
  readonly log?: (text: string) => void
  /** Milliseconds since the epoch; default `Date.now`. */
  readonly clock?: () => number
  /** Uniform in [0, 1); default `Math.random`. */
  readonly random?: () => number
}

export interface HostInit {
  /** Default 60,000. */
  readonly connectTimeoutMs?: number
  /** How often an agent is asked whether it is well; default 30,000; 0 when somebody else does, by {@link Host.probe}. */
  readonly healthIntervalMs?: number
  /** Default 15,000. */
  readonly healthTimeoutMs?: number
  /** The n-th reconnect waits up to this × 2ⁿ; default 500. */
  readonly reconnectMinMs?: number
  /** The most a reconnect waits; default 60,000. */
  readonly reconnectMaxMs?: number
}

/**
 * @throws {MeshError} INVALID_ARGUMENT when two drivers have the same kind
 */
export function createHost(components: HostComponents, init: HostInit = {}): Host {
  const drivers = new Map(components.drivers.map((driver) => [driver.kind, driver]))
  if (drivers.size < components.drivers.length)
    throw new MeshError('INVALID_ARGUMENT', 'two drivers have the same kind')
  return new AgentHost(drivers, {
    log: () => {},
    clock: Date.now,
    random: Math.random,
    ...components,
    connectTimeoutMs: init.connectTimeoutMs ?? limits.CONNECT_TIMEOUT_MS,
    healthIntervalMs: init.healthIntervalMs ?? limits.HEALTH_INTERVAL_MS,
    healthTimeoutMs: init.healthTimeoutMs ?? limits.HEALTH_TIMEOUT_MS,
    reconnectMinMs: init.reconnectMinMs ?? limits.RECONNECT_MIN_MS,
    reconnectMaxMs: init.reconnectMaxMs ?? limits.RECONNECT_MAX_MS
  })
}

class AgentHost implements Host {
  readonly #drivers: ReadonlyMap<string, Driver>
  readonly #surroundings: Surroundings
  readonly #agents = new Map<string, HostedAgent>()
  /** The last of what is to happen with a name, so that the next waits for it. */
  readonly #busy = new Map<string, Promise<unknown>>()
  #stopped = false

  constructor(drivers: ReadonlyMap<string, Driver>, surroundings: Omit<Surroundings, 'inTurn'>) {
    this.#drivers = drivers
    this.#surroundings = { ...surroundings, inTurn: (name, task) => this.#inTurn(name, task) }
  }

  start(): void {
    const waiting = this.#surroundings.registry.definitions().filter(({ name }) => !this.#agents.has(name))
    const agents = waiting.map((definition) => {
      const agent = new HostedAgent(definition, this.#drivers.get(definition.driver), this.#surroundings)
      this.#agents.set(definition.name, agent)
      return agent
    })
    const bringUp = async (): Promise<void> => {
      for (let agent = agents.shift(); agent !== undefined && !this.#stopped; agent = agents.shift())
        await agent.start()
    }
    for (let lane = 0; lane < limits.MAX_STARTING; lane += 1) {
      bringUp().catch((err: unknown) => this.#surroundings.log(`an agent was not started: ${String(err)}`))
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await Promise.all([...this.#agents.values()].map((agent) => agent.stop()))
    await Promise.allSettled(this.#busy.values())
  }

  add(definition: AgentDefinition): Promise<SignedRecord> {
    const { name } = definition
    return this.#inTurn(name, async () => {
      if (name === OWNER || this.#agents.has(name) || this.#surroundings.registry.definition(name) !== undefined)
        throw new MeshError('ALREADY_EXISTS', `there is an agent ${name} already`)
      if (!agentName.safeParse(name).success) {
        throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(name.slice(0, 80))} can't be the name of an agent`, {
          hint: 'use 1 to 64 lower-case letters, digits, dots, underscores and hyphens, with a letter or digit at both ends'
        })
      }
      const driver = this.#driver(definition.driver)
      const parsed = { ...definition, config: driver.parse(definition.config) }
      const agent = new HostedAgent(parsed, driver, this.#surroundings)
      this.#agents.set(name, agent)
      try {
        return await agent.add()
      } catch (err) {
        this.#agents.delete(name)
        throw err
      }
    })
  }

  update(name: string, change: AgentChange): Promise<SignedRecord | undefined> {
    return this.#inTurn(name, async () => {
      const agent = this.#agents.get(name)
      if (agent === undefined) throw notFound(name)
      const merged = { ...agent.definition, ...change }
      if (change.driver === undefined && !('config' in change)) return agent.redefine(merged)
      const driver = this.#driver(merged.driver)
      const next = new HostedAgent({ ...merged, config: driver.parse(merged.config) }, driver, this.#surroundings)
      const record = await next.replace(agent)
      this.#agents.set(name, next)
      return record
    })
  }

  async remove(name: string): Promise<AgentDefinition> {
    // At once, not in its turn: a reconnect under way is not waited for.
    this.#agents.get(name)?.abandon()
    return this.#inTurn(name, async () => {
      const agent = this.#agents.get(name)
      if (agent === undefined) throw notFound(name)
      await agent.remove()
      this.#agents.delete(name)
      return agent.definition
    })
  }

  status(name: string): AgentStatus | undefined {
    return this.#agents.get(name)?.status()
  }

  async probe(name: string, { signal }: { signal: AbortSignal }): Promise<void> {
    const agent = this.#agents.get(name)
    if (agent === undefined) throw notFound(name)
    if (agent.connection === undefined) throw new MeshError('AGENT_UNAVAILABLE', `the agent ${name} is not running`)
    await agent.connection.health({ signal })
  }

  lose(name: string, reason: string, detail?: string): void {
    this.#agents.get(name)?.lose(reason, detail)
  }

  invoke(
    name: string,
    capability: { kind: CapabilityKind; name: string },
    input: unknown,
    context: InvokeContext
  ): unknown {
    const agent = this.#agents.get(name)
    if (agent === undefined) throw notFound(name)
    const { connection } = agent
    if (connection === undefined) throw agent.unavailable(context.caller)
    return connection.invoke(capability, input, context)
  }

  receiver(name: string): Receiver {
    const agent = this.#agents.get(name)
    if (agent === undefined) return this.#surroundings.registry.definition(name) === undefined ? 'unknown' : 'down'
    const { connection } = agent
    if (connection === undefined) return 'down'
    return connection.message === undefined ? 'unsupported' : connection.message.bind(connection)
  }

  #driver(kind: string): Driver {
    const driver = this.#drivers.get(kind)
    if (driver !== undefined) return driver
    throw new MeshError('INVALID_ARGUMENT', `there is no driver ${JSON.stringify(kind.slice(0, 80))}`, {
      hint: `use one of ${[...this.#drivers.keys()].toSorted().join(', ')}`
    })
  }

  #inTurn<T>(name: string, task: () => Promise<T>): Promise<T> {
    if (this.#stopped) return Promise.reject(new MeshError('AGENT_UNAVAILABLE', 'the node is stopping'))
    const turn = (this.#busy.get(name) ?? Promise.resolve()).then(task, task)
    this.#busy.set(name, turn)
    const done = () => {
      if (this.#busy.get(name) === turn) this.#busy.delete(name)
    }
    turn.then(done, done)
    return turn
  }
}

/** The human of every node: messages go there, and no agent may pass for it. */
const OWNER = 'owner'

function notFound(name: string): MeshError {
  return new MeshError('NOT_FOUND', `this node has no agent ${JSON.stringify(name.slice(0, 80))}`, {
    hint: 'see `pryx-mesh agents list`'
  })
}
