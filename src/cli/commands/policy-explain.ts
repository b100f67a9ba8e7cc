import { Option } from 'commander'
import type { Explanation } from '../../policy/index.ts'
import { print, printFields, printTable, json as toJson } from '../output.ts'
import { count, queryString, repeated, type Verb } from '../verb.ts'

export const explainPolicy: Verb = {
  usage: 'explain <caller> <action> <resource>',
  summary: 'tell what would be decided and why; a caller is a PeerId, an alias, owner, or level:LEVEL',
  examples: [
    'policy explain alice tool.call tool:fs/read_file --effects read',
    'policy explain level:unknown tool.call tool:fs/read_file --json'
  ],
  options: (command) =>
    command
      .option('--scope <scope>', 'a scope that the caller has; repeat for more', repeated)
      .addOption(
        new Option('--effects <effects>', 'what the capability does').choices(['none', 'read', 'write', 'external'])
      )
      .option('--tag <tag>', 'tag of the agent or the capability; repeat for more', repeated)
      .option('--bytes <number>', 'size of the input', count),
  async run({ client, json }, options, [caller, action, resource]) {
    const query = queryString({ caller, action, resource, ...options })
    const explanation = await client.ask<Explanation>('GET', `/v1/policy/explain${query}`)
    if (json) {
      print(toJson(explanation))
      return
    }
    const { decision, trace } = explanation
    printFields([
      ['decision', decision.effect],
      ['why', decision.reason],
      ['scopes that would help', decision.missingScopes?.join(' ')]
    ])
    printTable(
      ['RULE', 'EFFECT', 'FITS', 'LIMITS'],
      trace.map(({ rule, matched, failed = '', limits = [] }) => [
        rule.id,
        rule.effect,
        matched ? 'yes' : `no: ${failed}`,
        limits.join('; ')
      ])
    )
  }
}
