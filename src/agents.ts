import type { Caller } from './auth/index.ts'
import {
  type AgentState,
  DIALLED_IN,
  type DialledIn,
  type Host,
  type InvokeContext,
  type Visitor
} from './drivers/index.ts'
import { MeshError } from './errors.ts'
import type { MessageHandler } from './messaging/index.ts'
import type { Policy } from './policy/index.ts'
import type { AgentDefinition, AvailabilityWindow, CapabilityDefinition, Registry } from './registry/index.ts'
import { compileQuery, matchRecord } from './registry/index.ts'
import type { CapabilityKind, Query, SignedRecord } from './registry/messages.ts'

/** Answers a call: returns a value, a promise of one, or yields items. */
export type Handler = (
  input: unknown,
  context: Pick<InvokeContext, 'caller' | 'signal' | 'charge' | 'trace'>
) => unknown

/** A capability that is a function of this process. */
export interface FunctionCapability extends Omit<CapabilityDefinition, 'kind' | 'version'> {
  /** Default `tool`. */
  readonly kind?: CapabilityKind
  /** Default: the agent's version. */
  readonly version?: string
  readonly handler: Handler
}

export interface AgentInit {
  /** One path segment: lower-case letters, digits, `.`, `_`, `-`; 1 to 64 characters. */
  readonly name: string
  readonly description?: string
  /** Semver; default `1.0.0`. For functions only: other drivers ask their agent. */
  readonly version?: string
  readonly tags?: readonly string[]
  /** Who may see the record: everybody (default), or paired peers only. */
  readonly audience?: AgentDefinition['audience']
  /** When it is there; default always. Of a change, none: always again. */
  readonly availability?: readonly AvailabilityWindow[]
  /** Who may call it, anybody or these PeerIds: writes a policy rule. Default nobody but the owner. */
  readonly allow?: 'any' | readonly string[]
  /** Functions of this process; then `driver` is `function`. */
  readonly capabilities?: readonly FunctionCapability[]
  /** Handles durable messages in this process; with it `capabilities` may be left out. */
  readonly onMessage?: MessageHandler
  /** The driver's kind, with its `config`, for everything else. */
  readonly driver?: string
  readonly config?: unknown
}

/** What to change; absent fields stay. */
export type AgentPatch = Partial<Omit<AgentInit, 'name'>>

/** What an agent that dials in says of itself. */
export interface RegisterInit {
  readonly name: string
  readonly tags?: readonly string[]
  readonly audience?: AgentDefinition['audience']
  /** `description`, `version` and `capabilities`, as in the hello of an agent that is dialled; never trusted. */
  readonly offer: unknown
}

/** An agent of this node, as its owner sees it. */
export interface LocalAgent {
  /** `<PeerId>/<name>` */
  readonly id: string
  readonly definition: AgentDefinition
  readonly state: AgentState
  /** Why it is down. */
  readonly reason?: string
  /** Its current record; unset while it is not offered. */
  readonly record?: SignedRecord
}

export interface Agents {
  /** In order of their names; `query` narrows it. @throws {MeshError} INVALID_ARGUMENT */
  list(query?: Query): readonly LocalAgent[]
  /** By name, `@name` or id; undefined when this node has no such agent. */
  get(name: string): LocalAgent | undefined
  /**
   * Adds an agent, connects it and advertises it. Kept across restarts, functions excepted.
   *
   * @returns the agent, up
   * @throws {MeshError} ALREADY_EXISTS, INVALID_ARGUMENT, INVALID_SCHEMA, AGENT_UNAVAILABLE; nothing is kept then
   */
  add(init: AgentInit): Promise<LocalAgent>
  /**
   * Makes an agent of what has dialled in at an edge. The name stays that caller's: when it registers it again, the new
   * connection takes the place of the one before.
   *
   * @returns the agent, up
   * @throws {MeshError} FORBIDDEN when policy doesn't let the caller (`agent.register` on `agent:<name>`), ALREADY_EXISTS
   *   when the name is somebody else's, BUSY, INVALID_ARGUMENT, INVALID_SCHEMA
   */
  register(init: RegisterInit, visitor: Omit<Visitor, 'description'>, caller: Caller): Promise<LocalAgent>
  /** @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT, AGENT_UNAVAILABLE; the agent is as before then */
  update(name: string, patch: AgentPatch): Promise<LocalAgent>
  /** Stops it, withdraws its record and its `allow` rule. @throws {MeshError} NOT_FOUND */
  remove(name: string): Promise<void>
}

export interface AgentsComponents {
  /** This node's PeerId. */
  readonly self: string
  readonly registry: Registry
  readonly host: Host
  readonly dialledIn: Pick<DialledIn, 'describe' | 'offer'>
  readonly policy: Policy
}

