import type { PeerInfo } from '../../network/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const peers: Verb = {
  usage: 'peers',
  summary: 'list the peers that this node is connected to',
  examples: ['peers'],
  async run({ client, json }) {
    const list = await client.ask<readonly PeerInfo[]>('GET', '/v1/peers')
    if (json) {
      print(toJson(list))
      return
    }
    if (list.length === 0) {
      note(`no peers: join one with ${programName()} connect MULTIADDR`)
      return
    }
    printTable(
      ['PEER', 'NAME', 'ADDRESS', 'DIRECTION', 'SINCE'],
      list.map(({ peer, name = '', address, direction, connectedAt }) => [peer, name, address, direction, connectedAt])
    )
  }
}
