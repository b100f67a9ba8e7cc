import { MeshError } from '../errors.ts'
import type { Emit } from '../events.ts'
import type { RequestOptions } from '../rpc/index.ts'
import { STATUS } from './constants.ts'
import { createStatusEndpoint } from './endpoint.ts'
import { isFailure } from './failures.ts'
import type { CallNotes, Health, HealthComponents, HealthReport, HealthState } from './index.ts'
import { createLocalAgents, type LocalAgents } from './local-agents.ts'
import { infoAnswer, type StatusInfo } from './messages.ts'
import { createPeers, type Peers } from './peers.ts'
import { Prober } from './prober.ts'

export function createHealth(components: HealthComponents): Health {
  return new NodeHealth(components)
}

class NodeHealth implements Health {
  readonly calls: CallNotes
  readonly relay: Emit
  readonly asleepUntil: Health['asleepUntil']
  readonly mayAnnounce: Health['mayAnnounce']
  readonly #components: HealthComponents
  readonly #now: () => number
  readonly #prober: Prober
  readonly #agents: LocalAgents
  readonly #peers: Peers
  readonly #listeners = new Set<(report: HealthReport) => void>()
  readonly #undo: (() => void)[] = []
  #startedAt: number
  #running = 0

  constructor(components: HealthComponents) {
    const { clock = Date.now, now = () => performance.now(), random = Math.random, emit } = components
    this.#components = components
    this.#now = now
    this.#startedAt = now()
    this.#prober = new Prober({ now })
    const surroundings = { prober: this.#prober, clock, now, random }
    const onChange = (report: HealthReport): void => {
      for (const listener of this.#listeners) listener(report)
    }
    this.#agents = createLocalAgents({ ...components, surroundings, onChange })
    this.#peers = createPeers({ ...components, surroundings, onChange })
    this.calls = this.#notes()
    this.asleepUntil = (agent) => this.#agents.asleepUntil(agent)
    this.mayAnnounce = (agent) => this.#agents.mayAnnounce(agent)
    this.relay = (event, detail) => {
      if (event === 'agent:down')
        this.#agents.lost(detail as Parameters<LocalAgents['lost']>[0]) // By its name
      else if (event === 'agent:up') this.#agents.connected(this.#nameOf((detail as { agent: string }).agent))
      else emit(event, detail)
    }
  }

  async start(): Promise<void> {
    const { rpc, policy, on, network, version } = this.#components
    this.#startedAt = this.#now()
    const info = (): StatusInfo => ({
      version,
      uptimeMs: Math.floor(this.#now() - this.#startedAt),
      running: this.#running
    })
    await rpc.handle(createStatusEndpoint({ policy, info, now: this.#now }))
    this.#undo.push(
      on('peer:join', ({ peer }) => this.#peers.joined(peer)),
      on('peer:leave', ({ peer }) => this.#peers.left(peer)),
      on('agent:added', ({ agent }) => void this.#agents.get(this.#nameOf(agent))),
      // Its hours may be others now
      on('agent:updated', ({ agent }) => this.#agents.get(this.#nameOf(agent))?.settle(this.#now())),
      on('agent:removed', ({ agent }) => this.#agents.forget(this.#nameOf(agent))),
      on('trust:changed', ({ peer, to }) => {
        if (to === 'blocked') this.#peers.forget(peer)
      })
    )
    for (const { peer } of network.peers()) this.#peers.joined(peer)
    for (const _ of this.#agents.all()); // From here on they are watched
    this.#prober.start()
  }

  stop(): void {
    for (const undo of this.#undo.splice(0)) undo()
    this.#prober.stop()
  }

  list(): readonly HealthReport[] {
    return [
      ...Iterator.from(this.#agents.all()).map((subject) => this.#agents.report(subject)),
      ...Iterator.from(this.#peers.all()).map((subject) => subject.report()),
      ...this.#peers.agents()
    ]
  }

  of(id: string): HealthReport | undefined {
    const [peer = '', agent] = id.replace(/^mesh:\/\//, '').split('/')
    if (agent !== undefined && peer !== this.#components.self) return this.#peers.agent(peer, agent)
    const local = this.#agents.get(agent ?? id.replace(/^@/, ''))
    return local === undefined ? this.#peers.get(id)?.report() : this.#agents.report(local)
  }

  stateOf(agentId: string): HealthState {
    const slash = agentId.indexOf('/')
    const [peer, agent] = [agentId.slice(0, slash), agentId.slice(slash + 1)]
    if (peer !== this.#components.self) return this.#peers.stateOf(peer, agent)
    return this.#agents.get(agent)?.state ?? 'unknown'
  }

  onChange(listener: (report: HealthReport) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async info(peer: string, options: RequestOptions = {}): Promise<StatusInfo> {
    const { success, data } = infoAnswer.safeParse(
      await this.#components.rpc.request(peer, STATUS, { op: 'info' }, options)
    )
    if (success) return data
    throw new MeshError('INVALID_MESSAGE', `${peer} gives no status that makes sense`)
  }

  #notes(): CallNotes {
    const begin = this.#now
    const answered = (agent: string, entered: number, failure?: unknown): void => {
      if (failure !== undefined && !isFailure(failure instanceof MeshError ? failure.code : 'INTERNAL')) return
      const now = begin()
      this.#agents.get(agent)?.note(now, now - entered, failure === undefined)
    }
    return {
      enter: () => {
        this.#running += 1
        return begin()
      },
      served: (agent, entered, failure) => {
        this.#running -= 1
        answered(agent, entered, failure)
      },
      opened: () => {
        this.#running -= 1
      },
      answered,
      begin,
      called: (peer, agent, begun, failure) => this.#peers.called(peer, agent, begun, failure)
    }
  }

  #nameOf(agentId: string): string {
    return agentId.slice(this.#components.self.length + 1)
  }
}
