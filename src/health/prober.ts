import { MAX_PROBES, MIN_PROBE_GAP_MS, TICK_MS } from './constants.ts'

/** Something to be looked at again and again. */
export interface Watched {
  /** When it is next to be looked at. */
  dueAt: number
  /** It is being probed. */
  isBusy: boolean
  /** Looks at it, and sets `dueAt`. Never rejects. @returns a promise when there is something to wait for */
  look(now: number): Promise<void> | undefined
}

export interface ProberInit {
  /** Milliseconds of a clock that doesn't go back. */
  readonly now: () => number
}

/** One timer for all that is watched, and a bound on what is under way. */
export class Prober {
  readonly #now: () => number
  readonly #watched = new Set<Watched>()
  #running = 0
  #timer: NodeJS.Timeout | undefined
  #timerAt = Number.POSITIVE_INFINITY
  #isStopped = true

  constructor({ now }: ProberInit) {
    this.#now = now
  }

  /** What is still under way then says nothing. */
  get isStopped(): boolean {
    return this.#isStopped
  }

  start(): void {
    this.#isStopped = false
    this.#turn()
  }

  stop(): void {
    this.#isStopped = true
    clearTimeout(this.#timer)
  }

  add(watched: Watched): void {
    this.#watched.add(watched)
    this.#arm(watched.dueAt)
  }

  delete(watched: Watched): void {
    this.#watched.delete(watched)
  }

  /** Has it looked at by then, if not sooner. */
  hasten(watched: Watched, by: number): void {
    watched.dueAt = Math.min(watched.dueAt, by)
    if (!watched.isBusy && this.#watched.has(watched)) this.#arm(watched.dueAt)
  }

  #turn(): void {
    if (this.#isStopped) return
    clearTimeout(this.#timer)
    this.#timerAt = Number.POSITIVE_INFINITY
    const now = this.#now()
    const idle = [...this.#watched].filter(({ isBusy }) => !isBusy)
    // Those that wait longest go first, so that some that never answer don't keep others from being asked
    const due = idle.filter(({ dueAt }) => dueAt <= now).sort((a, b) => a.dueAt - b.dueAt)
    for (const watched of due) {
      if (this.#running >= MAX_PROBES) return // The next one to end comes back here
      this.#look(watched, now)
    }
    this.#arm(
      idle.reduce((next, { dueAt, isBusy }) => (isBusy ? next : Math.min(next, dueAt)), Number.POSITIVE_INFINITY)
    )
  }

  #look(watched: Watched, now: number): void {
    const looking = watched.look(now)
    if (looking === undefined) return
    watched.isBusy = true
    this.#running += 1
    const done = (): void => {
      watched.isBusy = false
      if (this.#running-- === MAX_PROBES) this.#turn()
      else this.#arm(watched.dueAt)
    }
    void looking.then(done, done) // It never rejects; were it to, the others go on
  }

  #arm(at: number): void {
    if (this.#isStopped || at >= this.#timerAt || at === Number.POSITIVE_INFINITY) return
    this.#timerAt = at
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => this.#turn(), Math.max(at - this.#now(), TICK_MS)).unref()
  }
}

/** Full jitter, but not nothing. */
export function jittered(intervalMs: number, random: () => number): number {
  return Math.max(MIN_PROBE_GAP_MS, random() * intervalMs)
}
