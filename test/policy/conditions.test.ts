import { describe, expect, it } from 'vitest'
import type { Binding, Caller } from '../../src/auth/index.ts'
import type { Conditions, Facts, Rule } from '../../src/policy/index.ts'
import { ALICE, callerOf, decideBy } from './callers.ts'

const OWNER = 'did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK'
const ISSUER = 'https://login.example.com'

const rule = (id: string, effect: Rule['effect'], rest: Partial<Rule> = {}): Rule => ({
  id,
  effect,
  who: '*',
  act: 'tool.call',
  res: 'tool:fs/*',
  ...rest
})

const at = (text: string): number => Date.parse(text)

function effectOf(rules: readonly Rule[], facts: Facts = {}, nowMs = 0, caller: Caller = callerOf(ALICE)) {
  return decideBy(rules)(caller, 'tool.call', 'tool:fs/read', { facts, nowMs }).effect
}

describe('a condition', () => {
  it.each<{ id: string; when: Conditions; fits: Facts; not: Facts }>([
    { id: 'maxBytes', when: { maxBytes: 10 }, fits: { bytes: () => 10 }, not: { bytes: () => 11 } },
    { id: 'effects', when: { effects: ['none', 'read'] }, fits: { effects: 'read' }, not: { effects: 'write' } },
    { id: 'tags', when: { tags: ['a', 'b'] }, fits: { tags: ['x', 'b'] }, not: { tags: ['x'] } }
  ])('on $id holds or not, and fails closed when nothing is known', ({ when, fits, not }) => {
    const allowing = [rule('a', 'allow', { when })]
    const denying = [rule('a', 'allow'), rule('d', 'deny', { when })]
    const asking = [rule('a', 'allow'), rule('q', 'ask', { when })]
    expect([fits, not, {}].map((facts) => effectOf(allowing, facts))).toEqual(['allow', 'deny', 'deny'])
    expect([fits, not, {}].map((facts) => effectOf(denying, facts))).toEqual(['deny', 'allow', 'deny'])
    expect([fits, not, {}].map((facts) => effectOf(asking, facts))).toEqual(['ask', 'allow', 'ask'])
  })

  it('on the size asks for it once, and only when a rule that fits has to know', () => {
    let asked = 0
    const facts = { bytes: () => (asked++, 5) }
    const sized = (id: string, res: string) => rule(id, 'allow', { res, when: { maxBytes: 10 } })
    expect(effectOf([rule('a', 'allow'), sized('b', 'tool:x/*')], facts)).toBe('allow')
    expect(asked).toBe(0)
    expect(effectOf([sized('a', '*'), sized('b', '*')], facts)).toBe('allow')
    expect(asked).toBe(1)
  })

  it('ends with the expiry of its rule', () => {
    const rules = [rule('a', 'allow', { exp: '2026-03-01T12:00:00+01:00' })]
    expect(effectOf(rules, {}, at('2026-03-01T10:59:59.999Z'))).toBe('allow')
    expect(effectOf(rules, {}, at('2026-03-01T11:00:00Z'))).toBe('deny')
  })

  it.each([
    { time: { from: '09:00', to: '17:00', tz: 'Europe/Berlin' }, now: '2026-03-28T08:00:00Z', fits: true },
    { time: { from: '09:00', to: '17:00', tz: 'Europe/Berlin' }, now: '2026-03-28T07:59:00Z', fits: false },
    // Summer time began in between
    { time: { from: '09:00', to: '17:00', tz: 'Europe/Berlin' }, now: '2026-03-29T07:00:00Z', fits: true },
    { time: { from: '09:00', to: '17:00', tz: 'Europe/Berlin' }, now: '2026-03-29T15:00:00Z', fits: false },
    { time: { from: '09:00', to: '17:00', tz: 'Europe/Berlin' }, now: '2026-10-25T08:00:00Z', fits: true },
    // The hour that is there twice
    { time: { from: '02:00', to: '03:00', tz: 'Europe/Berlin' }, now: '2026-10-25T00:30:00Z', fits: true },
    { time: { from: '02:00', to: '03:00', tz: 'Europe/Berlin' }, now: '2026-10-25T01:30:00Z', fits: true },
    { time: { from: '02:00', to: '03:00', tz: 'Europe/Berlin' }, now: '2026-10-25T02:00:00Z', fits: false },
    { time: { days: 'mon-fri' }, now: '2026-11-20T23:59:00Z', fits: true },
    { time: { days: 'mon-fri' }, now: '2026-11-21T00:00:00Z', fits: false },
    { time: { days: 'sat-mon,wed' }, now: '2026-11-23T12:00:00Z', fits: true },
    { time: { days: 'sat-mon,wed' }, now: '2026-11-24T12:00:00Z', fits: false },
    // Over midnight the day is that of the evening
    { time: { days: 'fri', from: '22:00', to: '06:00' }, now: '2026-11-20T22:00:00Z', fits: true },
    { time: { days: 'fri', from: '22:00', to: '06:00' }, now: '2026-11-21T05:59:00Z', fits: true },
    { time: { days: 'fri', from: '22:00', to: '06:00' }, now: '2026-11-21T06:00:00Z', fits: false },
    { time: { days: 'fri', from: '22:00', to: '06:00' }, now: '2026-11-20T05:00:00Z', fits: false },
    { time: { days: 'fri', from: '22:00', to: '06:00' }, now: '2026-11-21T23:00:00Z', fits: false }
  ])('on the time $time at $now: $fits', ({ time, now, fits }) => {
    expect(effectOf([rule('a', 'allow', { when: { time } })], {}, at(now))).toBe(fits ? 'allow' : 'deny')
  })
})

