import { resolve } from 'node:path'
import type { BlobInfo } from '../../blobs/index.ts'
import { print, printFields, progress, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const getBlob: Verb = {
  usage: 'get <sha256> [file]',
  summary: 'get content: from a peer unless it is here, and into a new file if one is named',
  examples: [
    'blobs get 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 photo.jpg --from bob',
    'blobs get 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 copy.jpg'
  ],
  options: (command) => command.option('--from <peer>', 'PeerId or alias of who has it'),
  async run({ client, json }, { from }, [sha256 = '', file]) {
    const done = progress(() => `getting ${sha256.slice(0, 16)}…`)
    const body = { from, ...(file === undefined ? {} : { path: resolve(file) }) }
    const blob = await client.ask<BlobInfo>('POST', `/v1/blobs/${encodeURIComponent(sha256)}/get`, body).finally(done)
    if (json) {
      print(toJson(blob))
      return
    }
    printFields([
      ['sha256', blob.sha256],
      ['bytes', String(blob.size)],
      ['file', file === undefined ? undefined : resolve(file)]
    ])
  }
}
