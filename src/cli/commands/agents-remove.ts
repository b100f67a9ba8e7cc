import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const removeAgent: Verb = {
  usage: 'remove <agent>',
  summary: 'stop an agent of this node, withdraw its record, and forget it',
  examples: ['agents remove files'],
  async run({ client, json }, _options, [target = '']) {
    const answer = await client.ask<{ removed: string }>('DELETE', `/v1/agents/${encodeURIComponent(target)}`)
    print(json ? toJson(answer) : `removed ${answer.removed}`)
  }
}
