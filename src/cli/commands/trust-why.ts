import type { TrustReport } from '../../trust/index.ts'
import { print, printFields, printTable, json as toJson } from '../output.ts'
import { standingFields, trustRoute } from '../trust.ts'
import type { Verb } from '../verb.ts'

export const whyTrust: Verb = {
  usage: 'why <peer>',
  summary: 'tell why a peer stands where it stands: evidence, and every change',
  examples: ['trust why carol', 'trust why 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy --json'],
  async run({ client, json }, _options, [peer = '']) {
    const report = await client.ask<TrustReport>('GET', trustRoute(peer))
    if (json) {
      print(toJson(report))
      return
    }
    const { score, interactions, evidence, changes } = report
    printFields([
      ...standingFields(report),
      ['score', `${score.toFixed(2)} (lower 90 % bound of the share of good interactions)`],
      ['weight', interactions.toFixed(1)]
    ])
    if (evidence.length > 0) {
      print('')
      printTable(
        ['EVIDENCE', 'COUNT', 'WEIGHT NOW'],
        evidence.map(({ kind, count, weight }) => [kind, String(count), weight.toFixed(1)])
      )
    }
    if (changes.length > 0) {
      print('')
      printTable(
        ['AT', 'FROM', 'TO', 'BY', 'REASON'],
        changes.map(({ at, from, to, by, reason }) => [at, from, to, by, reason])
      )
    }
  }
}
