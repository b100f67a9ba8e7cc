import cedar from '@cedar-policy/cedar-wasm/nodejs'
import fc from 'fast-check'
import { expect, it, vi } from 'vitest'
import { type Caller, TRUST_LEVELS } from '../../src/auth/index.ts'
import type { Facts, Rule } from '../../src/policy/index.ts'
import { ALICE, BOB, callerOf, decideBy } from './callers.ts'

vi.setConfig({ testTimeout: 120_000 })

const POLICIES = 300
const REQUESTS = 400

const oneOf = <T>(...values: T[]) => fc.constantFrom(...values)
const optional = <T>(item: fc.Arbitrary<T>) => fc.option(item, { nil: undefined })
const oneOrMore = (item: fc.Arbitrary<string>) => fc.oneof(item, fc.array(item, { minLength: 1, maxLength: 3 }))

const EFFECTS = ['none', 'read', 'write', 'external'] as const
const body = fc.record({
  effect: oneOf<Rule['effect']>('allow', 'ask', 'deny'),
  who: oneOrMore(oneOf('*', ALICE, BOB, 'level:known', 'level:trusted', 'alias:bob', 'scope:a', 'scope:b')),
  act: oneOrMore(oneOf('*', '*.call', 'tool.call', 'record.read')),
  res: oneOrMore(oneOf('*', 'tool:fs/*', 'tool:*/read', 'agent:*', '*s*e*')),
  effects: optional(fc.subarray([...EFFECTS], { minLength: 1 })),
  tags: optional(fc.subarray(['x', 'y'], { minLength: 1 })),
  maxBytes: optional(oneOf(0, 10, 20)),
  exp: optional(oneOf(1_000, 2_000)),
  fallback: fc.boolean()
})
const rules = fc.array(body, { minLength: 1, maxLength: 10 }).map((bodies) =>
  bodies.map(({ effects, tags, maxBytes, exp, ...rest }, n): Rule => {
    const when = {
      ...(effects && { effects }),
      ...(tags && { tags }),
      ...(maxBytes !== undefined && { maxBytes })
    }
    return {
      id: `r${n}`,
      ...rest,
      ...(Object.keys(when).length > 0 && { when }),
      ...(exp !== undefined && { exp: new Date(exp).toISOString() })
    }
  })
)

const request = fc.record({
  peer: oneOf(ALICE, BOB),
  trust: oneOf(...TRUST_LEVELS),
  alias: optional(oneOf('bob', 'eve')),
  scopes: fc.subarray(['a', 'b', 'c']),
  action: oneOf('tool.call', 'skill.call', 'record.read'),
  resource: oneOf('tool:fs/read', 'tool:fs/write', 'tool:shell/read', 'agent:fs'),
  effects: optional(oneOf(...EFFECTS)),
  tags: optional(fc.subarray(['x', 'y', 'z'])),
  bytes: optional(oneOf(0, 10, 11, 30)),
  now: oneOf(999, 1_000, 1_500, 2_000)
})
type Request = typeof request extends fc.Arbitrary<infer T> ? T : never

const quoted = (text: string) => JSON.stringify(text)
const list = (value: string | readonly string[]) => [value].flat()
const anyOf = (terms: readonly string[]) => `(${terms.join(' || ')})`

function whoTerm(who: string): string {
  const [kind, name = ''] = who.split(':')
  if (who === '*') return 'true'
  if (kind === 'level') return `context.rank >= ${TRUST_LEVELS.indexOf(name as 'known')}`
  if (kind === 'alias') return `context has alias && context.alias == ${quoted(name)}`
  if (kind === 'scope') return `context.scopes.contains(${quoted(name)})`
  return `context.peer == ${quoted(who)}`
}

/** A rule in Cedar's own words. */
function policyOf(word: 'permit' | 'forbid', { effect, who, act, res, when = {}, exp }: Rule): string {
  const known = (fact: string, term: string) =>
    effect === 'allow' ? `context has ${fact} && ${term}` : `!(context has ${fact}) || ${term}`
  const terms = [
    anyOf(list(who).map(whoTerm)),
    anyOf(list(act).map((glob) => `context.act like ${quoted(glob)}`)),
    anyOf(list(res).map((glob) => `context.res like ${quoted(glob)}`)),
    ...(when.effects ? [known('effects', `${JSON.stringify(when.effects)}.contains(context.effects)`)] : []),
    ...(when.tags ? [known('tags', `context.tags.containsAny(${JSON.stringify(when.tags)})`)] : []),
    ...(when.maxBytes === undefined ? [] : [known('bytes', `context.bytes <= ${when.maxBytes}`)]),
    ...(exp === undefined ? [] : [`context.now < ${Date.parse(exp)}`])
  ]
  return `${word} (principal, action, resource) when { ${terms.map((term) => `(${term})`).join(' && ')} };`
}

