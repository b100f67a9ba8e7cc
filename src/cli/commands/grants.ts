import type { Group } from '../verb.ts'

export const grants: Group = {
  name: 'grants',
  summary: 'rights that were given: list, show, revoke, delegate',
  example: 'grants list',
  verbs: []
}
