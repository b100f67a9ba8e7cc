const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }
const UNIT_BYTES: Readonly<Record<string, number>> = { B: 1, KiB: 1024, MiB: 1024 ** 2, GiB: 1024 ** 3 }

export const DURATION = /^\d{1,8}(?:s|m|h|d)$/

/** Milliseconds of a text such as `10m`; NaN when it is none. */
export function readDuration(text: string): number {
  return Number(text.slice(0, -1)) * (UNIT_MS[text.slice(-1)] ?? Number.NaN)
}

export interface Rate {
  readonly max: number
  readonly windowMs: number
}

/** Reads `100/1h`, `50MiB/1d`, `5.00/1d`; members are NaN where it is none. Cost is kept in millionths, to add up exactly. */
export function readRate(text: string, unit: 'count' | 'bytes' | 'decimal'): Rate {
  const [amount = '', window = ''] = text.split('/')
  const [, digits = '', suffix = 'B'] = /^([\d.]+)(B|KiB|MiB|GiB)?$/.exec(amount) ?? []
  const number = digits === '' ? Number.NaN : Number(digits)
  const max =
    unit === 'bytes' ? number * (UNIT_BYTES[suffix] ?? Number.NaN) : unit === 'decimal' ? millionths(number) : number
  return { max, windowMs: readDuration(window) }
}

/** Rounded up, so that many small costs are never nothing. */
export function millionths(cost: number): number {
  return Math.ceil(Number((cost * 1e6).toFixed(3)))
}
