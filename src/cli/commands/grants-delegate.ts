import type { Grant } from '../../grants/index.ts'
import { addLimitOptions, grantRoute, printChain } from '../grant.ts'
import type { Verb } from '../verb.ts'

export const delegateGrant: Verb = {
  usage: 'delegate <id> <peer>',
  summary: 'pass a held grant on to another peer, the same or narrower; prints it as JSON',
  examples: [
    'grants delegate 5f0c61ab carol --calls 10',
    'pryx-mesh grants delegate 5f0c61ab carol --res tool:files/read --for 1h > carol.json'
  ],
  options: (command) =>
    addLimitOptions(command)
      .option('--act <glob>', 'only these actions')
      .option('--res <glob>', 'only these resources'),
  async run({ client, json }, { act, res, for: forMs, calls: uses, depth }, [id = '', holder]) {
    const terms = { holder, act, res, forMs, uses, depth }
    printChain(await client.ask<Grant>('POST', `${grantRoute(id)}/delegate`, terms), json)
  }
}
