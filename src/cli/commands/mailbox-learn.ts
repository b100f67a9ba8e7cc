import { MeshError } from '../../errors.ts'
import { mailboxRoute } from '../mailbox.ts'
import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const learnMailbox: Verb = {
  usage: 'learn <peer>',
  summary: 'ask a node where messages for a peer may be left that this one has never met',
  examples: ['mailbox learn 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy --at homeserver'],
  options: (command) => command.requiredOption('--at <node>', 'whom to ask, such as the mailbox: PeerId or alias'),
  async run({ client, json }, { at }, [peer = '']) {
    const answer = await client.ask<{ known: boolean }>('POST', mailboxRoute('learned', peer), { at })
    if (!answer.known) throw new MeshError('NOT_FOUND', `${String(at)} knows of no mailbox of ${peer}`)
    print(json ? toJson(answer) : `messages for ${peer} can be left while it is away`)
  }
}
