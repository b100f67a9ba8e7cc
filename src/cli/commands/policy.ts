import type { Group } from '../verb.ts'

export const policy: Group = {
  name: 'policy',
  summary: 'the rules in policy.json: check, explain, test',
  example: 'policy list',
  verbs: []
}
