import type { Group } from '../verb.ts'
import { listTrust } from './trust-list.ts'
import { setTrust } from './trust-set.ts'
import { whyTrust } from './trust-why.ts'

export const trust: Group = {
  name: 'trust',
  summary: 'how far peers are trusted, and why',
  example: 'trust list',
  verbs: [listTrust, setTrust, whyTrust]
}
