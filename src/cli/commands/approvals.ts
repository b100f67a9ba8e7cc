import type { Group } from '../verb.ts'
import { allowApproval } from './approvals-allow.ts'
import { denyApproval } from './approvals-deny.ts'
import { listApprovals } from './approvals-list.ts'
import { showApproval } from './approvals-show.ts'
import { watchApprovals } from './approvals-watch.ts'

export const approvals: Group = {
  name: 'approvals',
  summary: 'what the owner is asked: list, watch, show, allow, deny',
  example: 'approvals list',
  verbs: [listApprovals, watchApprovals, showApproval, allowApproval, denyApproval]
}
