import { PATIENCE_MS } from './constants.ts'

/** Runs work, so much at a time, the rest in the order it came. */
export interface Lane {
  /** Never rejects on its own account; `work` is not started once `signal` has fired. */
  run(work: () => Promise<void>, signal: AbortSignal): Promise<void>
}

export function createLane(width: number): Lane {
  const waiting: (() => void)[] = []
  let running = 0

  return {
    async run(work, signal) {
      if (running >= width) await new Promise<void>((resolve) => waiting.push(resolve))
      else running++
      try {
        if (!signal.aborted) await work()
      } finally {
        // The place goes to the next in line without being free in between.
        const next = waiting.shift()
        if (next === undefined) running--
        else next()
      }
    }
  }
}

/** One candidate, to be looked at when its giver's turn comes. */
export interface Turn {
  /** Who named it: so much that one giver names waits behind itself only. */
  readonly giver: string
  readonly candidate: string
  /** @returns whether the candidate is what it was named for; undefined when there was nothing to be done */
  readonly work: () => Promise<boolean | undefined>
}

/**
 * A lane whose next work is chosen among those who gave it: of the givers who had the fewest turns. A giver has one place, for
 * the next one may be better, and all that there are once somebody it named has held. Who named more that failed waits while
 * others' candidates are looked at. Nobody waits for long, though, where a place is free.
 */
export interface FairLane {
  /** Never rejects on its own account; work is not started once `signal` has fired. */
  run(turn: Turn, signal: AbortSignal): Promise<void>
}

/** @param patienceMs after so long without news of any candidate a free place goes to whoever is next */
export function createFairLane(width: number, patienceMs = PATIENCE_MS): FairLane {
  return new GiversLane(width, patienceMs)
}

interface Giver {
  readonly waiting: (() => void)[]
  running: number
  turns: number
  /** Of those it named, so many were what they were named for, and so many weren't, whoever had the turn for them. */
  held: number
  failed: number
}

class GiversLane implements FairLane {
  readonly #width: number
  readonly #patienceMs: number
  readonly #givers = new Map<string, Giver>()
  /** Who named each candidate. */
  readonly #namers = new Map<string, Set<Giver>>()
  readonly #verdicts = new Map<string, boolean>()
  #patience: NodeJS.Timeout | undefined

  constructor(width: number, patienceMs: number) {
    this.#width = width
    this.#patienceMs = patienceMs
  }

  async run({ giver: name, candidate, work }: Turn, signal: AbortSignal): Promise<void> {
    const giver = this.#giver(name)
    this.#note(giver, candidate)
    if (this.#mayStart(giver)) start(giver)
    else await this.#wait(giver)
    let verdict: boolean | undefined
    try {
      if (!signal.aborted) verdict = await work()
    } finally {
      giver.running--
      if (verdict === undefined) giver.turns--
      else this.#judge(candidate, verdict)
      while (this.#startNext((each) => this.#mayStart(each))) continue
      this.#bePatient()
    }
  }

  #giver(name: string): Giver {
    const known = this.#givers.get(name)
    if (known !== undefined) return known
    const giver = { waiting: [], running: 0, turns: 0, held: 0, failed: 0 }
    this.#givers.set(name, giver)
    return giver
  }

  #wait(giver: Giver): Promise<void> {
    return new Promise((resolve) => {
      giver.waiting.push(resolve)
      this.#bePatient()
    })
  }

  /** One that was found out for another giver speaks for, or against, this one too. */
  #note(giver: Giver, candidate: string): void {
    const namers = this.#namers.get(candidate) ?? new Set()
    this.#namers.set(candidate, namers)
    if (namers.has(giver)) return
    namers.add(giver)
    const verdict = this.#verdicts.get(candidate)
    if (verdict !== undefined) count(giver, verdict)
  }

  #judge(candidate: string, verdict: boolean): void {
    this.#verdicts.set(candidate, verdict)
    clearTimeout(this.#patience)
    this.#patience = undefined
    for (const namer of this.#namers.get(candidate) ?? []) count(namer, verdict)
  }

  /** @returns whether there was anybody */
  #startNext(may: (giver: Giver) => boolean): boolean {
    const able = [...this.#givers.values()].filter((giver) => giver.waiting.length > 0 && may(giver))
    const [next] = able.toSorted((a, b) => Number(isDoubted(a)) - Number(isDoubted(b)) || a.turns - b.turns)
    const begin = next?.waiting.shift()
    if (next === undefined || begin === undefined) return false
    start(next)
    begin()
    return true
  }

  #bePatient(): void {
    if (this.#patience !== undefined) return
    const onPatienceOver = (): void => {
      this.#patience = undefined
      // Full, nobody waits for a place but for news
      if (this.#running < this.#width && this.#startNext(() => true)) this.#bePatient()
    }
    this.#patience = setTimeout(onPatienceOver, this.#patienceMs).unref()
  }

  #mayStart(giver: Giver): boolean {
    const places = giver.held > 0 ? this.#width : 1
    if (this.#running >= this.#width || giver.running >= places) return false
    return !isDoubted(giver) || [...this.#givers.values()].every((each) => each.running === 0 || isDoubted(each))
  }

  get #running(): number {
    return [...this.#givers.values()].reduce((sum, { running }) => sum + running, 0)
  }
}

function start(giver: Giver): void {
  giver.running++
  giver.turns++
}

function count(giver: Giver, verdict: boolean): void {
  if (verdict) giver.held++
  else giver.failed++
}

function isDoubted({ held, failed }: Giver): boolean {
  return failed > held
}
