import type { Discovery } from '../discovery/index.ts'
import { MeshError } from '../errors.ts'
import type { Network } from '../network/index.ts'
import type { Registry } from '../registry/index.ts'
import { agentId, agentName } from '../registry/messages.ts'
import type { Pins } from '../tools/index.ts'
import type { Trust } from '../trust/index.ts'
import type { AgentAddress } from './index.ts'

/** What a user may write for an agent: an id (also as `mesh://` URI), `@name`, or `@name@peer`. */
type Target = AgentAddress | { readonly agent: string; readonly alias?: string }

function parseTarget(text: string): Target {
  const id = text.replace(/^mesh:\/\//, '')
  if (agentId.safeParse(id).success) {
    const [peer = '', agent = ''] = id.split('/')
    return { peer, agent }
  }
  const [, agent = '', alias] = /^@([^@]+)(?:@(.+))?$/.exec(text) ?? []
  if (agentName.safeParse(agent).success) return alias === undefined ? { agent } : { agent, alias }
  throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(text.slice(0, 160))} names no agent`, {
    hint: 'write <PeerId>/<name>, @name or @name@peer'
  })
}

export interface TargetComponents {
  /** This node's PeerId. */
  readonly self: string
  /** This node's name. */
  readonly name: string
  readonly registry: Pick<Registry, 'definition' | 'record'>
  readonly network: Pick<Network, 'peers'>
  readonly discovery: Pick<Discovery, 'named'>
  /** Remembers what short names mean. */
  readonly pins: Pick<Pins, 'checkName'>
  /** Knows the names that the owner gave to peers. */
  readonly trust: Pick<Trust, 'named'>
}

/**
 * Finds the one agent that is meant; an id needs no looking.
 *
 * @throws {MeshError} INVALID_ARGUMENT, NOT_FOUND, AMBIGUOUS with the candidates as hint, DEFINITION_CHANGED for a short name that
 *   meant an agent of another key before
 */
export function resolveTarget(
  text: string,
  components: TargetComponents,
  signal: () => AbortSignal
): AgentAddress | Promise<AgentAddress> {
  const target = parseTarget(text)
  return 'peer' in target ? target : lookUp(text, target, components, signal())
}

async function lookUp(
  text: string,
  { agent, alias }: Exclude<Target, AgentAddress>,
  components: TargetComponents,
  signal: AbortSignal
): Promise<AgentAddress> {
  const { discovery, pins, registry, self, trust } = components
  const isOurs = alias === undefined && hasAgent(registry, agent)
  // A PeerId can't be claimed, nor can a name that the owner gave
  const exact = alias === undefined ? undefined : (readPeerId(alias) ?? trust.named(alias))
  if (exact !== undefined) return { peer: exact, agent }
  const peers = alias === undefined ? await offeredBy(agent, discovery, signal) : peersNamed(alias, components)
  const others = peers.filter((peer) => peer !== self || alias !== undefined)
  const found = one(text, isOurs ? [self, ...others] : others, agent)
  if (found.peer !== self) await pins.checkName(text.slice(0, MAX_TEXT), `${found.peer}/${found.agent}`)
  return found
}

/** Names of agents and of peers have 64 characters at most. */
const MAX_TEXT = 160

async function offeredBy(
  agent: string,
  discovery: TargetComponents['discovery'],
  signal: AbortSignal
): Promise<readonly string[]> {
  const records = await discovery.named(agent, { signal })
  return records.map(({ record }) => record.id.split('/')[0] ?? '')
}

function hasAgent(registry: TargetComponents['registry'], agent: string): boolean {
  return registry.definition(agent) !== undefined || registry.record(agent) !== undefined
}

function readPeerId(text: string): string | undefined {
  return agentId.safeParse(`${text}/a`).success ? text : undefined
}

/** By the name that a connected peer or this node gives itself. */
function peersNamed(alias: string, { self, name, network }: TargetComponents): string[] {
  const named = network.peers().filter((peer) => peer.name === alias)
  return [...(name === alias ? [self] : []), ...named.map(({ peer }) => peer)]
}

function one(text: string, peers: readonly string[], agent: string): AgentAddress {
  const [peer, ...rest] = new Set(peers)
  if (peer === undefined) {
    throw new MeshError('NOT_FOUND', `nobody in reach is known to have ${text.slice(0, 160)}`, {
      hint: 'look for it with: pryx-mesh find; a peer that is not connected yet: pryx-mesh connect MULTIADDR'
    })
  }
  if (rest.length === 0) return { peer, agent }
  const candidates = [peer, ...rest].slice(0, 8).map((each) => `${each}/${agent}`)
  throw new MeshError('AMBIGUOUS', `${text.slice(0, 160)} fits ${rest.length + 1} agents`, {
    hint: `use one of ${candidates.join(', ')}`
  })
}
