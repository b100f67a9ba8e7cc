export function mailboxRoute(what: 'learned' | 'served' | 'used', peer: string): string {
  return `/v1/mailboxes/${what}/${encodeURIComponent(peer)}`
}

const UNITS = { B: 1, KiB: 1_024, MiB: 1_024 ** 2 } as const

/** Bytes of a text such as 512KiB; undefined when it is none. */
export function readSize(text: string): number | undefined {
  const [, value, unit = 'B'] = /^(\d{1,12})(KiB|MiB)?$/.exec(text) ?? []
  return value === undefined ? undefined : Number(value) * UNITS[unit as keyof typeof UNITS] // the pattern has no others
}

/** A number of bytes for people. */
export function sizeText(bytes: number): string {
  if (bytes < UNITS.KiB) return `${bytes} B`
  const unit = bytes < UNITS.MiB ? 'KiB' : 'MiB'
  return `${(bytes / UNITS[unit]).toFixed(1).replace(/\.0$/, '')} ${unit}`
}