/** What the owner does with the agents of this node. */
export function createAgents({ self, registry, host, dialledIn, policy }: AgentsComponents): Agents {
  const local = (definition: AgentDefinition): LocalAgent => {
    const { state, reason } = host.status(definition.name) ?? { state: 'starting' }
    const record = registry.record(definition.name)
    return {
      id: `${self}/${definition.name}`,
      definition,
      state,
      ...(reason === undefined ? {} : { reason }),
      ...(record === undefined ? {} : { record })
    }
  }

  const get = (name: string): LocalAgent | undefined => {
    const definition = registry.definition(shortName(name, self))
    return definition === undefined ? undefined : local(definition)
  }

  const existing = (name: string): LocalAgent => {
    const agent = get(name)
    if (agent !== undefined) return agent
    throw new MeshError('NOT_FOUND', `this node has no agent ${JSON.stringify(name.slice(0, 80))}`, {
      hint: 'see `pryx-mesh agents list`'
    })
  }

  return {
    get,
    list(query = {}) {
      const compiled = compileQuery(query)
      const isAsked = Object.keys(query).length > 0
      const all = registry.definitions().map(local)
      return isAsked ? all.filter(({ record }) => record && matchRecord(record.record, compiled).length > 0) : all
    },
    async add(init) {
      await host.add(toDefinition(init))
      try {
        const [refused] = registry.refused(init.name)
        // Of somebody else's agent the rest is still worth having; functions are the caller's own to mend.
        if (refused !== undefined && init.capabilities !== undefined) throw refused.error
        await writeRule(policy, init.name, init.allow)
      } catch (err) {
        await host.remove(init.name)
        throw err
      }
      return existing(init.name)
    },
    async register(init, visitor, caller) {
      await takeIn({ registry, host, dialledIn, policy }, init, visitor, caller)
      return existing(init.name)
    },
    async update(name, patch) {
      const { definition } = existing(name)
      await host.update(definition.name, toChange(patch, definition))
      await writeRule(policy, definition.name, patch.allow)
      return existing(name)
    },
    async remove(name) {
      const { definition } = existing(name)
      await host.remove(definition.name)
      await policy.remove([ruleId(definition.name)])
    }
  }
}

/** @throws {MeshError} see {@link Agents.register} */
async function takeIn(
  { registry, host, dialledIn, policy }: Omit<AgentsComponents, 'self'>,
  { name, offer, ...init }: RegisterInit,
  visiting: Omit<Visitor, 'description'>,
  caller: Caller
): Promise<void> {
  const { effect, reason } = policy.decide({ caller, action: 'agent.register', resource: `agent:${name}` })
  if (effect !== 'allow') throw new MeshError('FORBIDDEN', reason)
  const known = registry.definition(name)
  if (known !== undefined && !mayTake(known, caller))
    throw new MeshError('ALREADY_EXISTS', `there is an agent ${name} already, and it is not yours`)
  const takeBack = dialledIn.offer(name, { ...visiting, description: dialledIn.describe(offer) })
  const change = { ...shared(init), config: { by: caller.peer } }
  try {
    if (known !== undefined) await host.update(name, change)
    else await host.add({ name, driver: DIALLED_IN, tags: [], audience: 'public', ...change })
  } finally {
    takeBack()
  }
}

/** A name that has been registered is the one's who did that; the owner may take each. */
function mayTake({ driver, config }: AgentDefinition, caller: Caller): boolean {
  if (driver !== DIALLED_IN) return false
  const { by } = (config ?? {}) as { by?: string } // As the driver has parsed it.
  return by === undefined || by === caller.peer || caller.trust === 'owner'
}

/** The agent's name in `name`, `@name`, `<our PeerId>/name` or `mesh://<our PeerId>/name`. */
function shortName(text: string, self: string): string {
  const id = text.replace(/^mesh:\/\//, '')
  return id.startsWith(`${self}/`) ? id.slice(self.length + 1) : id.replace(/^@/, '')
}

const ruleId = (agent: string): string => `agent:${agent}:allow`

/** The rule behind `allow`. It goes with the agent, so that a later one of the same name starts closed. */
async function writeRule(policy: Policy, agent: string, allow: AgentInit['allow']): Promise<void> {
  const id = ruleId(agent)
  if (allow === undefined) return
  if (allow.length === 0) await policy.remove([id])
  else
    await policy.put([{ id, effect: 'allow', who: allow === 'any' ? '*' : allow, act: '*.call', res: `*:${agent}/*` }])
}

function toDefinition(init: AgentInit): AgentDefinition {
  return { name: init.name, tags: [], audience: 'public', ...source(init), ...shared(init) }
}

function toChange(patch: AgentPatch, { driver }: AgentDefinition): Partial<AgentDefinition> {
  const isSource =
    patch.driver !== undefined ||
    patch.config !== undefined ||
    patch.capabilities !== undefined ||
    patch.onMessage !== undefined
  return { ...(isSource ? source({ driver, ...patch }) : {}), ...shared(patch) }
}

/** What brings the agent up. @throws {MeshError} INVALID_ARGUMENT */
function source({
  driver,
  config,
  onMessage,
  capabilities = onMessage && [],
  ...init
}: AgentPatch): Pick<AgentDefinition, 'driver' | 'config'> {
  if (capabilities === undefined) {
    if (driver !== undefined) return { driver, config }
    throw new MeshError('INVALID_ARGUMENT', 'an agent needs capabilities, or a driver and its config', {
      hint: "give capabilities: [{ name, handler }], or driver: 'mcp-stdio' and config"
    })
  }
  const { description, version } = init
  return {
    driver: 'function',
    config: {
      capabilities,
      ...(onMessage === undefined ? {} : { onMessage }),
      ...(description === undefined ? {} : { description }),
      ...(version === undefined ? {} : { version })
    }
  }
}

function shared({
  description,
  tags,
  audience,
  availability
}: AgentPatch): Partial<Pick<AgentDefinition, 'description' | 'tags' | 'audience' | 'availability'>> {
  return {
    ...(description === undefined ? {} : { description }),
    ...(tags === undefined ? {} : { tags }),
    ...(audience === undefined ? {} : { audience }),
    ...(availability === undefined ? {} : { availability })
  }
}
