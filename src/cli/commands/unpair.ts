import { note, print, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const unpair: Verb = {
  usage: 'unpair <peer>',
  summary: 'end a pair: forget its secret, and what the other node has become by it',
  examples: ['unpair laptop', 'unpair 12D3KooWB3sfxkwmWeBYy6WBkyn3RR5wcm6LPqAwUHGDzsfrvZmy'],
  async run({ client, json }, _options, [peer = '']) {
    const result = await client.ask<{ readonly unpaired: string }>('DELETE', `/v1/pairs/${encodeURIComponent(peer)}`)
    print(json ? toJson(result) : `the pair with ${peer} is ended`)
    if (!json) note(`it may still connect, as any stranger; ${programName()} block PEER refuses it`)
  }
}
