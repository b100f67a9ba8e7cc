import type { Facts } from './index.ts'
import type { Rule } from './messages.ts'
import { compileTime, type LocalTimes } from './time.ts'

/** What a rule asks about the moment and the request. Undefined: it can't be known. */
type Condition = (facts: Facts, nowMs: number) => boolean | undefined

/** @returns which part of the rule doesn't fit, undefined when all do */
export type Moment = (facts: Facts, nowMs: number) => string | undefined

/** @returns undefined when the rule holds at any moment */
export function compileMoment(rule: Rule, zones: LocalTimes): Moment | undefined {
  const conditions = conditionsOf(rule, zones)
  if (conditions.length === 0) return undefined
  // What isn't known must neither allow nor lift a deny or a question
  const ifUnknown = rule.effect !== 'allow'
  return (facts, nowMs) => {
    for (const [name, holds] of conditions) if (!(holds(facts, nowMs) ?? ifUnknown)) return name
    return undefined
  }
}

function conditionsOf({ when = {}, exp }: Rule, zones: LocalTimes): (readonly [string, Condition])[] {
  const { time, maxBytes, effects, tags } = when
  const conditions: (readonly [string, Condition])[] = []
  if (exp !== undefined) {
    const expiresAt = Date.parse(exp)
    conditions.push(['exp', (_, nowMs) => nowMs < expiresAt])
  }
  if (effects !== undefined) {
    conditions.push(['when.effects', (facts) => facts.effects && effects.includes(facts.effects)])
  }
  if (tags !== undefined) {
    conditions.push(['when.tags', (facts) => facts.tags?.some((tag) => tags.includes(tag))])
  }
  if (time !== undefined) {
    const isWithin = compileTime(time, zones)
    conditions.push(['when.time', (_, nowMs) => isWithin(nowMs)])
  }
  if (maxBytes !== undefined) {
    conditions.push(['when.maxBytes', ({ bytes }) => (bytes === undefined ? undefined : bytes() <= maxBytes)])
  }
  return conditions
}
