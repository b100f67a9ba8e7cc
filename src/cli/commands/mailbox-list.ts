import type { Mailboxes } from '../../index.ts'
import { sizeText } from '../mailbox.ts'
import { note, print, printTable, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const listMailboxes: Verb = {
  usage: 'list',
  summary: 'list the mailboxes of this node, and those that it keeps for others',
  examples: ['mailbox list', 'mailbox list --json'],
  async run({ client, json }) {
    const found = await client.ask<ReturnType<Mailboxes['list']>>('GET', '/v1/mailboxes')
    if (json) return print(toJson(found))
    if (found.used.length + found.served.length === 0) return note('no mailboxes')
    printTable(
      ['ROLE', 'PEER', 'KEPT', 'AT MOST', 'SINCE'],
      [
        ...found.used.map(({ peer, maxBytes, since }) => ['keeps for us', peer, '', sizeText(maxBytes), since]),
        ...found.served.map(({ peer, bytes, items, maxBytes, since }) => [
          'kept here for',
          peer,
          `${sizeText(bytes)} in ${items}`,
          sizeText(maxBytes),
          since
        ])
      ]
    )
  }
}
