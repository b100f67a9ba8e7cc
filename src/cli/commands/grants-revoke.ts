import type { Grant } from '../../grants/index.ts'
import { grantRoute } from '../grant.ts'
import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const revokeGrant: Verb = {
  usage: 'revoke <id>',
  summary: 'end a grant that this node has issued, and all that was passed on from it',
  examples: ['grants revoke 5f0c61ab'],
  async run({ client, json }, _options, [id = '']) {
    const grant = await client.ask<Grant>('DELETE', grantRoute(id))
    print(json ? toJson(grant) : `revoked ${grant.id}, held by ${grant.holder}`)
  }
}
