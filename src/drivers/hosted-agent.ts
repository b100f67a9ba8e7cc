import { setTimeout as sleep } from 'node:timers/promises'
import ms from 'ms'
import type { Caller } from '../auth/index.ts'
import { abortable, MeshError, throwIfAborted } from '../errors.ts'
import { MAX_NAME_LENGTH } from '../registry/constants.ts'
import type { AgentDefinition } from '../registry/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { DESCRIBE_DELAY_MS, DESCRIBE_TIMEOUT_MS, STABLE_AFTER_MS } from './constants.ts'
import type { HostComponents, HostInit } from './host.ts'
import type { AgentConnection, AgentState, AgentStatus, Driver } from './index.ts'
import { close, connectLive, type Live, textOf } from './live.ts'

/** What a hosted agent needs of its host. */
export interface Surroundings extends Required<Omit<HostComponents, 'drivers'>>, Required<HostInit> {
  /** Runs a task when nothing else is under way for that name. */
  readonly inTurn: <T>(name: string, task: () => Promise<T>) => Promise<T>
}

/** What has become of a connection, also before it is used. */
interface Fate {
  lost?: Trouble
  changed: boolean
}

interface Connected extends Live {
  readonly fate: Fate
}

/** Why an agent is down; the detail is for its owner only. */
interface Trouble {
  readonly reason: string
  readonly detail?: string | undefined
}

const STOPPED: Trouble = { reason: 'it was stopped' }

/** The life of one agent: connecting, up, lost, reconnecting, ended. */
export class HostedAgent {
  definition: AgentDefinition
  readonly #driver: Driver | undefined
  readonly #host: Surroundings
  readonly #life = new AbortController()
  #state: AgentState = 'starting'
  #trouble = STOPPED
  #retryAt: number | undefined
  #attempt = 0
  /** Not up yet, and somebody waits for that. */
  #isNew = false
  /** What is to take its place, while that comes up. */
  #successor: HostedAgent | undefined
  #upSince = 0
  #live: Connected | undefined
  #health: NodeJS.Timeout | undefined
  #refresh: NodeJS.Timeout | undefined

  constructor(definition: AgentDefinition, driver: Driver | undefined, host: Surroundings) {
    this.definition = definition
    this.#driver = driver
    this.#host = host
  }

  /** Undefined unless it is up. */
  get connection(): AgentConnection | undefined {
    return this.#live?.connection
  }

