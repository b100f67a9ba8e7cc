import type { MessageInfo } from '../../index.ts'
import { note, print, printTable, json as toJson } from '../output.ts'
import { count, queryString, type Verb } from '../verb.ts'

export const outbox: Verb = {
  usage: 'outbox',
  summary: 'list messages of this node that have not ended yet, and what holds them up',
  examples: ['outbox', 'outbox --all --peer laptop --json'],
  options: (command) =>
    command
      .option('--all', 'also those that have ended')
      .option('--agent <name>', 'sent by this local agent')
      .option('--peer <peer>', 'only to this node: PeerId or alias')
      .option('--limit <count>', 'at most so many (default: 100)', count)
      .option('--after <id>', 'go on after this one'),
  async run({ client, json }, { all, ...filter }) {
    const query = queryString({ ...filter, ...(all === true ? { state: 'all' } : {}) })
    const found = await client.ask<MessageInfo[]>('GET', `/v1/outbox${query}`)
    if (json) return print(toJson(found))
    if (found.length === 0) return note('nothing is on its way')
    printTable(
      ['ID', 'TO', 'KIND', 'STATE', 'SENT', 'EXPIRES', 'WHY'],
      found.map(({ id, to, kind, state, sentAt, expiresAt, code, reason }) => [
        id,
        to,
        kind,
        state,
        sentAt,
        expiresAt,
        code === undefined ? '' : `${code}: ${reason ?? ''}`
      ])
    )
  }
}
