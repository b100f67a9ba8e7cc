import type { Caller, TrustLevel } from '../auth/index.ts'
import { MAX_SHOWN_LENGTH } from './constants.ts'
import { compileGlob } from './glob.ts'
import type { Decision } from './index.ts'
import type { Rule } from './messages.ts'

/** Decides from the rules alone: the same question has the same answer, whatever the order of the rules. */
export type Judge = (caller: Caller, action: string, resource: string) => Decision

type Matches = (caller: Caller, action: string, resource: string) => boolean

interface CompiledRule {
  readonly id: string
  readonly matches: Matches
}

const RANK: Readonly<Record<TrustLevel, number>> = { blocked: 0, unknown: 1, known: 2, trusted: 3, owner: 4 }

/** `<kind>:<agent>/<capability>`, of an agent whose name is safe to paste into a shell. */
const CAPABILITY_RESOURCE = /^(?:tool|skill|model):([a-z0-9][a-z0-9._-]*)\//

export function compileRules(rules: readonly Rule[]): Judge {
  const compiled = (effect: Rule['effect']) =>
    rules
      .filter((rule) => rule.effect === effect)
      .map((rule): CompiledRule => ({ id: rule.id, matches: compileRule(rule) }))
      .sort((a, b) => (a.id < b.id ? -1 : 1))
  const denies = compiled('deny')
  const allows = compiled('allow')

  return (caller, action, resource) => {
    const subject = `${shown(action)} on ${shown(resource)}`
    if (caller.trust === 'blocked') {
      return { effect: 'deny', rules: [], reason: `${shown(caller.peer)} is blocked by the owner` }
    }
    const matching = ({ matches }: CompiledRule) => matches(caller, action, resource)
    const denying = denies.filter(matching).map(({ id }) => id)
    if (denying.length > 0) {
      return { effect: 'deny', rules: denying, reason: `${ruleNames(denying, 'deny', 'denies')} ${subject}` }
    }
    const allowing = allows.filter(matching).map(({ id }) => id)
    if (allowing.length > 0) {
      return { effect: 'allow', rules: allowing, reason: `${ruleNames(allowing, 'allow', 'allows')} ${subject}` }
    }
    const reason = `no rule allows ${subject} for ${shown(caller.peer)}; ${remedy(caller, resource)}`
    return { effect: 'deny', rules: [], reason }
  }
}

function compileRule(rule: Rule): Matches {
  const who = compileWho(list(rule.who))
  const act = anyGlob(list(rule.act))
  const res = anyGlob(list(rule.res))
  return (caller, action, resource) => act(action) && who(caller) && res(resource)
}

function compileWho(names: readonly string[]): (caller: Caller) => boolean {
  if (names.includes('*')) return () => true
  const peers = new Set(names)
  const ranks = Object.entries(RANK).flatMap(([level, rank]) => (peers.has(`level:${level}`) ? [rank] : []))
  const lowest = Math.min(...ranks)
  return (caller) => RANK[caller.trust] >= lowest || peers.has(caller.peer)
}

function anyGlob(patterns: readonly string[]): (text: string) => boolean {
  const globs = patterns.map(compileGlob)
  const [only] = globs
  return only !== undefined && globs.length === 1 ? only : (text) => globs.some((glob) => glob(text))
}

function list(value: string | readonly string[]): readonly string[] {
  return typeof value === 'string' ? [value] : value
}

const MAX_NAMED_RULES = 3

function ruleNames(ids: readonly string[], many: string, one: string): string {
  const named = ids.slice(0, MAX_NAMED_RULES).join(', ')
  if (ids.length === 1) return `rule ${named} ${one}`
  const others = ids.length - MAX_NAMED_RULES
  return `rules ${named}${others > 0 ? ` and ${others} more` : ''} ${many}`
}

function remedy(caller: Caller, resource: string): string {
  const agent = CAPABILITY_RESOURCE.exec(resource)?.[1]
  if (agent === undefined) return 'its owner can add a rule to policy.json'
  return `its owner can: pryx-mesh agents update ${shown(agent)} --allow ${shown(caller.peer)}`
}

/** Names from a peer end up in terminals and logs: printable ASCII only, and not endless. */
function shown(text: string): string {
  const plain = text.slice(0, MAX_SHOWN_LENGTH).replace(/[^\x20-\x7e]/g, '?')
  return text.length > MAX_SHOWN_LENGTH ? `${plain}...` : plain
}
