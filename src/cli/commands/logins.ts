import type { Group } from '../verb.ts'
import { listLogins } from './logins-list.ts'
import { removeLogin } from './logins-remove.ts'

export const logins: Group = {
  name: 'logins',
  summary: 'OAuth logins, whose tokens this node presents',
  example: 'logins list',
  verbs: [listLogins, removeLogin]
}
