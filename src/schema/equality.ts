import type { Budget } from './budget.ts'
import { STEPS_PER_VALUE } from './constants.ts'

/** A Set of it has one entry for all equal JSON values: texts start with a quote, arrays and objects with their bracket. */
export function keyOf(value: unknown, budget: Budget): unknown {
  budget.spend(STEPS_PER_VALUE)
  if (typeof value === 'string') return `"${value}`
  return typeof value === 'object' && value !== null ? canonicalText(value, budget) : value
}

/** Members sorted, as in RFC 8785, but counted, and any JSON will do. */
function canonicalText(value: object, budget: Budget): string {
  let text = ''
  if (Array.isArray(value)) {
    for (const item of value) text += `${memberText(item, budget)},`
    return `[${text}]`
  }
  const members = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1))
  for (const [name, member] of members) text += `${JSON.stringify(name)}:${memberText(member, budget)},`
  return `{${text}}`
}

function memberText(value: unknown, budget: Budget): string {
  budget.spend(STEPS_PER_VALUE)
  if (typeof value === 'object' && value !== null) return canonicalText(value, budget)
  return typeof value === 'string' ? JSON.stringify(value) : String(value)
}
