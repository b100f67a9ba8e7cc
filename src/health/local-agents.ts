import type { MeshEvents } from '../events.ts'
import {
  type AgentDefinition,
  type Availability,
  type AvailabilityWindow,
  compileAvailability
} from '../registry/index.ts'
import { PROBES_JUDGED } from './constants.ts'
import type { HealthComponents, HealthReport, HealthState } from './index.ts'
import { type Finding, Subject, type Surroundings } from './subject.ts'

/** The agents of this node. */
export interface LocalAgents {
  /** Undefined when there is no such agent. */
  get(name: string): Subject | undefined
  report(subject: Subject): HealthReport
  all(): Iterable<Subject>
  forget(name: string): void
  asleepUntil(name: string): number | undefined
  mayAnnounce(name: string): boolean
  /** Its driver has lost it, or failed again to bring it up. */
  lost(detail: MeshEvents['agent:down']): void
  /** Its driver has brought it up. */
  connected(name: string): void
}

export interface LocalAgentsComponents
  extends Pick<HealthComponents, 'self' | 'registry' | 'host' | 'emit' | 'announce'> {
  readonly surroundings: Surroundings
  readonly onChange: (report: HealthReport) => void
}

/** An agent, with what its driver did. */
interface Entry {
  readonly subject: Subject
  /** Probes brought it down, so they have to bring it up again: that its driver can connect was no proof before either. */
  mustProve: boolean
  /** It was said that it is up. */
  isTold: boolean
  hours: Hours
  /** What its driver was last configured with. */
  definition: AgentDefinition
}

/** The hours of a definition, compiled. */
interface Hours {
  readonly windows: readonly AvailabilityWindow[] | undefined
  readonly compiled: Availability | undefined
  /** Next opening, as worked out last. */
  opensAt: number
}

/** Whatever the hours are, they are looked at again. */
const DAY_MS = 86_400_000

export function createLocalAgents(components: LocalAgentsComponents): LocalAgents {
  return new WatchedAgents(components)
}

class WatchedAgents implements LocalAgents {
  readonly #components: LocalAgentsComponents
  readonly #entries = new Map<string, Entry>()

  constructor(components: LocalAgentsComponents) {
    this.#components = components
  }

  get(name: string): Subject | undefined {
    return this.#entry(name)?.subject
  }

  *all(): Iterable<Subject> {
    for (const { name } of this.#components.registry.definitions()) {
      const entry = this.#entry(name)
      if (entry !== undefined) yield entry.subject
    }
  }

