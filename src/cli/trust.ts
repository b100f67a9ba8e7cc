import type { TrustReport } from '../trust/index.ts'
import { print, printFields, json as toJson } from './output.ts'

export function trustRoute(peer: string): string {
  return `/v1/trust/${encodeURIComponent(peer)}`
}

/** Says where a peer stands after it was set. */
export function printStanding(report: TrustReport, json: boolean): void {
  if (json) print(toJson(report))
  else printFields(standingFields(report))
}

export function standingFields({
  peer,
  alias,
  level,
  setBy,
  since,
  reason
}: TrustReport): [string, string | undefined][] {
  return [
    ['peer', peer],
    ['alias', alias],
    ['level', level],
    ['set by', setBy],
    ['since', since],
    ['why', reason]
  ]
}
