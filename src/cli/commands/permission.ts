import type { Group } from '../verb.ts'
import { requestPermission } from './permission-request.ts'
import { permissionStatus } from './permission-status.ts'

export const permission: Group = {
  name: 'permission',
  summary: 'ask the owner of another node ahead',
  example: 'permission request @files read_file --for 1h --calls 100',
  verbs: [requestPermission, permissionStatus]
}
