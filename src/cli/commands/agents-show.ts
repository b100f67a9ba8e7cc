import type { LocalAgent } from '../../index.ts'
import type { SignedRecord } from '../../registry/messages.ts'
import { printAgent } from '../agent.ts'
import type { Verb } from '../verb.ts'

export const showAgent: Verb = {
  usage: 'show <agent>',
  summary: 'show an agent of this node or of another: its record and what it offers',
  examples: ['agents show files', 'agents show @maths@bob --json'],
  async run({ client, json }, _options, [target = '']) {
    const shown = await client.ask<{ signed?: SignedRecord; local?: LocalAgent }>(
      'GET',
      `/v1/agents/${encodeURIComponent(target)}`
    )
    printAgent(shown, json)
  }
}
