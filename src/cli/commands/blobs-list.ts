import type { BlobInfo } from '../../blobs/index.ts'
import { note, print, printTable, programName, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'

export const listBlobs: Verb = {
  usage: 'list',
  summary: 'list the content that this node keeps, newest first',
  examples: ['blobs list', 'blobs list --json'],
  async run({ client, json }) {
    const blobs = await client.ask<readonly BlobInfo[]>('GET', '/v1/blobs')
    if (json) {
      print(toJson(blobs))
      return
    }
    if (blobs.length === 0) {
      note(`no blobs; ${programName()} blobs put FILE keeps one`)
      return
    }
    printTable(
      ['SHA256', 'BYTES', 'CREATED', 'IN USE', 'SHARED WITH'],
      blobs.map(({ sha256, size, createdAt, pins, readers }) => {
        const shared = readers.length === 0 ? '-' : readers.join(' ')
        return [sha256, String(size), createdAt, pins > 0 ? 'yes' : 'no', shared]
      })
    )
  }
}
