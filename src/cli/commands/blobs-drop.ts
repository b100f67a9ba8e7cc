import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const dropBlob: Verb = {
  usage: 'drop <sha256>',
  summary: 'forget content, and whom it was shared with',
  examples: ['blobs drop 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08'],
  async run({ client, json }, _options, [sha256 = '']) {
    const dropped = await client.ask<{ removed: string }>('DELETE', `/v1/blobs/${encodeURIComponent(sha256)}`)
    print(json ? toJson(dropped) : `dropped ${dropped.removed}`)
  }
}
