import type { Pin } from '../../tools/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import { queryString, type Verb } from '../verb.ts'

export const listPins: Verb = {
  usage: 'list [agent]',
  summary: 'list the capabilities of other nodes that were called, those that changed since first',
  examples: ['pins list', 'pins list @files --json'],
  async run({ client, json }, _options, [agent]) {
    const pins = await client.ask<readonly Pin[]>('GET', `/v1/pins${queryString({ agent })}`)
    if (json) {
      print(toJson(pins))
      return
    }
    if (pins.length === 0) {
      note('no pins: a capability of another node is pinned when it is first called')
      return
    }
    printTable(
      ['KIND', 'CAPABILITY', 'VERSION', 'STATE', 'SINCE', 'AGENT'],
      pins.map(({ agent: id, kind, name, version, pinnedAt, suspended }) => {
        const state = suspended === undefined ? ['pinned', pinnedAt] : ['suspended', suspended.since]
        return [kind, name, version, ...state, id]
      })
    )
    const suspended = pins.filter((pin) => pin.suspended !== undefined).length
    if (suspended > 0) note(`${suspended} suspended: ${programName()} pins show AGENT tells what changed`)
  }
}
