import { note, print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

interface Removed {
  readonly id: string
  readonly revoked: boolean
}

export const removeLogin: Verb = {
  usage: 'remove <id>',
  summary: 'forget a login, and revoke its tokens at the issuer',
  examples: ['logins remove 4ggcmquzyZO'],
  async run({ client, json }, _options, [id = '']) {
    const removed = await client.ask<Removed>('DELETE', `/v1/logins/${encodeURIComponent(id)}`)
    if (json) {
      print(toJson(removed))
      return
    }
    print(`login ${removed.id} is forgotten${removed.revoked ? ', its tokens are revoked' : ''}`)
    if (!removed.revoked) note('the issuer has not confirmed that: tokens given before end by themselves, in minutes')
  }
}
