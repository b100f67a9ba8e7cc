import { Option } from 'commander'
import type { Invite } from '../../pairing/index.ts'
import { note, print, programName, json as toJson } from '../output.ts'
import { longDuration, type Verb } from '../verb.ts'

export const invite: Verb = {
  usage: 'invite',
  summary: 'make an invite that lets one other node pair with this one, and print it this once',
  examples: ['invite', 'invite --for 1h --level trusted', 'pryx-mesh invite > laptop.invite'],
  options: (command) =>
    command
      .option('--for <duration>', 'how long it may be used, up to 7d (default: 10m)', longDuration)
      .addOption(
        new Option(
          '--level <level>',
          'what the other node becomes here (default: known); owner: a node of yours, which may do all'
        ).choices(['known', 'trusted', 'owner'])
      ),
  async run({ client, json }, { for: forMs, level }) {
    const made = await client.ask<Invite>('POST', '/v1/invites', { forMs, level })
    if (json) {
      print(toJson(made))
      return
    }
    // Alone on stdout, so that it can go into a file or a pipe
    print(made.token)
    note(`fingerprint ${made.fingerprint}: the other node shows the same`)
    note(`good for one node, until ${made.expiresAt}; whoever has it first is the one, so send it in private`)
    note(`there: ${programName()} join, and paste it`)
  }
}
