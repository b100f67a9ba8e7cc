import { resolve } from 'node:path'
import type { BlobRef } from '../../blobs/index.ts'
import { note, print, programName, progress, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const putBlob: Verb = {
  usage: 'put <file>',
  summary: 'keep a copy of a file; peers that it is shared with get it by its SHA-256',
  examples: ['blobs put photo.jpg', 'blobs put report.pdf --json'],
  async run({ client, json }, _options, [file = '']) {
    const done = progress(() => 'copying')
    const ref = await client.ask<BlobRef>('POST', '/v1/blobs', { path: resolve(file) }).finally(done)
    print(json ? toJson(ref) : ref.sha256)
    if (!json) note(`${ref.size} bytes; share it with: ${programName()} blobs share ${ref.sha256} PEER`)
  }
}