  report(subject: Subject): HealthReport {
    const name = this.#nameOf(subject)
    // It may have come up since it was last looked at
    if (subject.state === 'unknown') subject.settle(this.#components.surroundings.now())
    const opensAt = this.asleepUntil(name)
    const { windows = [] } = this.#hours(name) ?? {}
    const availability = windows.length > 0 && {
      windows,
      isOpen: opensAt === undefined,
      ...(opensAt === undefined ? {} : { opensAt: new Date(opensAt).toISOString() })
    }
    return { ...subject.report(), ...(availability && { availability }) }
  }

  forget(name: string): void {
    const entry = this.#entries.get(name)
    if (entry === undefined) return
    this.#entries.delete(name)
    this.#components.surroundings.prober.delete(entry.subject)
  }

  asleepUntil(name: string): number | undefined {
    const hours = this.#hours(name)
    if (hours?.compiled === undefined) return undefined
    const now = this.#components.surroundings.clock()
    if (hours.compiled.isOpen(now)) return undefined
    if (hours.opensAt <= now) hours.opensAt = hours.compiled.opensAt(now) ?? now + DAY_MS
    return hours.opensAt
  }

  mayAnnounce(name: string): boolean {
    const entry = this.#entry(name)
    if (entry === undefined || entry.subject.damper.isUp !== false) return true
    return !entry.mustProve && entry.subject.damper.heldMs(this.#components.surroundings.now()) === 0
  }

  lost(detail: MeshEvents['agent:down']): void {
    const { emit, surroundings } = this.#components
    const name = detail.agent.slice(this.#components.self.length + 1)
    const entry = this.#entry(name)
    const isAsleep = this.asleepUntil(name) !== undefined
    if (!isAsleep) emit('agent:down', detail)
    if (entry === undefined) return
    const now = surroundings.now()
    entry.isTold = false
    // Who isn't expected to be there doesn't flap by going
    if (!isAsleep) entry.subject.damper.fall(now)
    entry.subject.settle(now)
  }

  connected(name: string): void {
    const entry = this.#entry(name)
    if (entry === undefined) return
    const now = this.#components.surroundings.now()
    entry.subject.failure = undefined
    if (!entry.mustProve) entry.subject.damper.vouch(now)
    entry.subject.settle(now)
    if (entry.mustProve) this.#components.surroundings.prober.hasten(entry.subject, now)
    const { state } = entry.subject
    if (state === 'up' || state === 'degraded') this.#tellUp(entry)
  }

  #entry(name: string): Entry | undefined {
    const { registry, self, host, surroundings } = this.#components
    const definition = registry.definition(name)
    const known = this.#entries.get(name)
    if (known !== undefined && definition !== undefined) pardon(known, definition)
    if (known !== undefined || definition === undefined) return known
    const subject: Subject = new Subject({
      kind: 'agent',
      id: `${self}/${name}`,
      probe: (signal) => host.probe(name, { signal }),
      find: (_, now) => this.#find(name, entry, now),
      onChange: (_, before) => this.#changed(name, entry, before),
      onFall: ({ failure }) => {
        entry.mustProve = true
        host.lose(name, 'it does not answer', failure)
      },
      isAskable: () => host.status(name)?.state === 'up' && this.asleepUntil(name) === undefined,
      surroundings
    })
    const entry: Entry = { subject, mustProve: false, isTold: false, hours: hoursOf(undefined), definition }
    this.#entries.set(name, entry)
    surroundings.prober.add(subject)
    subject.settle(surroundings.now())
    return entry
  }

  #find(name: string, { subject, mustProve }: Entry, now: number): Finding {
    const { host, surroundings } = this.#components
    const opensAt = this.asleepUntil(name)
    if (opensAt !== undefined)
      return {
        state: 'sleeping',
        reason: `it wakes at ${new Date(opensAt).toISOString()}`,
        untilMs: opensAt - surroundings.clock()
      }
    const status = host.status(name)
    if (status?.state === 'down') return { state: 'down', reason: status.reason }
    const wasDown = subject.damper.isUp === false
    if (status?.state !== 'up') return { state: wasDown ? 'down' : 'unknown', reason: 'it is being started' }
    const heldMs = wasDown ? subject.damper.heldMs(now) : 0
    if (heldMs > 0)
      return { state: 'down', reason: 'it went down again and again, and has to stay up for a while', untilMs: heldMs }
    if (wasDown && mustProve) return { state: 'down', reason: `it has to answer ${PROBES_JUDGED} times in a row first` }
    const trouble = subject.quality.judge(now)
    return trouble === undefined ? { state: 'up' } : { state: 'degraded', reason: trouble }
  }

  #changed(name: string, entry: Entry, before: HealthState): void {
    const { emit, announce } = this.#components
    const { id: agent, state, reason = '' } = entry.subject.report()
    const isThere = state === 'up' || state === 'degraded'
    const wasThere = before === 'up' || before === 'degraded'
    if (isThere) entry.mustProve = false
    else entry.isTold = false
    if (state === 'up' && before === 'degraded') emit('agent:up', { agent })
    if (isThere && !wasThere) {
      // A new agent has its own event
      if (before !== 'unknown') this.#tellUp(entry)
      announce(name).catch(() => {}) // The mesh hears of it when it can; gossip promises nothing
    }
    if (state === 'degraded') emit('agent:degraded', { agent, reason })
    const opensAt = this.asleepUntil(name)
    if (opensAt !== undefined && state === 'sleeping')
      emit('agent:sleeping', { agent, opensAt: new Date(opensAt).toISOString() })
    if (state === 'down' && before === 'sleeping') emit('agent:down', { agent, reason })
    this.#components.onChange(this.report(entry.subject))
  }

  #tellUp(entry: Entry): void {
    if (entry.isTold) return
    entry.isTold = true
    this.#components.emit('agent:up', { agent: entry.subject.id })
  }

  /** Compiled anew when the definition says something else. */
  #hours(name: string): Hours | undefined {
    const entry = this.#entries.get(name)
    const windows = this.#components.registry.definition(name)?.availability
    if (entry === undefined) return windows && hoursOf(windows)
    if (entry.hours.windows !== windows) entry.hours = hoursOf(windows)
    return entry.hours
  }

  #nameOf({ id }: Subject): string {
    return id.slice(this.#components.self.length + 1)
  }
}

/** An agent that its owner has configured anew has not fallen yet. */
function pardon(entry: Entry, definition: AgentDefinition): void {
  if (entry.definition === definition) return
  const { driver, config } = entry.definition
  entry.definition = definition
  if (driver === definition.driver && config === definition.config) return
  entry.mustProve = false
  entry.subject.damper.forgive()
}

function hoursOf(windows: readonly AvailabilityWindow[] | undefined): Hours {
  const isKept = windows !== undefined && windows.length > 0
  return { windows, compiled: isKept ? compileAvailability(windows) : undefined, opensAt: Number.NEGATIVE_INFINITY }
}
