import type { Group } from '../verb.ts'

export const pins: Group = {
  name: 'pins',
  summary: 'remote capabilities as they were first used',
  example: 'pins list',
  verbs: []
}
