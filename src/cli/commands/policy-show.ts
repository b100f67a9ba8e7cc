import type { Rule } from '../../policy/index.ts'
import { note, plain, print, printTable, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

interface Shown {
  readonly rules: readonly Rule[]
  readonly problem?: string
}

export const showPolicy: Verb = {
  usage: 'show',
  summary: 'show the rules in force, and what is wrong with the file if they are not its own',
  examples: ['policy show'],
  async run({ client, json }) {
    const shown = await client.ask<Shown>('GET', '/v1/policy')
    if (json) {
      print(toJson(shown))
      return
    }
    printTable(
      ['RULE', 'EFFECT', 'WHO', 'ACTION', 'RESOURCE', 'CONDITIONS'],
      shown.rules.map(({ id, effect, who, act, res, ...rest }) => [
        id,
        effect,
        text(who),
        text(act),
        text(res),
        Object.keys(rest).length === 0 ? '' : toJson(rest)
      ])
    )
    if (shown.problem !== undefined) note(plain(`not the file's: ${shown.problem}`))
  }
}

const text = (value: string | readonly string[]): string => [value].flat().join(',')
