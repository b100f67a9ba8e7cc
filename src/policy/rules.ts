import type { Caller } from '../auth/index.ts'
import { compileMoment, type Moment } from './conditions.ts'
import { DEFAULT_ASK_TTL_MS, MAX_CACHED_MOMENTS, MAX_MISSING_SCOPES, MAX_SHOWN_LENGTH } from './constants.ts'
import { compileGlob } from './glob.ts'
import type { Decision, Facts } from './index.ts'
import { ALL_REMEMBER, type Effect, type Remember, type Rule } from './messages.ts'
import { readDuration } from './quantities.ts'
import { createLocalTimes } from './time.ts'
import { type CompiledWho, compileWho, list } from './who.ts'

/** What the rules say of one caller, action and resource; what is left to look at is the moment. */
export type Question = Decision | ((facts: Facts, nowMs: number) => Decision)

/** A rule, and what didn't fit. */
interface Looked {
  readonly rule: Rule
  readonly failed?: string
}

export interface RuleSet {
  ask(asked: Asked): Question
  /** Every rule, in the order of the file. */
  look(asked: Asked, facts: Facts, nowMs: number): readonly Looked[]
}

interface CompiledRule {
  readonly rule: Rule
  readonly who: CompiledWho
  readonly act: (text: string) => boolean
  readonly res: (text: string) => boolean
  readonly moment: Moment | undefined
}

/** A rule whose action and resource fit. */
interface Candidate extends CompiledRule {
  /** False: it would fit somebody with one of its scopes. */
  readonly isFor: boolean
}

export const NO_FACTS: Facts = {}

/** Decides from the rules, the request and the moment alone, whatever the order of the rules. */
export function createRuleSet(rules: readonly Rule[]): RuleSet {
  const zones = createLocalTimes()
  const inOrder = rules.map(
    (rule): CompiledRule => ({
      rule,
      who: compileWho(rule),
      act: anyGlob(list(rule.act)),
      res: anyGlob(list(rule.res)),
      moment: compileMoment(rule, zones)
    })
  )
  const sorted = inOrder.toSorted((a, b) => (a.rule.id < b.rule.id ? -1 : 1))
  return {
    ask(asked) {
      const { caller } = asked
      if (caller.trust === 'blocked') {
        const reason = `${shown(caller.peer)} is blocked by the owner`
        return { effect: 'deny', rules: [], reason }
      }
      return questionOf(candidates(sorted, asked), asked)
    },
    look(asked, facts, nowMs) {
      const looked = inOrder.map((compiled) => {
        const failed = failedPart(compiled, asked, facts, nowMs)
        return { rule: compiled.rule, ...(failed === undefined ? {} : { failed }) }
      })
      const isSpokenFor = looked.some(({ rule, failed }) => failed === undefined && rule.fallback !== true)
      if (!isSpokenFor) return looked
      return looked.map((each) =>
        each.failed === undefined && each.rule.fallback === true ? { ...each, failed: 'fallback' } : each
      )
    }
  }
}

interface Asked {
  readonly caller: Caller
  readonly action: string
  readonly resource: string
}

function failedPart(compiled: CompiledRule, asked: Asked, facts: Facts, nowMs: number): string | undefined {
  const { who, act, res, moment } = compiled
  if (asked.caller.trust === 'blocked') return 'who'
  if (!act(asked.action)) return 'act'
  if (!res(asked.resource)) return 'res'
  const standing = who.judge(asked.caller)
  if (standing !== 'fits') return standing === 'who' ? 'who' : 'when.binding'
  return moment?.(facts, nowMs)
}

function candidates(rules: readonly CompiledRule[], { caller, action, resource }: Asked): Candidate[] {
  const held = new Set(caller.credentials.flatMap(({ scopes }) => scopes))
  return rules.flatMap((compiled): Candidate[] => {
    const { who, act, res, rule } = compiled
    if (!act(action) || !res(resource)) return []
    if (who.judge(caller) === 'fits') return [{ ...compiled, isFor: true }]
    const wouldHelp = rule.effect !== 'deny' && who.scopes.some((scope) => !held.has(scope))
    return wouldHelp ? [{ ...compiled, isFor: false }] : []
  })
}

