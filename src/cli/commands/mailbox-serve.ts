import { InvalidArgumentError } from 'commander'
import type { ServedMailbox } from '../../index.ts'
import { mailboxRoute, readSize, sizeText } from '../mailbox.ts'
import { note, print, printFields, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const serveMailbox: Verb = {
  usage: 'serve <peer>',
  summary: 'keep sealed messages for a peer while it is away',
  examples: ['mailbox serve laptop', "mailbox serve laptop --bytes 64MiB --from '*'"],
  options: (command) =>
    command
      .option('--bytes <size>', 'keep at most so much, up to 256MiB (default: 16MiB)', bytes)
      .option('--from <who>', 'who may leave messages: as in a policy rule', 'level:known'),
  async run({ client, json }, options, [peer = '']) {
    const served = await client.ask<ServedMailbox>('PUT', mailboxRoute('served', peer), options)
    if (json) return print(toJson(served))
    printFields([
      ['peer', served.peer],
      ['keeps up to', sizeText(served.maxBytes)],
      ['kept now', `${sizeText(served.bytes)} in ${served.items}`],
      ['since', served.since]
    ])
    note(`its owner chooses this mailbox there, with ${programName()} mailbox use`)
  }
}

export const unserveMailbox: Verb = {
  usage: 'unserve <peer>',
  summary: 'keep nothing for a peer any more, and forget what was kept',
  examples: ['mailbox unserve laptop'],
  async run({ client, json }, _options, [peer = '']) {
    const done = await client.ask<{ dropped: boolean }>('DELETE', mailboxRoute('served', peer))
    if (json) return print(toJson(done))
    print(done.dropped ? `nothing is kept for ${peer} any more` : `nothing was kept for ${peer}`)
  }
}

function bytes(text: string): number {
  const size = readSize(text)
  if (size === undefined) throw new InvalidArgumentError('Give a size such as 500000, 512KiB or 64MiB.')
  return size
}
