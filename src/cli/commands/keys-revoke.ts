import type { ApiKeyInfo } from '../../keys/index.ts'
import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const revokeKey: Verb = {
  usage: 'revoke <id>',
  summary: 'end an API key at once and for good, on open connections too',
  examples: ['keys revoke 4ggcmquzyZO'],
  async run({ client, json }, _options, [id = '']) {
    const info = await client.ask<ApiKeyInfo>('DELETE', `/v1/keys/${encodeURIComponent(id)}`)
    print(json ? toJson(info) : `revoked ${info.id} (${info.name})`)
  }
}
