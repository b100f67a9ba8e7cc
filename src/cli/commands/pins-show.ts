import { MeshError } from '../../errors.ts'
import type { Pin } from '../../tools/index.ts'
import { note, paint, plain, print, printFields, programName, json as toJson } from '../output.ts'
import { queryString, type Verb } from '../verb.ts'

export const showPins: Verb = {
  usage: 'show <agent> [capability]',
  summary: 'show what is pinned of an agent, and how it differs from what its owner publishes now',
  examples: ['pins show @files', 'pins show @files read_file --json'],
  async run({ client, json }, _options, [agent = '', name]) {
    const pins = await client.ask<readonly Pin[]>('GET', `/v1/pins${queryString({ agent, name })}`)
    if (pins.length === 0) {
      throw new MeshError('NOT_FOUND', `nothing of ${agent} called ${name ?? ''} is pinned`, {
        hint: 'pryx-mesh pins list shows what is'
      })
    }
    if (json) {
      print(toJson(pins))
      return
    }
    pins.forEach((pin, n) => {
      if (n > 0) print('')
      printPin(pin)
    })
    if (pins.some(({ suspended }) => suspended !== undefined))
      note(`${programName()} pins approve ${agent}${name === undefined ? '' : ` ${name}`} accepts the changes`)
  }
}

function printPin({ agent, kind, name, version, digest, pinnedAt, suspended }: Pin): void {
  printFields([
    ['agent', agent],
    ['capability', `${kind} ${name}`],
    ['state', suspended === undefined ? 'pinned' : `suspended since ${suspended.since}: calls are refused`],
    ['pinned', [`${version}, ${pinnedAt}`, digest]],
    ['now', suspended && [suspended.version, suspended.digest]]
  ])
  for (const line of suspended?.diff ?? []) print(paint(colourOf(line), `  ${plain(line)}`))
}

function colourOf(line: string): 'dim' | 'green' | 'red' {
  if (line.startsWith('- ')) return 'red'
  return line.startsWith('+ ') ? 'green' : 'dim'
}
