import { MeshError } from '../../errors.ts'
import type { LocalAgent } from '../../index.ts'
import { addAgentOptions, patchOf, printAgent } from '../agent.ts'
import { progress } from '../output.ts'
import type { Verb } from '../verb.ts'

export const updateAgent: Verb = {
  usage: 'update <agent>',
  summary: 'change what is given, leave the rest; --allow none takes all permissions back',
  examples: ['agents update files --audience paired --tag files --tag docs', 'agents update files --allow none'],
  options: addAgentOptions,
  async run({ client, json }, options, [target = '']) {
    const patch = patchOf(options)
    if (Object.keys(patch).length === 0) {
      throw new MeshError('INVALID_ARGUMENT', 'say what to change')
    }
    const done = progress(() => `updating ${target}`)
    const local = await client.ask<LocalAgent>('PATCH', `/v1/agents/${encodeURIComponent(target)}`, patch).finally(done)
    printAgent({ ...(local.record === undefined ? {} : { signed: local.record }), local }, json)
  }
}
