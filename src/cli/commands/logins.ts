import type { Group } from '../verb.ts'

export const logins: Group = {
  name: 'logins',
  summary: 'OAuth logins, whose tokens this node presents',
  example: 'logins list',
  verbs: []
}
