import type { Group } from '../verb.ts'

export const audit: Group = {
  name: 'audit',
  summary: 'the log of decisions: list, verify',
  example: 'audit list',
  verbs: []
}