describe('who', () => {
  const withToken = (binding: Binding): Caller => ({
    ...callerOf(ALICE),
    alias: 'bob',
    owner: OWNER,
    credentials: [
      ...callerOf(ALICE).credentials,
      { method: 'oauth', binding, subject: 'client', issuer: ISSUER, scopes: ['files:read'] }
    ]
  })

  it.each(['alias:bob', `owner:${OWNER}`, 'scope:files:read', `issuer:${ISSUER}`])('%s is that caller alone', (who) => {
    const rules = [rule('a', 'allow', { who })]
    expect(effectOf(rules, {}, 0, withToken('dpop'))).toBe('allow')
    expect(effectOf(rules, {}, 0, callerOf(ALICE))).toBe('deny')
    expect(effectOf([rule('a', 'allow', { who: `${who}x` })], {}, 0, withToken('dpop'))).toBe('deny')
    expect(effectOf(rules, {}, 0, { ...withToken('dpop'), trust: 'blocked' })).toBe('deny')
  })

  it('a plain bearer token lets nothing pass unless a rule lists it, and escapes no deny', () => {
    const who = 'scope:files:read'
    expect(effectOf([rule('a', 'allow', { who })], {}, 0, withToken('none'))).toBe('deny')
    expect(effectOf([rule('a', 'ask', { who })], {}, 0, withToken('none'))).toBe('deny')
    const listed = rule('a', 'allow', { who, when: { binding: ['none'] } })
    expect(effectOf([listed], {}, 0, withToken('none'))).toBe('allow')
    expect(effectOf([listed], {}, 0, withToken('dpop'))).toBe('deny')
    expect(effectOf([listed, rule('d', 'deny', { who })], {}, 0, withToken('none'))).toBe('deny')
    const bearer: Caller = { ...withToken('none'), binding: 'none' }
    expect(effectOf([rule('a', 'allow')], {}, 0, bearer)).toBe('deny')
    expect(effectOf([listed, rule('d', 'deny')], {}, 0, bearer)).toBe('deny')
  })

  it('a denied caller learns which scope would help, unless a rule spoke', () => {
    const scoped = rule('a', 'allow', { who: ['scope:b', 'scope:a'] })
    const missing = (rules: Rule[]) => decideBy(rules)(callerOf(ALICE), 'tool.call', 'tool:fs/read').missingScopes
    expect(missing([scoped])).toEqual(['a', 'b'])
    expect(missing([scoped, rule('q', 'ask', { fallback: true })])).toEqual(['a', 'b'])
    expect(missing([scoped, rule('q', 'ask')])).toBeUndefined()
    expect(missing([scoped, rule('d', 'deny')])).toBeUndefined()
    expect(missing([scoped, rule('o', 'allow')])).toBeUndefined()
    expect(missing([{ ...scoped, res: 'tool:other/*' }])).toBeUndefined()
  })
})

describe('the order', () => {
  it.each<{ id: string; rules: Rule[]; effect: string }>([
    { id: 'ask wins over allow', rules: [rule('a', 'allow'), rule('q', 'ask')], effect: 'ask' },
    { id: 'deny wins over ask', rules: [rule('q', 'ask'), rule('d', 'deny')], effect: 'deny' },
    {
      id: 'a fallback is silent when another spoke',
      rules: [rule('a', 'allow'), rule('d', 'deny', { fallback: true })],
      effect: 'allow'
    },
    {
      id: 'a fallback speaks when no other fits',
      rules: [rule('a', 'allow', { who: 'level:owner' }), rule('q', 'ask', { fallback: true })],
      effect: 'ask'
    },
    {
      id: 'among fallbacks deny wins too',
      rules: [rule('q', 'ask', { fallback: true }), rule('d', 'deny', { fallback: true })],
      effect: 'deny'
    }
  ])('$id', ({ rules, effect }) => {
    expect(effectOf(rules)).toBe(effect)
    expect(effectOf(rules.toReversed())).toBe(effect)
  })

  it('a question has the shortest time and what all that ask let be remembered', () => {
    const decide = (rules: Rule[]) => decideBy(rules)(callerOf(ALICE), 'tool.call', 'tool:fs/read').ask
    expect(decide([rule('q', 'ask')])).toEqual({ ttlMs: 600_000, remember: ['once', 'session', 'duration', 'always'] })
    const short = rule('r', 'ask', { ask: { ttl: '30s', remember: ['always', 'session'] } })
    expect(decide([rule('q', 'ask'), short])).toEqual({ ttlMs: 30_000, remember: ['session', 'always'] })
    const other = rule('s', 'ask', { ask: { remember: ['duration'] } })
    expect(decide([short, other])).toEqual({ ttlMs: 30_000, remember: ['once'] })
  })
})
