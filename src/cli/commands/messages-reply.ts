import type { Sent } from '../../index.ts'
import { note, print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const replyMessage: Verb = {
  usage: 'reply <id> <text>',
  summary: 'answer a message of your inbox, which also counts as reading it',
  examples: ['messages reply 01JD8Q3N5X0000000000000000 "yes, go on"'],
  async run({ client, json }, _options, [id = '', text = '']) {
    const sent = await client.ask<Sent>('POST', `/v1/messages/${encodeURIComponent(id)}/reply`, { body: text })
    if (json) return print(toJson(sent))
    print(sent.id)
    note('on its way')
  }
}