let sets = 0
function prepare(policies: readonly string[]): string {
  const id = `set${sets++}`
  const answer = cedar.preparsePolicySet(id, { staticPolicies: policies.join('\n') })
  if (answer.type !== 'success') throw new Error(JSON.stringify(answer))
  return id
}

const ENTITY = { type: 'T', id: 'x' }
function ask(id: string, context: cedar.Context) {
  const answer = cedar.statefulIsAuthorized({
    principal: ENTITY,
    action: { type: 'Action', id: 'x' },
    resource: ENTITY,
    context,
    preparsedPolicySetId: id,
    entities: []
  })
  if (answer.type !== 'success') throw new Error(JSON.stringify(answer))
  const { decision, diagnostics } = answer.response
  expect(diagnostics.errors).toEqual([])
  return { isAllowed: decision === 'allow', spoke: diagnostics.reason.length > 0 }
}

/** Each tier as two sets: what isn't denied, and of that what is asked. */
function cedarJudge(all: readonly Rule[]): (context: cedar.Context) => Rule['effect'] {
  const tiers = [false, true].map((isFallback) => {
    const tier = all.filter(({ fallback = false }) => fallback === isFallback)
    return {
      passing: prepare(tier.map((rule) => policyOf(rule.effect === 'deny' ? 'forbid' : 'permit', rule))),
      asking: prepare(tier.flatMap((rule) => (rule.effect === 'ask' ? [policyOf('permit', rule)] : [])))
    }
  })
  return (context) => {
    for (const { passing, asking } of tiers) {
      const { isAllowed, spoke } = ask(passing, context)
      if (!spoke) continue
      if (!isAllowed) return 'deny'
      return ask(asking, context).isAllowed ? 'ask' : 'allow'
    }
    return 'deny'
  }
}

function callerOfRequest({ peer, trust, alias, scopes }: Request): Caller {
  const caller = callerOf(peer, trust)
  return {
    ...caller,
    ...(alias === undefined ? {} : { alias }),
    credentials: [...caller.credentials, { method: 'oauth', binding: 'dpop', subject: 'c', scopes }]
  }
}

function contextOf({ peer, trust, alias, scopes, action, resource, effects, tags, bytes, now }: Request) {
  return {
    peer,
    rank: TRUST_LEVELS.indexOf(trust),
    scopes,
    act: action,
    res: resource,
    now,
    ...(alias !== undefined && { alias }),
    ...(effects !== undefined && { effects }),
    ...(tags !== undefined && { tags }),
    ...(bytes !== undefined && { bytes })
  }
}

it('decides as Cedar does', () => {
  const seed = Number(process.env['POLICY_SEED'] ?? 20_261_123)
  const documents = fc.sample(rules, { seed, numRuns: POLICIES })
  const seen = { allow: 0, ask: 0, deny: 0 }
  documents.forEach((document, n) => {
    const judge = decideBy(document)
    const oracle = cedarJudge(document)
    for (const asked of fc.sample(request, { seed: seed + n, numRuns: REQUESTS })) {
      const { effects, tags, bytes, action, resource, now } = asked
      const facts: Facts = {
        ...(effects && { effects }),
        ...(tags && { tags }),
        ...(bytes !== undefined && { bytes: () => bytes })
      }
      const { effect } = judge(callerOfRequest(asked), action, resource, { facts, nowMs: now })
      const expected = asked.trust === 'blocked' ? 'deny' : oracle(contextOf(asked))
      if (effect !== expected) {
        throw new Error(`seed ${seed}: ${effect}, Cedar ${expected}: ${JSON.stringify({ document, asked })}`)
      }
      seen[effect]++
    }
  })
  expect(seen.allow + seen.ask + seen.deny).toBe(POLICIES * REQUESTS)
  expect(Math.min(seen.allow, seen.ask, seen.deny)).toBeGreaterThan(1_000)
}, 120_000)
