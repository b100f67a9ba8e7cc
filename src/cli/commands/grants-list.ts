import { Option } from 'commander'
import type { Grant } from '../../grants/index.ts'
import { callsOf } from '../grant.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import { queryString, type Verb } from '../verb.ts'

export const listGrants: Verb = {
  usage: 'list',
  summary: 'list the grants that are in force: issued here, held by this node, presented by callers',
  examples: ['grants list', 'grants list --role issued --all --json'],
  options: (command) =>
    command
      .addOption(new Option('--role <role>', 'only these').choices(['issued', 'held', 'presented']))
      .option('--all', 'those that have ended too'),
  async run({ client, json }, { role, all }) {
    const query = queryString({ role, all: all === true ? 'true' : undefined })
    const grants = await client.ask<readonly Grant[]>('GET', `/v1/grants${query}`)
    if (json) {
      print(toJson(grants))
      return
    }
    if (grants.length === 0) {
      const more = all === true ? '' : ' in force; --all shows those that have ended'
      note(`no grants${more}; ${programName()} grants issue --help tells how to give one`)
      return
    }
    printTable(
      ['ID', 'ROLE', 'STATE', 'ACT', 'RES', 'CALLS', 'EXPIRES', 'HOLDER', 'OWNER'],
      grants.map((grant) => {
        const { id, role: as, state, act, res, expiresAt, holder, owner } = grant
        const expires = expiresAt === undefined ? '-' : new Date(expiresAt).toISOString()
        return [id, as, state, act, res, callsOf(grant), expires, holder, owner]
      })
    )
  }
}
