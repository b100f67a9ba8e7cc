import { randomBytes } from 'node:crypto'
import { type ErrorCode, MeshError } from '../errors.ts'
import { MAX_AGENTS_PER_PEER, MAX_PEERS, PEER_USED_MS, STATUS } from './constants.ts'
import { isFailure } from './failures.ts'
import type { HealthComponents, HealthReport, HealthState } from './index.ts'
import { pingAnswer } from './messages.ts'
import { RemoteAgent } from './remote-agent.ts'
import { type Finding, Subject, type Surroundings } from './subject.ts'

/** The peers that matter to this node: those connected, and those whose agents it calls. */
export interface Peers {
  get(peer: string): Subject | undefined
  /** Of an agent that was called. */
  agent(peer: string, agent: string): HealthReport | undefined
  all(): Iterable<Subject>
  agents(): Iterable<HealthReport>
  stateOf(peer: string, agent: string): HealthState
  joined(peer: string): void
  left(peer: string): void
  forget(peer: string): void
  /** @param begun when, on the monotonic clock */
  called(peer: string, agent: string, begun: number, failure: unknown): void
}

export interface PeersComponents extends Pick<HealthComponents, 'rpc' | 'network' | 'emit'> {
  readonly surroundings: Surroundings
  readonly onChange: (report: HealthReport) => void
}

interface Entry {
  readonly subject: Subject
  /** The latest used come last. */
  readonly agents: Map<string, RemoteAgent>
  usedAt: number
}

/** With these nobody is there; every other failure is an answer. */
const SILENT: ReadonlySet<ErrorCode> = new Set(['TIMEOUT', 'UNREACHABLE', 'CONNECTION_LOST'])

export function createPeers(components: PeersComponents): Peers {
  return new WatchedPeers(components)
}

class WatchedPeers implements Peers {
  readonly #components: PeersComponents
  readonly #entries = new Map<string, Entry>()

  constructor(components: PeersComponents) {
    this.#components = components
  }

  get(peer: string): Subject | undefined {
    return this.#entries.get(peer)?.subject
  }

