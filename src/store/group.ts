import type { SqlValue, Statement } from './index.ts'

/** A group of transactions to commit together: each text once, for most of what is cloned would be SQL. */
export interface Group {
  readonly texts: readonly string[]
  /** Of each transaction by turns the place of a text, and the parameters to it. */
  readonly transactions: readonly (readonly (number | readonly SqlValue[])[])[]
}

const NO_PARAMS: readonly SqlValue[] = []

export function pack(transactions: readonly (readonly Statement[])[]): Group {
  const places = new Map<string, number>()
  const placeOf = (sql: string): number => {
    const known = places.get(sql)
    if (known !== undefined) return known
    places.set(sql, places.size)
    return places.size - 1
  }
  const packed = transactions.map((statements) => {
    const steps: (number | readonly SqlValue[])[] = []
    for (const { sql, params = NO_PARAMS } of statements) steps.push(placeOf(sql), params)
    return steps
  })
  return { texts: [...places.keys()], transactions: packed }
}

/** The transactions of a group. */
export function unpack({ texts, transactions }: Group): Statement[][] {
  return transactions.map((steps) => {
    const statements: Statement[] = []
    for (let at = 0; at < steps.length; at += 2) {
      // By turns, as they were packed
      statements.push({ sql: texts[steps[at] as number] ?? '', params: steps[at + 1] as SqlValue[] })
    }
    return statements
  })
}
