import type { BlobInfo } from '../../blobs/index.ts'
import { print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const shareBlob: Verb = {
  usage: 'share <sha256> <peer>',
  summary: 'let a peer, by PeerId or alias, get content; --off ends that',
  examples: ['blobs share 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 bob'],
  options: (command) => command.option('--off', 'not any more'),
  async run({ client, json }, { off }, [sha256 = '', peer = '']) {
    const route = `/v1/blobs/${encodeURIComponent(sha256)}/readers`
    const blob =
      off === true
        ? await client.ask<BlobInfo | null>('DELETE', `${route}/${encodeURIComponent(peer)}`)
        : await client.ask<BlobInfo | null>('POST', route, { peer })
    const readers = blob?.readers ?? []
    print(json ? toJson(blob) : `shared with ${readers.length === 0 ? 'nobody' : readers.join(' ')}`)
  }
}
