import type { UsedMailbox } from '../../index.ts'
import { mailboxRoute, sizeText } from '../mailbox.ts'
import { note, print, printFields, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const useMailbox: Verb = {
  usage: 'use <peer>',
  summary: 'let a peer keep sealed messages for this node while it is away',
  examples: ['mailbox use homeserver', 'mailbox use 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy'],
  async run({ client, json }, _options, [peer = '']) {
    const used = await client.ask<UsedMailbox>('PUT', mailboxRoute('used', peer))
    if (json) return print(toJson(used))
    printFields([
      ['peer', used.peer],
      ['addresses', used.addresses],
      ['keeps up to', sizeText(used.maxBytes)],
      ['since', used.since]
    ])
    note(
      `senders learn of it when they meet this node, or the mailbox; take it away with ${programName()} mailbox drop`
    )
  }
}

export const dropMailbox: Verb = {
  usage: 'drop <peer>',
  summary: 'use a peer as mailbox no longer',
  examples: ['mailbox drop homeserver'],
  async run({ client, json }, _options, [peer = '']) {
    const done = await client.ask<{ dropped: boolean }>('DELETE', mailboxRoute('used', peer))
    if (json) return print(toJson(done))
    print(done.dropped ? `${peer} is no mailbox of this node any more` : `${peer} was no mailbox of this node`)
  }
}
