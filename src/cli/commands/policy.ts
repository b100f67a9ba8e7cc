import type { Group } from '../verb.ts'
import { checkPolicyFile } from './policy-check.ts'
import { explainPolicy } from './policy-explain.ts'
import { showPolicy } from './policy-show.ts'
import { testPolicyFile } from './policy-test.ts'

export const policy: Group = {
  name: 'policy',
  summary: 'the rules in policy.json: show, check, explain, test',
  example: 'policy explain alice tool.call tool:fs/read_file',
  verbs: [showPolicy, explainPolicy, checkPolicyFile, testPolicyFile]
}
