import type { Group } from '../verb.ts'
import { dropBlob } from './blobs-drop.ts'
import { getBlob } from './blobs-get.ts'
import { listBlobs } from './blobs-list.ts'
import { putBlob } from './blobs-put.ts'
import { shareBlob } from './blobs-share.ts'

export const blobs: Group = {
  name: 'blobs',
  summary: 'content by its SHA-256: put, share, get, list and drop it',
  example: 'blobs put photo.jpg',
  verbs: [putBlob, getBlob, listBlobs, shareBlob, dropBlob]
}
