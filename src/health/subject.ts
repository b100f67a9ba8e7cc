import { MeshError } from '../errors.ts'
import {
  HASTE_MS,
  MAX_PROBE_INTERVAL_MS,
  MAX_REASON_LENGTH,
  MIN_PROBE_INTERVAL_MS,
  PROBE_TIMEOUT_MS
} from './constants.ts'
import { Damper } from './damper.ts'
import type { HealthReport, HealthState } from './index.ts'
import { jittered, type Prober, type Watched } from './prober.ts'
import { Quality } from './quality.ts'

/** A state and why. */
export interface Finding {
  readonly state: HealthState
  readonly reason?: string | undefined
  /** After this it will be another one. */
  readonly untilMs?: number
}

export interface SubjectInit {
  readonly kind: HealthReport['kind']
  readonly id: string
  /** Asks it; rejects when it doesn't answer well. */
  readonly probe: (signal: AbortSignal) => Promise<void>
  /** What is known of it now. */
  readonly find: (subject: Subject, now: number) => Finding
  /** Told after its state has changed. */
  readonly onChange: (subject: Subject, before: HealthState) => void
  /** Told when probes have brought it down. */
  readonly onFall?: (subject: Subject) => void
  /** Whether there is anything to ask just now. */
  readonly isAskable: () => boolean
  /** There isn't. */
  readonly onIdle?: () => void
  readonly surroundings: Surroundings
}

export interface Surroundings {
  readonly prober: Prober
  readonly clock: () => number
  readonly now: () => number
  readonly random: () => number
}

/** One agent or peer that is watched. */
export class Subject implements Watched {
  readonly kind: HealthReport['kind']
  readonly id: string
  readonly damper = new Damper()
  readonly quality = new Quality()
  dueAt: number
  isBusy = false
  /** What the last probe failed with. */
  failure: string | undefined
  /** When a call last spoke for it, on the monotonic clock. */
  lastGoodAt = Number.NEGATIVE_INFINITY
  readonly #init: SubjectInit
  #finding: Finding = { state: 'unknown' }
  #since: number
  #lastProbe: HealthReport['lastProbe']
  #intervalMs = MIN_PROBE_INTERVAL_MS
  #isSuspect = false

  constructor(init: SubjectInit) {
    const { clock, now, random } = init.surroundings
    this.#init = init
    this.kind = init.kind
    this.id = init.id
    this.#since = clock()
    this.dueAt = now() + jittered(MIN_PROBE_INTERVAL_MS, random)
  }

  get state(): HealthState {
    return this.#finding.state
  }

  report(): Omit<HealthReport, 'availability'> {
    const { state, reason } = this.#finding
    return {
      kind: this.kind,
      id: this.id,
      state,
      since: new Date(this.#since).toISOString(),
      ...(reason === undefined ? {} : { reason: reason.slice(0, MAX_REASON_LENGTH) }),
      ...(this.#lastProbe && { lastProbe: this.#lastProbe }),
      ...this.quality.summary(this.#init.surroundings.now())
    }
  }

  /** Takes note of a call. @param ms below 0 when the time says nothing */
  note(now: number, ms: number, isOk: boolean): void {
    const isSuspect = this.quality.note(now, ms, isOk)
    if (isSuspect) this.suspect(now)
    else this.lastGoodAt = now
  }

  /** Has it looked at soon. */
  suspect(now: number): void {
    if (this.#isSuspect) return
    this.#isSuspect = true
    this.#init.surroundings.prober.hasten(this, now + HASTE_MS)
  }

  look(now: number): Promise<void> | undefined {
    const { isAskable, onIdle } = this.#init
    const wasSuspect = this.#isSuspect
    this.#isSuspect = false
    if (!isAskable()) {
      this.settle(now)
      onIdle?.()
      return undefined
    }
    // A call that went well lately says more than a probe
    const isFresh = !wasSuspect && now - this.lastGoodAt < this.#intervalMs
    if (!isFresh || this.damper.isUp === false) return this.#probe()
    this.damper.note(true, now)
    // Not looked at any less for that: after the last call there may be silence
    this.settle(now, this.#intervalMs)
    return undefined
  }

  /** Works out its state anew, tells of a change, and says when to look again. @param longestMs until then */
  settle(now: number, longestMs = MAX_PROBE_INTERVAL_MS): void {
    const { find, onChange, surroundings } = this.#init
    const before = this.#finding.state
    this.#finding = find(this, now)
    // The last probe spoke against the present state
    const isInDoubt = this.damper.isUp === false ? this.failure === undefined : this.failure !== undefined
    const isStill = before === this.#finding.state && !isInDoubt
    this.#intervalMs = isStill ? Math.min(this.#intervalMs * 2, longestMs) : MIN_PROBE_INTERVAL_MS
    this.dueAt =
      now + Math.min(jittered(this.#intervalMs, surroundings.random), this.#finding.untilMs ?? Number.POSITIVE_INFINITY)
    surroundings.prober.hasten(this, this.dueAt)
    if (before === this.#finding.state) return
    this.#since = surroundings.clock()
    onChange(this, before)
  }

  async #probe(): Promise<void> {
    const { probe, onFall, surroundings } = this.#init
    const begun = surroundings.now()
    const { isUp: wasUp } = this.damper
    const failure = await withDeadline(probe)
    if (surroundings.prober.isStopped) return
    const ended = surroundings.now()
    const ok = failure === undefined
    this.failure = failure
    this.#lastProbe = { at: new Date(surroundings.clock()).toISOString(), ms: Math.round(ended - begun), ok }
    if (this.kind === 'peer' && ok) this.quality.time(ended, ended - begun)
    this.damper.note(ok, ended)
    if (wasUp !== false && this.damper.isUp === false) onFall?.(this)
    this.settle(ended)
  }
}

/** @returns what went wrong, if anything did */
async function withDeadline(probe: (signal: AbortSignal) => Promise<void>): Promise<string | undefined> {
  const deadline = new AbortController()
  const late = new MeshError('TIMEOUT', 'it did not answer in time')
  const { promise, reject } = Promise.withResolvers<never>()
  const timer = setTimeout(() => {
    deadline.abort(late)
    reject(late)
  }, PROBE_TIMEOUT_MS).unref()
  try {
    await Promise.race([probe(deadline.signal), promise])
    return undefined
  } catch (err) {
    return err instanceof Error ? err.message : String(err)
  } finally {
    clearTimeout(timer)
  }
}
