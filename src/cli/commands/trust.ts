import type { Group } from '../verb.ts'

export const trust: Group = {
  name: 'trust',
  summary: 'how far peers are trusted, and why',
  example: 'trust list',
  verbs: []
}
