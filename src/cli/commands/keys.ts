import type { Group } from '../verb.ts'
import { createKey } from './keys-create.ts'
import { listKeys } from './keys-list.ts'
import { revokeKey } from './keys-revoke.ts'
import { rotateKey } from './keys-rotate.ts'
import { unuseKey, useKey } from './keys-use.ts'

export const keys: Group = {
  name: 'keys',
  summary: 'API keys: for callers of this node, and those that it presents',
  example: 'keys create ci --scope build --for 30d',
  verbs: [createKey, listKeys, rotateKey, revokeKey, useKey, unuseKey]
}
