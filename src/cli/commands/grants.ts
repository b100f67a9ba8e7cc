import type { Group } from '../verb.ts'
import { delegateGrant } from './grants-delegate.ts'
import { issueGrant } from './grants-issue.ts'
import { keepGrant } from './grants-keep.ts'
import { listGrants } from './grants-list.ts'
import { revokeGrant } from './grants-revoke.ts'
import { showGrant } from './grants-show.ts'

export const grants: Group = {
  name: 'grants',
  summary: 'rights that were given: list, show, revoke, give and pass them on',
  example: 'grants list',
  verbs: [listGrants, showGrant, issueGrant, delegateGrant, keepGrant, revokeGrant]
}
