import type { Pin } from '../../tools/index.ts'
import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const approvePins: Verb = {
  usage: 'approve <agent> [capability]',
  summary: 'accept what has changed; read pins show first',
  examples: ['pins approve @files read_file', 'pins approve @files'],
  async run({ client, json }, _options, [agent = '', name]) {
    const pins = await client.ask<readonly Pin[]>('POST', '/v1/pins/approve', { agent, name })
    if (json) {
      print(toJson(pins))
      return
    }
    for (const pin of pins) print(`approved ${pin.kind} ${pin.name} ${pin.version} of ${pin.agent}, ${pin.digest}`)
  }
}
