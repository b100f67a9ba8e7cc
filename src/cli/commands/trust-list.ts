import type { PeerTrust } from '../../trust/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const listTrust: Verb = {
  usage: 'list',
  summary: 'list the peers that you or evidence have said something about',
  examples: ['trust list'],
  async run({ client, json }) {
    const list = await client.ask<readonly PeerTrust[]>('GET', '/v1/trust')
    if (json) {
      print(toJson(list))
      return
    }
    if (list.length === 0) {
      note(`every peer is unknown: say more with ${programName()} trust set PEER LEVEL`)
      return
    }
    printTable(
      ['PEER', 'ALIAS', 'LEVEL', 'SET BY', 'SINCE', 'SCORE', 'WEIGHT'],
      list.map(({ peer, alias = '', level, setBy, since = '', score, interactions }) => [
        peer,
        alias,
        level,
        setBy,
        since,
        score.toFixed(2),
        interactions.toFixed(1)
      ])
    )
  }
}
