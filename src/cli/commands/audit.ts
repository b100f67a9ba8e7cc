import type { Group } from '../verb.ts'
import { listAudit } from './audit-list.ts'
import { verifyAudit } from './audit-verify.ts'

export const audit: Group = {
  name: 'audit',
  summary: 'the log of decisions: list, verify',
  example: 'audit list --effect deny',
  verbs: [listAudit, verifyAudit]
}