  *all(): Iterable<Subject> {
    for (const { subject } of this.#entries.values()) yield subject
  }

  agent(peer: string, agent: string): HealthReport | undefined {
    const entry = this.#entries.get(peer)
    return entry?.agents.get(agent)?.report(entry.subject.state, this.#components.surroundings.now())
  }

  *agents(): Iterable<HealthReport> {
    const now = this.#components.surroundings.now()
    for (const { subject, agents } of this.#entries.values())
      for (const agent of agents.values()) yield agent.report(subject.state, now)
  }

  stateOf(peer: string, agent: string): HealthState {
    const entry = this.#entries.get(peer)
    if (entry === undefined) return 'unknown'
    const { state } = entry.subject
    return entry.agents.get(agent)?.state(state, this.#components.surroundings.now()) ?? state
  }

  joined(peer: string): void {
    const entry = this.#entry(peer, false)
    if (entry === undefined) return
    const now = this.#components.surroundings.now()
    // It has proven its key just now
    entry.subject.damper.vouch(now)
    entry.subject.settle(now)
  }

  left(peer: string): void {
    const entry = this.#entries.get(peer)
    if (entry === undefined) return
    if (this.#isUsed(entry)) entry.subject.suspect(this.#components.surroundings.now())
    else this.forget(peer)
  }

  forget(peer: string): void {
    const entry = this.#entries.get(peer)
    if (entry === undefined) return
    this.#entries.delete(peer)
    this.#components.surroundings.prober.delete(entry.subject)
  }

  called(peer: string, agent: string, begun: number, failure: unknown): void {
    const entry = this.#entry(peer, true)
    if (entry === undefined) return
    const now = this.#components.surroundings.now()
    entry.usedAt = now
    const code = failure === undefined ? undefined : codeOf(failure)
    const { subject } = entry
    // Whose deadline was short isn't known: a probe tells
    if (code === 'TIMEOUT') subject.suspect(now)
    else if (code !== 'CANCELLED') subject.note(now, -1, code === undefined || !SILENT.has(code))
    if (code !== undefined && !isFailure(code)) return
    const remote = this.#agent(entry, peer, agent)
    if (code === 'AGENT_UNAVAILABLE') remote.missed(now)
    if (code === undefined) remote.answered()
    remote.quality.note(now, now - begun, code === undefined)
  }

  #agent(entry: Entry, peer: string, agent: string): RemoteAgent {
    const known = entry.agents.get(agent)
    if (known !== undefined) return known
    const [oldest] = entry.agents.keys()
    if (oldest !== undefined && entry.agents.size >= MAX_AGENTS_PER_PEER) entry.agents.delete(oldest)
    const remote = new RemoteAgent(`${peer}/${agent}`, this.#components.surroundings.clock)
    entry.agents.set(agent, remote)
    return remote
  }

  #isUsed({ usedAt }: Entry): boolean {
    return this.#components.surroundings.now() - usedAt < PEER_USED_MS
  }

  /** @param isUsed one that is called takes the place of one that never was */
  #entry(peer: string, isUsed: boolean): Entry | undefined {
    const known = this.#entries.get(peer)
    if (known !== undefined) return known
    if (this.#entries.size >= MAX_PEERS && !this.#makeRoom(isUsed)) return undefined
    const { network, surroundings } = this.#components
    const subject: Subject = new Subject({
      kind: 'peer',
      id: peer,
      probe: (signal) => this.#ping(peer, signal),
      find: found,
      onChange: (_, before) => this.#changed(subject, before),
      isAskable: () => network.isConnected(peer) || this.#isUsed(entry),
      onIdle: () => this.forget(peer),
      surroundings
    })
    const entry: Entry = { subject, agents: new Map(), usedAt: Number.NEGATIVE_INFINITY }
    this.#entries.set(peer, entry)
    surroundings.prober.add(subject)
    return entry
  }

  #makeRoom(isUsed: boolean): boolean {
    const { network } = this.#components
    let least: Entry | undefined
    for (const entry of this.#entries.values()) {
      const isSpare = !network.isConnected(entry.subject.id) || (isUsed && !this.#isUsed(entry))
      if (isSpare && (least === undefined || entry.usedAt < least.usedAt)) least = entry
    }
    if (least !== undefined) this.forget(least.subject.id)
    return least !== undefined
  }

  async #ping(peer: string, signal: AbortSignal): Promise<void> {
    const nonce = randomBytes(12).toString('base64url')
    try {
      const options = { signal, timeoutMs: STATUS.timeoutMs }
      const answer = pingAnswer.parse(await this.#components.rpc.request(peer, STATUS, { op: 'ping', nonce }, options))
      if (answer.nonce !== nonce) throw new MeshError('INVALID_MESSAGE', 'it answers what was not asked')
    } catch (err) {
      const code = codeOf(err)
      // What doesn't speak this protocol, or refuses, is there all the same
      if (SILENT.has(code) || code === 'CANCELLED' || code === 'INVALID_MESSAGE') throw err
    }
  }

  #changed(subject: Subject, before: HealthState): void {
    const { emit, onChange } = this.#components
    const { id: peer, state, reason = '' } = subject.report()
    // The first connection has its own event
    if (state === 'up' && before !== 'unknown') emit('peer:up', { peer })
    if (state === 'degraded') emit('peer:degraded', { peer, reason })
    if (state === 'down') emit('peer:down', { peer, reason })
    onChange(subject.report())
  }
}

function found({ damper, quality, failure }: Subject, now: number): Finding {
  if (damper.isUp === undefined) return { state: 'unknown' }
  if (!damper.isUp) {
    const heldMs = damper.heldMs(now)
    const reason = failure ?? 'it went silent, and has to answer for a while'
    return { state: 'down', reason, ...(failure === undefined && heldMs > 0 && { untilMs: heldMs }) }
  }
  const trouble = quality.judge(now)
  return trouble === undefined ? { state: 'up' } : { state: 'degraded', reason: trouble }
}

/** Of an error that isn't ours, as of a broken answer. */
function codeOf(err: unknown): ErrorCode {
  return err instanceof MeshError ? err.code : 'INVALID_MESSAGE'
}
