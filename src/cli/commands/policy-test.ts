import { dirname, resolve } from 'node:path'
import { MeshError } from '../../errors.ts'
import { homeAt } from '../../home.ts'
import { checkPolicy, type PolicyDocument, policyDocument, readPolicyTests, testPolicy } from '../../policy/index.ts'
import { paint, plain, print, json as toJson } from '../output.ts'
import type { Verb } from '../verb.ts'
import { readTextFile } from './policy-check.ts'

export const testPolicyFile: Verb = {
  usage: 'test <file>',
  summary: 'answer the questions of a test file and compare; needs no node',
  examples: ['policy test policy.test.json'],
  async run({ home, json }, _options, [file = '']) {
    const tests = readPolicyTests(await readTextFile(file))
    const { policy = homeAt(home).policy, cases } = tests
    const rules = typeof policy === 'string' ? await readPolicy(resolve(dirname(file), policy)) : policy
    const results = testPolicy(rules, cases, Date.now())
    const failed = results.filter(({ ok }) => !ok)
    if (json) print(toJson({ ok: failed.length === 0, passed: results.length - failed.length, results }))
    else {
      results.forEach(({ ok, expected, found, reason }, n) => {
        if (ok) return
        const { caller, action, resource } = cases[n]?.given ?? {}
        print(plain(`case ${n + 1}: ${action} on ${resource} for ${caller?.alias ?? caller?.level}`))
        print(paint('green', plain(`  - ${answer(expected)}`)))
        print(paint('red', plain(`  + ${answer(found)}: ${reason}`)))
      })
      print(`${results.length - failed.length} of ${results.length} as expected`)
    }
    if (failed.length === 0) return
    throw new MeshError('INVALID_CONFIG', `${failed.length} of ${results.length} cases are not as expected`, {
      hint: 'correct the policy or the test file'
    })
  }
}

async function readPolicy(path: string): Promise<PolicyDocument> {
  const text = await readTextFile(path)
  const problems = checkPolicy(text)
  if (problems.length === 0) return policyDocument.parse(JSON.parse(text))
  throw new MeshError('INVALID_CONFIG', `${path}: ${problems.join('\n')}`, { hint: 'correct the file' })
}

function answer({ effect, rules }: { readonly effect: string; readonly rules?: readonly string[] }): string {
  return rules === undefined ? effect : `${effect} by ${rules.join(', ') || 'no rule'}`
}
