import type { TrustReport } from '../../trust/index.ts'
import { note, programName } from '../output.ts'
import { printStanding, trustRoute } from '../trust.ts'
import type { Verb } from '../verb.ts'

export const block: Verb = {
  usage: 'block <peer>',
  summary: 'cut a peer off at once, and refuse it from now on',
  examples: ['block carol --reason "sends rubbish"', 'block 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy'],
  options: (command) => command.option('--reason <text>', 'kept for trust why'),
  async run({ client, json }, { reason }, [peer = '']) {
    const report = await client.ask<TrustReport>('PUT', trustRoute(peer), { level: 'blocked', reason })
    printStanding(report, json)
    if (!json) note(`let it in again with ${programName()} trust set ${report.alias ?? report.peer} unknown`)
  }
}
