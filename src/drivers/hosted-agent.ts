import { setTimeout as sleep } from 'node:timers/promises'
import ms from 'ms'
import type { Caller } from '../auth/index.ts'
import { MeshError, throwIfAborted } from '../errors.ts'
import { MAX_NAME_LENGTH } from '../registry/constants.ts'
import type { AgentDefinition, AgentDescription } from '../registry/index.ts'
import type { SignedRecord } from '../registry/messages.ts'
import { abortable } from './abortable.ts'
import { DESCRIBE_DELAY_MS, DESCRIBE_TIMEOUT_MS, STABLE_AFTER_MS } from './constants.ts'
import type { HostComponents, HostInit } from './host.ts'
import type { AgentConnection, AgentState, AgentStatus, Driver } from './index.ts'

/** What a hosted agent needs of its host. */
export interface Surroundings extends Required<Omit<HostComponents, 'drivers'>>, Required<HostInit> {
  /** Runs a task when nothing else is under way for that name. */
  readonly inTurn: <T>(name: string, task: () => Promise<T>) => Promise<T>
}

/** One connection and what became of it. */
interface Live {
  readonly connection: AgentConnection
  description: AgentDescription
  readonly fate: Fate
}

interface Fate {
  lost?: Trouble
  changed: boolean
}

/** Why an agent is down; the detail is for its owner only. */
interface Trouble {
  readonly reason: string
  readonly detail?: string | undefined
}