  status(): AgentStatus {
    if (this.#state !== 'down') return { state: this.#state }
    return { state: 'down', reason: this.#explain(true) }
  }

  /** Its connection is no good any more, whatever its driver thinks of it. */
  lose(reason: string, detail?: string): void {
    if (this.#live !== undefined) this.#lost(this.#live.fate, { reason, detail })
  }

  unavailable(caller: Caller): MeshError {
    const why = this.#state === 'starting' ? 'is starting' : `is down: ${this.#explain(caller.trust === 'owner')}`
    return new MeshError('AGENT_UNAVAILABLE', `the agent ${this.definition.name} ${why}`)
  }

  /** For a new agent: all or nothing. */
  async add(): Promise<SignedRecord> {
    this.#isNew = true
    const live = await this.#connect()
    try {
      await this.#host.registry.define(this.#stored(this.definition))
      return await this.#goLive(live)
    } catch (err) {
      await close(live.connection)
      await this.#host.registry.remove(this.definition.name)
      throw err
    }
  }

  /** For a stored one: never fails, but goes on trying. */
  async start(): Promise<void> {
    try {
      if (this.#driver === undefined) throw noDriver(this.definition)
      this.definition = { ...this.definition, config: this.#driver.parse(this.definition.config) }
    } catch (err) {
      this.#giveUp({ reason: 'its configuration is not usable', detail: textOf(err) })
      return
    }
    if (this.#driver.isPassive === true) {
      this.#giveUp({ reason: 'it has not connected' })
      return
    }
    try {
      await this.#bringUp()
    } catch (err) {
      this.#retry({ reason: 'it could not be brought up', detail: textOf(err) })
    }
  }

  /** Takes the place of `old` once it is up itself. */
  async replace(old: HostedAgent): Promise<SignedRecord> {
    this.#isNew = true
    old.#successor = this
    const wasUp = old.#state === 'up'
    const record = await this.#displace(old)
    await old.stop()
    if (!wasUp) this.#host.emit('agent:up', { agent: this.#id })
    return record
  }

  async #displace(old: HostedAgent): Promise<SignedRecord> {
    try {
      const live = await this.#connect()
      try {
        await this.#host.registry.define(this.#stored(this.definition))
        return await this.#goLive(live)
      } catch (err) {
        await close(live.connection)
        await old.#restore()
        throw err
      }
    } finally {
      old.#successor = undefined
    }
  }

  /** Changes what is said of it, without touching the agent itself. */
  async redefine(definition: AgentDefinition): Promise<SignedRecord | undefined> {
    const { registry } = this.#host
    await registry.define(this.#stored(definition))
    const live = this.#live
    try {
      const record = live && (await this.#publish(live))
      this.definition = definition
      return record
    } catch (err) {
      await this.#restore()
      throw err
    }
  }

  async remove(): Promise<void> {
    const { registry } = this.#host
    await this.stop()
    this.#takeBack()
    await registry.remove(this.definition.name)
  }

  /** Ends the attempts to bring it up again, so that nobody has to wait for them. */
  abandon(): void {
    if (!this.#isNew && this.#state !== 'up') this.#end()
  }

  /** Ends the agent and keeps what is known of it. */
  async stop(): Promise<void> {
    this.#end()
    const live = this.#leave(STOPPED)
    await Promise.all([live && close(live.connection), this.#successor?.stop()])
  }

  #end(): void {
    this.#life.abort(new MeshError('CANCELLED', `the agent ${this.definition.name} was ended`))
  }

  async #connect(): Promise<Connected> {
    const driver = this.#driver
    if (driver === undefined) throw noDriver(this.definition)
    const { name, config } = this.definition
    const fate: Fate = { changed: false }
    try {
      const live = await connectLive({
        driver,
        name,
        config,
        signal: this.#life.signal,
        timeoutMs: this.#host.connectTimeoutMs,
        onChange: () => this.#changed(fate),
        onLost: (reason, detail) => this.#lost(fate, { reason, detail })
      })
      return { ...live, fate }
    } catch (err) {
      throw fate.lost === undefined ? err : this.#gone(fate.lost)
    }
  }

  async #bringUp(): Promise<void> {
    const live = await this.#connect()
    try {
      await this.#host.inTurn(this.definition.name, () => this.#goLive(live))
    } catch (err) {
      await close(live.connection)
      throw err
    }
    this.#host.emit('agent:up', { agent: this.#id })
  }

  /** In its turn: publishes, and from then on serves. */
  async #goLive(live: Connected): Promise<SignedRecord> {
    throwIfAborted(this.#life.signal)
    const record = await this.#host.registry.publish(this.definition.name, live.description)
    this.#ensureThere(live.fate)
    this.#isNew = false
    this.#live = live
    this.#state = 'up'
    this.#retryAt = undefined
    this.#upSince = this.#host.clock()
    const { healthIntervalMs } = this.#host
    if (healthIntervalMs > 0) this.#health = setInterval(() => this.#check(live), healthIntervalMs).unref()
    this.#announce()
    if (live.fate.changed) this.#changed(live.fate)
    return record
  }

  /** In its turn: signs what a running agent offers now. */
  async #publish(live: Connected): Promise<SignedRecord> {
    const { registry } = this.#host
    const before = registry.record(this.definition.name)?.record.seq
    const record = await registry.publish(this.definition.name, live.description)
    this.#ensureThere(live.fate)
    if (record.record.seq !== before) this.#announce()
    return record
  }

  /** An agent may be lost while its record is being signed. */
  #ensureThere({ lost }: Fate): void {
    if (lost === undefined && !this.#life.signal.aborted) return
    this.#host.registry.withdraw(this.definition.name)
    throw this.#gone(lost ?? STOPPED)
  }

  #gone(trouble: Trouble): MeshError {
    return new MeshError('AGENT_UNAVAILABLE', `the agent ${this.definition.name} is gone again: ${told(trouble)}`)
  }

  #changed(fate: Fate): void {
    fate.changed = true
    const live = this.#live
    if (live?.fate !== fate || this.#refresh !== undefined) return
    this.#refresh = setTimeout(() => {
      this.#refresh = undefined
      const { inTurn, log } = this.#host
      inTurn(this.definition.name, () => this.#describeAgain(live)).catch((err: unknown) => {
        if (this.#live === live) log(`${this.definition.name}: what it offers now was not published: ${textOf(err)}`)
      })
    }, DESCRIBE_DELAY_MS)
  }

  async #describeAgain(live: Connected): Promise<void> {
    if (this.#live !== live) return
    const signal = AbortSignal.any([this.#life.signal, AbortSignal.timeout(DESCRIBE_TIMEOUT_MS)])
    live.fate.changed = false
    live.description = await abortable(live.connection.describe({ signal }), signal)
    await this.#publish(live)
  }

  #check(live: Connected): void {
    const signal = AbortSignal.any([this.#life.signal, AbortSignal.timeout(this.#host.healthTimeoutMs)])
    abortable(live.connection.health({ signal }), signal).catch((err: unknown) => {
      if (!this.#life.signal.aborted) this.#lost(live.fate, { reason: 'it does not answer', detail: textOf(err) })
    })
  }

  #lost(fate: Fate, trouble: Trouble): void {
    if (fate.lost !== undefined) return
    fate.lost = trouble
    if (this.#live?.fate !== fate) return
    const live = this.#leave(trouble)
    if (this.#host.clock() - this.#upSince >= STABLE_AFTER_MS) this.#attempt = 0
    this.#takeBack()
    // The next one may need what this one still holds.
    this.#retry(trouble, live && close(live.connection))
  }

  #leave(trouble: Trouble): Connected | undefined {
    const live = this.#live
    this.#live = undefined
    this.#state = 'down'
    this.#trouble = trouble
    this.#retryAt = undefined
    clearInterval(this.#health)
    clearTimeout(this.#refresh)
    this.#refresh = undefined
    return live
  }

  #takeBack(): void {
    this.#tell('retract')
    this.#host.registry.withdraw(this.definition.name)
  }

  #retry(trouble: Trouble, after?: Promise<void>): void {
    if (this.#life.signal.aborted) return
    if (this.#driver?.isPassive === true) {
      this.#giveUp(trouble)
      return
    }
    const { random, reconnectMinMs, reconnectMaxMs, clock } = this.#host
    const delayMs = Math.round(random() * Math.min(reconnectMaxMs, reconnectMinMs * 2 ** this.#attempt))
    this.#attempt += 1
    this.#leave(trouble)
    this.#retryAt = clock() + delayMs
    this.#emitDown(delayMs)
    this.#reconnect(delayMs, after).catch((err: unknown) => {
      this.#retry({ reason: 'it could not be brought up', detail: textOf(err) })
    })
  }

  async #reconnect(delayMs: number, after: Promise<void> | undefined): Promise<void> {
    await after
    await sleep(delayMs, undefined, { signal: this.#life.signal, ref: false })
    await this.#bringUp()
  }

  #giveUp(trouble: Trouble): void {
    this.#leave(trouble)
    this.#emitDown()
  }

  #emitDown(retryInMs?: number): void {
    this.#host.emit('agent:down', {
      agent: this.#id,
      reason: told(this.#trouble),
      ...(retryInMs === undefined ? {} : { retryInMs })
    })
  }

  #explain(isOwner: boolean): string {
    const why = isOwner ? told(this.#trouble) : this.#trouble.reason
    if (this.#retryAt === undefined) return why
    const waitMs = this.#retryAt - this.#host.clock()
    return waitMs > 0 ? `${why}; next attempt in ${ms(waitMs)}` : `${why}; being started again`
  }

  /** After a change that came to nothing. */
  async #restore(): Promise<void> {
    try {
      await this.#host.registry.define(this.#stored(this.definition))
      if (this.#live !== undefined) await this.#publish(this.#live)
    } catch (err) {
      this.#host.log(`${this.definition.name}: its old definition could not be restored: ${textOf(err)}`)
    }
  }

  #announce(): void {
    const { name } = this.definition
    for (const refused of this.#host.registry.refused(name)) {
      const capability = `${refused.kind} ${JSON.stringify(refused.name.slice(0, MAX_NAME_LENGTH))}`
      this.#host.log(`${name}: its ${capability} is not offered: ${refused.error.message}`)
    }
    this.#tell('announce')
  }

  // The mesh hears of it when it can; the record is what counts.
  #tell(what: 'announce' | 'retract'): void {
    const { name } = this.definition
    this.#host[what](name).catch((err: unknown) => this.#host.log(`${name}: ${what} failed: ${textOf(err)}`))
  }

  // Functions can't be stored.
  #stored(definition: AgentDefinition): AgentDefinition {
    return definition.driver === 'function' ? { ...definition, config: null } : definition
  }

  get #id(): string {
    return `${this.#host.peer}/${this.definition.name}`
  }
}

function told({ reason, detail }: Trouble): string {
  return detail === undefined ? reason : `${reason}: ${detail}`
}

function noDriver({ driver }: AgentDefinition): MeshError {
  return new MeshError('INVALID_ARGUMENT', `there is no driver ${driver}`)
}
