import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const forgetPins: Verb = {
  usage: 'forget <agent> [capability]',
  summary: 'forget what was pinned: the next call pins what there is then, unseen',
  examples: ['pins forget @files', 'pins forget @files read_file'],
  async run({ client, json }, _options, [agent = '', name]) {
    const answer = await client.ask<{ forgotten: number }>('POST', '/v1/pins/forget', { agent, name })
    print(json ? toJson(answer) : `forgot ${answer.forgotten} of ${agent}`)
  }
}