/** The life of one agent: connecting, up, lost, reconnecting, ended. */
export class HostedAgent {
  definition: AgentDefinition
  readonly #driver: Driver | undefined
  readonly #host: Surroundings
  readonly #life = new AbortController()
  #state: AgentState = 'starting'
  #trouble: Trouble | undefined
  #retryAt: number | undefined
  #attempt = 0
  /** Not up yet, and somebody waits for that. */
  #isNew = false
  #upSince = 0
  #live: Live | undefined
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
      await this.#close(live)
      await this.#host.registry.remove(this.definition.name)
      throw err
    }
  }

  /** For a stored one: never fails, but goes on trying. */
  async start(): Promise<void> {
    try {
      if (this.#driver === undefined)
        throw new MeshError('INVALID_ARGUMENT', `there is no driver ${this.definition.driver}`)
      this.definition = { ...this.definition, config: this.#driver.parse(this.definition.config) }
    } catch (err) {
      this.#giveUp({ reason: 'its configuration is not usable', detail: textOf(err) })
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
    const live = await this.#connect()
    try {
      await this.#host.registry.define(this.#stored(this.definition))
      const record = await this.#goLive(live)
      const wasUp = old.#state === 'up'
      await old.stop()
      if (!wasUp) this.#host.emit('agent:up', { agent: this.#id })
      return record
    } catch (err) {
      await this.#close(live)
      await old.#restore()
      throw err
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

  /** Ends what goes on in the background, so that nobody has to wait for it; a first connect is left alone. */
  abandon(): void {
    if (this.#isNew) return
    this.#life.abort(new MeshError('CANCELLED', `the agent ${this.definition.name} was ended`))
  }

  /** Ends the agent and keeps what is known of it. */
  async stop(): Promise<void> {
    this.#isNew = false
    this.abandon()
    const live = this.#leave({ reason: 'it was stopped' })
    if (live !== undefined) await this.#close(live)
  }

  async #connect(): Promise<Live> {
    const driver = this.#driver
    if (driver === undefined) throw new MeshError('INVALID_ARGUMENT', `there is no driver ${this.definition.driver}`)
    const { connectTimeoutMs } = this.#host
    const { name, config } = this.definition
    const fate: Fate = { changed: false }
    const connecting = new AbortController()
    const late = new MeshError('AGENT_UNAVAILABLE', `the agent ${name} did not come up within ${ms(connectTimeoutMs)}`)
    const timer = setTimeout(() => connecting.abort(late), connectTimeoutMs)
    const giveUp = () => connecting.abort(this.#life.signal.reason)
    this.#life.signal.addEventListener('abort', giveUp, { once: true })
    const { signal } = connecting
    try {
      if (this.#life.signal.aborted) giveUp()
      const connection = await this.#await(
        driver.connect(config, {
          agent: name,
          signal,
          onChange: () => this.#changed(fate),
          onLost: (reason, detail) => this.#lost(fate, { reason, detail })
        }),
        signal
      )
      const live = { connection, fate, description: { version: '0.0.0', capabilities: [] } }
      try {
        return { ...live, description: await abortable(connection.describe({ signal }), signal) }
      } catch (err) {
        await this.#close(live)
        throw err
      }
    } catch (err) {
      throw err instanceof MeshError
        ? err
        : new MeshError('AGENT_UNAVAILABLE', `the agent ${name} did not come up: ${textOf(err)}`, { cause: err })
    } finally {
      clearTimeout(timer)
      this.#life.signal.removeEventListener('abort', giveUp)
    }
  }

  /** A driver that heeds no signal may still connect later: then nobody wants it any more. */
  #await(connecting: Promise<AgentConnection>, signal: AbortSignal): Promise<AgentConnection> {
    return abortable(connecting, signal).catch((err: unknown) => {
      connecting.then((connection) => connection.close()).catch(() => {})
      throw err
    })
  }

  async #bringUp(): Promise<void> {
    const live = await this.#connect()
    try {
      await this.#host.inTurn(this.definition.name, () => this.#goLive(live))
    } catch (err) {
      await this.#close(live)
      throw err
    }
    this.#host.emit('agent:up', { agent: this.#id })
  }

  /** In its turn: publishes, and from then on serves. */
  async #goLive(live: Live): Promise<SignedRecord> {
    const record = await this.#sign(live)
    this.#isNew = false
    this.#live = live
    this.#state = 'up'
    this.#trouble = undefined
    this.#retryAt = undefined
    this.#upSince = this.#host.clock()
    this.#health = setInterval(() => this.#check(live), this.#host.healthIntervalMs).unref()
    this.#announce()
    if (live.fate.changed) this.#changed(live.fate)
    return record
  }

  async #sign(live: Live): Promise<SignedRecord> {
    const { registry } = this.#host
    throwIfAborted(this.#life.signal)
    const record = await registry.publish(this.definition.name, live.description)
    if (live.fate.lost === undefined && !this.#life.signal.aborted) return record
    registry.withdraw(this.definition.name)
    const { reason = 'it was stopped', detail } = live.fate.lost ?? {}
    throw new MeshError(
      'AGENT_UNAVAILABLE',
      `the agent ${this.definition.name} is gone again: ${[reason, detail].join(': ')}`
    )
  }

  /** In its turn: signs what a running agent offers now. */
  async #publish(live: Live): Promise<SignedRecord> {
    const before = this.#host.registry.record(this.definition.name)?.record.seq
    const record = await this.#sign(live)
    if (record.record.seq !== before) this.#announce()
    return record
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

  async #describeAgain(live: Live): Promise<void> {
    if (this.#live !== live) return
    const signal = AbortSignal.any([this.#life.signal, AbortSignal.timeout(DESCRIBE_TIMEOUT_MS)])
    live.fate.changed = false
    live.description = await abortable(live.connection.describe({ signal }), signal)
    await this.#publish(live)
  }

  #check(live: Live): void {
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
    this.#retry(trouble, live && this.#close(live))
  }

  #leave(trouble: Trouble): Live | undefined {
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
    const { reason, detail } = this.#trouble ?? { reason: 'it was stopped' }
    this.#host.emit('agent:down', {
      agent: this.#id,
      reason: detail === undefined ? reason : `${reason}: ${detail}`,
      ...(retryInMs === undefined ? {} : { retryInMs })
    })
  }

  #explain(isOwner: boolean): string {
    const { reason, detail } = this.#trouble ?? { reason: 'it was stopped' }
    const why = isOwner && detail !== undefined ? `${reason}: ${detail}` : reason
    if (this.#retryAt === undefined) return why
    return `${why}; next attempt in ${ms(Math.max(0, this.#retryAt - this.#host.clock()))}`
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

  // Never fails (see the interface), but a driver may be anybody's.
  async #close(live: Live): Promise<void> {
    try {
      await live.connection.close()
    } catch (err) {
      this.#host.log(`${this.definition.name}: closing failed: ${textOf(err)}`)
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

function textOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err)
}
