import type { Pair } from '../../pairing/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const pairs: Verb = {
  usage: 'pairs',
  summary: 'list the nodes that are paired with this one',
  examples: ['pairs', 'pairs --json'],
  async run({ client, json }) {
    const list = await client.ask<readonly Pair[]>('GET', '/v1/pairs')
    if (json) {
      print(toJson(list))
      return
    }
    if (list.length === 0) {
      note(`no pairs: make an invite with ${programName()} invite, or use one with ${programName()} join`)
      return
    }
    printTable(
      ['PEER', 'NAME', 'ALIAS', 'LEVEL', 'PAIRED', 'FINGERPRINT'],
      list.map(({ peer, name, alias = '-', level, pairedAt, fingerprint }) => [
        peer,
        name,
        alias,
        level,
        pairedAt,
        fingerprint
      ])
    )
  }
}