function questionOf(all: readonly Candidate[], asked: Asked): Question {
  if (all.every(({ moment }) => moment === undefined)) return resolve(all, asked)
  // The same set of rules speaks again and again
  const known = new Map<string, Decision>()
  const looksAtSize = all.filter(({ rule }) => rule.when?.maxBytes !== undefined).length > 1
  return (given, nowMs) => {
    const facts = looksAtSize ? measuredOnce(given) : given
    let key = ''
    for (const { moment } of all) {
      if (moment !== undefined) key += moment(facts, nowMs) === undefined ? '1' : '0'
    }
    const before = known.get(key)
    if (before !== undefined) return before
    let n = 0
    const decision = resolve(
      all.filter(({ moment }) => moment === undefined || key[n++] === '1'),
      asked
    )
    if (known.size >= MAX_CACHED_MOMENTS) known.clear()
    known.set(key, decision)
    return decision
  }
}

function measuredOnce(facts: Facts): Facts {
  const { bytes } = facts
  if (bytes === undefined) return facts
  let size: number | undefined
  return { ...facts, bytes: () => (size ??= bytes()) }
}

/** @param all what fits at the moment, in the order of their ids */
function resolve(all: readonly Candidate[], asked: Asked): Decision {
  const matching = all.flatMap(({ rule, isFor }) => (isFor ? [rule] : []))
  const first = matching.filter(({ fallback }) => fallback !== true)
  const speaking = first.length > 0 ? first : matching
  const ids = (effect: Effect) => speaking.filter((rule) => rule.effect === effect)
  const by = (['deny', 'ask', 'allow'] as const).map(ids).find((rules) => rules.length > 0)
  const effect = by?.[0]?.effect ?? 'deny'
  const missing = effect === 'allow' ? [] : missingScopes(all, first.length > 0, effect === 'deny' && by === undefined)
  const limited =
    effect === 'deny' || asked.caller.trust === 'owner' ? [] : speaking.filter(({ limit }) => limit !== undefined)
  return {
    effect,
    rules: (by ?? []).map(({ id }) => id),
    reason: reasonOf(effect, by, asked),
    ...(limited.length === 0 ? {} : { limited }),
    ...(effect === 'ask' && by !== undefined ? { ask: askOf(by) } : {}),
    ...(missing.length === 0 ? {} : { missingScopes: missing })
  }
}

/** Among rules that spoke nothing more helps: a deny or ask wins over whatever a scope would add, but for fallbacks. */
function missingScopes(all: readonly Candidate[], isFirstTier: boolean, isNobody: boolean): readonly string[] {
  if (isFirstTier) return []
  const scopes = all.flatMap(({ isFor, rule, who }) =>
    !isFor && (isNobody || rule.fallback !== true) ? who.scopes : []
  )
  return [...new Set(scopes)].sort().slice(0, MAX_MISSING_SCOPES)
}

function askOf(rules: readonly Rule[]): { ttlMs: number; remember: readonly Remember[] } {
  const ttls = rules.map(({ ask }) => (ask?.ttl === undefined ? DEFAULT_ASK_TTL_MS : readDuration(ask.ttl)))
  const remember = ALL_REMEMBER.filter((way) => rules.every(({ ask }) => ask?.remember?.includes(way) ?? true))
  return { ttlMs: Math.min(...ttls), remember: remember.length > 0 ? remember : ['once'] }
}

const VERBS: Readonly<Record<Effect, readonly [one: string, many: string]>> = {
  deny: ['denies', 'deny'],
  allow: ['allows', 'allow'],
  ask: ['has the owner asked for', 'have the owner asked for']
}

function reasonOf(effect: Effect, by: readonly Rule[] | undefined, { caller, action, resource }: Asked): string {
  const subject = `${shown(action)} on ${shown(resource)}`
  if (by === undefined) return `no rule allows ${subject} for ${shown(caller.peer)}; ${remedy(caller, resource)}`
  const [one, many] = VERBS[effect]
  return `${ruleNames(
    by.map(({ id }) => id),
    many,
    one
  )} ${subject}`
}

function anyGlob(patterns: readonly string[]): (text: string) => boolean {
  const globs = patterns.map(compileGlob)
  const [only] = globs
  return only !== undefined && globs.length === 1 ? only : (text) => globs.some((glob) => glob(text))
}

const MAX_NAMED_RULES = 3

function ruleNames(ids: readonly string[], many: string, one: string): string {
  const named = ids.slice(0, MAX_NAMED_RULES).join(', ')
  if (ids.length === 1) return `rule ${named} ${one}`
  const others = ids.length - MAX_NAMED_RULES
  return `rules ${named}${others > 0 ? ` and ${others} more` : ''} ${many}`
}

/** `<kind>:<agent>/<capability>`, of an agent whose name is safe to paste into a shell. */
const CAPABILITY_RESOURCE = /^(?:tool|skill|model):([a-z0-9][a-z0-9._-]*)\//

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
