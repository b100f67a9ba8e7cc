import { note, print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const revokeToken: Verb = {
  usage: 'revoke <issuer> <id>',
  summary: 'refuse an access token from now on, whatever its issuer says',
  examples: ['tokens revoke https://login.example.org 5f3a'],
  async run({ client, json }, _options, [issuer = '', id = '']) {
    const revoked = await client.ask<{ issuer: string; id: string }>('POST', '/v1/tokens/revoke', { issuer, id })
    if (json) {
      print(toJson(revoked))
      return
    }
    print(`token ${revoked.id} of ${revoked.issuer} is refused from now on`)
    note('the id is the jti of the token; pryx-mesh events --type credential:presented shows it')
  }
}
