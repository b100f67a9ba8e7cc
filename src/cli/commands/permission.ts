import type { Group } from '../verb.ts'

export const permission: Group = {
  name: 'permission',
  summary: 'ask the owner of another node ahead',
  example: 'permission list',
  verbs: []
}
