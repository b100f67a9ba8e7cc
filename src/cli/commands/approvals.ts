import type { Group } from '../verb.ts'

export const approvals: Group = {
  name: 'approvals',
  summary: 'what the owner is asked: list, watch, show, allow, deny',
  example: 'approvals list',
  verbs: []
}
