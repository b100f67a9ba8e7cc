import type { Caller } from '../../src/auth/index.ts'
import type { Decision, Facts, Rule } from '../../src/policy/index.ts'
import { createRuleSet } from '../../src/policy/rules.ts'

export { callerOf } from '../callers.ts'

export const ALICE = `12D3KooW${'A'.repeat(44)}`
export const BOB = `12D3KooW${'B'.repeat(44)}`

interface Moment {
  readonly facts?: Facts
  readonly nowMs?: number
}

/** Decides by rules alone. */
export function decideBy(rules: readonly Rule[]) {
  const set = createRuleSet(rules)
  return (caller: Caller, action: string, resource: string, { facts = {}, nowMs = 0 }: Moment = {}): Decision => {
    const question = set.ask({ caller, action, resource })
    return typeof question === 'function' ? question(facts, nowMs) : question
  }
}
