import { Option } from 'commander'
import type { PermissionRequest } from '../../index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import { queryString, type Verb } from '../verb.ts'

export const listApprovals: Verb = {
  usage: 'list',
  summary: 'list what waits for your answer; with --all what has been answered too',
  examples: ['approvals list', 'approvals list --all --peer bob --json'],
  options: (command) =>
    command
      .addOption(
        new Option('--state <state>', 'in this state only').choices([
          'pending',
          'allowed',
          'denied',
          'expired',
          'cancelled'
        ] satisfies PermissionRequest['state'][])
      )
      .option('--all', 'in any state')
      .option('--peer <peer>', 'of this peer only: a PeerId or alias'),
  async run({ client, json }, { state, all, peer }) {
    const query = queryString({ state: all === true ? undefined : (state ?? 'pending'), peer })
    const requests = await client.ask<readonly PermissionRequest[]>('GET', `/v1/approvals${query}`)
    if (json) print(toJson(requests))
    else if (requests.length === 0) note(all === true ? 'nothing was asked' : 'nothing waits for your answer')
    else {
      printTable(['ID', 'STATE', 'WHO', 'TRUST', 'WHAT', 'TIMES', 'DEADLINE'], requests.map(row))
      note(`all of one: ${programName()} approvals show ID`)
    }
  }
}

function row({ id, state, peer, alias, trust, resource, times, deadline }: PermissionRequest): string[] {
  return [id, state, alias === undefined ? peer : `${alias} (${peer})`, trust, resource, String(times), deadline]
}
