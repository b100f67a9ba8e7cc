import type { Group } from '../verb.ts'
import { revokeToken } from './tokens-revoke.ts'

export const tokens: Group = {
  name: 'tokens',
  summary: 'access tokens that callers present: revoke',
  example: 'tokens revoke https://login.example.org 5f3a',
  verbs: [revokeToken]
}
