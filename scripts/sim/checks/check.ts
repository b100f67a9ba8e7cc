/** One number that was measured, and what it may be. */
export interface Measure {
  readonly what: string
  readonly value: number
  readonly atMost?: number
  readonly atLeast?: number
  /** Of the table. */
  readonly digits?: number
}

/** One promise of how finding behaves, and how it is put to the proof. */
export interface Check<W> {
  /** As it is known by; short. */
  readonly name: string
  /** What must hold, in a sentence. */
  readonly bound: string
  /** Measures in a world, which it leaves as it has found it, unless it says otherwise. */
  run(world: W): Promise<readonly Measure[]>
}

export interface CheckResult {
  readonly name: string
  readonly bound: string
  readonly nodes: number
  readonly measures: readonly Measure[]
  readonly ok: boolean
  readonly seconds: number
}

export async function runCheck<W>(check: Check<W>, world: W, nodes: number): Promise<CheckResult> {
  const from = performance.now()
  const measures = await check.run(world)
  const seconds = (performance.now() - from) / 1000
  return { name: check.name, bound: check.bound, nodes, measures, ok: measures.every(isMet), seconds }
}

/** What wasn't measured doesn't hold. */
export function isMet({ value, atMost = Infinity, atLeast = -Infinity }: Measure): boolean {
  return value <= atMost && value >= atLeast
}

/** Of so many, how many are so: in %. */
export function share<T>(items: readonly T[], isSo: (item: T) => boolean): number {
  return items.length === 0 ? Number.NaN : (100 * items.filter(isSo).length) / items.length
}
