import type { Group } from '../verb.ts'

export const keys: Group = {
  name: 'keys',
  summary: 'API keys: for callers of this node, and those that it presents',
  example: 'keys list',
  verbs: []
}
