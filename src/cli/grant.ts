import { type Command, InvalidArgumentError } from 'commander'
import type { Grant } from '../grants/index.ts'
import { note, print, printFields, programName, json as toJson } from './output.ts'
import { count, longDuration } from './verb.ts'

export function grantRoute(id: string): string {
  return `/v1/grants/${encodeURIComponent(id)}`
}

/** Adds what both a new grant and one that is passed on can be limited by. */
export function addLimitOptions(command: Command): Command {
  return command
    .option('--for <duration>', 'how long it is good, such as 24h or 90d', longDuration)
    .option('--calls <n>', 'how many calls it allows in all', count)
    .option('--depth <n>', 'how often it may be passed on, 0 to 4 (default: 0)', depth)
}

function depth(text: string): number {
  if (!/^[0-4]$/.test(text)) throw new InvalidArgumentError('Give a whole number from 0 to 4.')
  return Number(text)
}

/** Prints the chain alone on stdout, as JSON, so that it can be handed over; what it allows goes to stderr. */
export function printChain(grant: Grant, json: boolean): void {
  if (json) {
    print(toJson(grant))
    return
  }
  print(toJson(grant.chain))
  note(`grant ${grant.id} for ${grant.holder}: ${grant.act} on ${grant.res}, ${endOf(grant)}, ${callsOf(grant)}`)
  note(`only that peer can use it; there: ${programName()} grants keep FILE`)
}

export function printGrant(grant: Grant, json: boolean): void {
  if (json) {
    print(toJson(grant))
    return
  }
  const { id, role, state, act, res, issuer, holder, owner, depth: left = 0 } = grant
  printFields([
    ['grant', id],
    ['state', state],
    ['role', role],
    ['allows', `${act} on ${res}`],
    ['for', grant.input === undefined ? undefined : `the input with the digest ${grant.input}`],
    ['while', grant.digest === undefined ? undefined : `the capability has the digest ${grant.digest}`],
    ['owner', owner],
    ['issuer', issuer],
    ['holder', holder],
    ['issued', new Date(grant.issuedAt).toISOString()],
    ['ends', endOf(grant)],
    ['calls', callsOf(grant)],
    ['last used', grant.lastUsedAt],
    ['passed on', left === 0 ? 'may not be' : `up to ${left} more times`]
  ])
}

function endOf({ expiresAt }: Grant): string {
  return expiresAt === undefined ? 'until revoked, or unused for 30 days' : `until ${new Date(expiresAt).toISOString()}`
}

/** `3 of 100`; only the owner knows how many there were. */
export function callsOf({ used, uses }: Grant): string {
  const limit = uses === undefined ? 'any number of calls' : `${uses} calls`
  return used === undefined ? limit : `${used} of ${limit}`
}
