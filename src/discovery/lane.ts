import { ALONE_MS } from './constants.ts'

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
 * A lane whose next work is chosen among those who gave it: who has named somebody false comes last, and of the others who
 * had the fewest turns. A giver has one place, for the next may be a better one; all that there are once it has named one
 * that holds.
 */
export interface FairLane {
  /** Never rejects on its own account; work is not started once `signal` has fired. */
  run(turn: Turn, signal: AbortSignal): Promise<void>
}

/** @param aloneMs who has been the only giver for so long gets more than one place, but leaves one free */
export function createFairLane(width: number, aloneMs = ALONE_MS): FairLane {
  return new GiversLane(width, aloneMs)
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
  readonly #aloneMs: number
  readonly #givers = new Map<string, Giver>()
  /** Who named each candidate. */
  readonly #namers = new Map<string, Set<Giver>>()
  readonly #verdicts = new Map<string, boolean>()
  #isAlone = false

  constructor(width: number, aloneMs: number) {
    this.#width = width
    this.#aloneMs = aloneMs
  }

  async run({ giver: name, candidate, work }: Turn, signal: AbortSignal): Promise<void> {
    const giver = this.#giver(name)
    this.#note(giver, candidate)
    if (this.#mayStart(giver)) start(giver)
    else await new Promise<void>((resolve) => giver.waiting.push(resolve))
    let verdict: boolean | undefined
    try {
      if (!signal.aborted) verdict = await work()
    } finally {
      giver.running--
      if (verdict === undefined) giver.turns--
      else this.#judge(candidate, verdict)
      this.#startNext()
    }
  }

  #giver(name: string): Giver {
    const known = this.#givers.get(name)
    if (known !== undefined) return known
    const giver = { waiting: [], running: 0, turns: 0, held: 0, failed: 0 }
    this.#givers.set(name, giver)
    if (this.#givers.size === 1) {
      const onAlone = (): void => {
        this.#isAlone = this.#givers.size === 1
        this.#startNext()
      }
      setTimeout(onAlone, this.#aloneMs).unref()
    }
    return giver
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
    for (const namer of this.#namers.get(candidate) ?? []) count(namer, verdict)
  }

  #startNext(): void {
    for (;;) {
      const able = [...this.#givers.values()].filter((giver) => giver.waiting.length > 0 && this.#mayStart(giver))
      const [next] = able.toSorted((a, b) => Number(isDoubted(a)) - Number(isDoubted(b)) || a.turns - b.turns)
      const begin = next?.waiting.shift()
      if (next === undefined || begin === undefined) return
      start(next)
      begin()
    }
  }

  #mayStart(giver: Giver): boolean {
    const running = [...this.#givers.values()].filter((each) => each.running > 0)
    const taken = running.reduce((sum, each) => sum + each.running, 0)
    if (taken >= this.#width || giver.running >= this.#places(giver)) return false
    // While one of somebody better is looked at, all the doubted have one place
    return !isDoubted(giver) || running.every(isDoubted) || !running.some(isDoubted)
  }

  #places(giver: Giver): number {
    if (giver.held > 0) return this.#width
    return this.#isAlone && this.#givers.size === 1 ? Math.max(1, this.#width - 1) : 1
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
