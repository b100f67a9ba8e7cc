import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { TRUST_LEVELS, type TrustLevel } from '../../src/auth/index.ts'
import type { Rule } from '../../src/policy/index.ts'
import { ACTIONS } from '../../src/policy/index.ts'
import { ALICE, BOB, callerOf, decideBy } from './callers.ts'

const rule = (id: string, effect: Rule['effect'], rest: Partial<Rule> = {}): Rule => ({
  id,
  effect,
  who: '*',
  act: 'tool.call',
  res: 'tool:fs/*',
  ...rest
})

describe('deciding', () => {
  it.each<{ id: string; rules: Rule[]; peer?: string; trust?: TrustLevel; effect: string; by: string[] }>([
    { id: 'nothing is allowed without a rule', rules: [], effect: 'deny', by: [] },
    { id: 'not even to the owner', rules: [], trust: 'owner', effect: 'deny', by: [] },
    { id: 'an allow that fits allows', rules: [rule('a', 'allow')], effect: 'allow', by: ['a'] },
    { id: 'a deny wins over an allow', rules: [rule('a', 'allow'), rule('b', 'deny')], effect: 'deny', by: ['b'] },
    {
      id: 'a general deny wins over an exact allow',
      rules: [rule('a', 'allow', { who: ALICE }), rule('b', 'deny', { act: '*', res: '*' })],
      effect: 'deny',
      by: ['b']
    },
    {
      id: 'all rules that agree are named in order',
      rules: [rule('b', 'allow'), rule('a', 'allow')],
      effect: 'allow',
      by: ['a', 'b']
    },
    { id: 'another action does not fit', rules: [rule('a', 'allow', { act: 'skill.call' })], effect: 'deny', by: [] },
    {
      id: 'another resource does not fit',
      rules: [rule('a', 'allow', { res: 'tool:shell/*' })],
      effect: 'deny',
      by: []
    },
    {
      id: 'one of several actions fits',
      rules: [rule('a', 'allow', { act: ['skill.call', 'tool.*'] })],
      effect: 'allow',
      by: ['a']
    },
    {
      id: 'one of several resources fits',
      rules: [rule('a', 'allow', { res: ['tool:x/*', '*read'] })],
      effect: 'allow',
      by: ['a']
    },
    { id: 'a peer is named', rules: [rule('a', 'allow', { who: ALICE })], effect: 'allow', by: ['a'] },
    { id: 'another peer is not', rules: [rule('a', 'allow', { who: ALICE })], peer: BOB, effect: 'deny', by: [] },
    {
      id: 'a list of peers',
      rules: [rule('a', 'allow', { who: [ALICE, BOB] })],
      peer: BOB,
      effect: 'allow',
      by: ['a']
    },
    {
      id: 'a level fits itself',
      rules: [rule('a', 'allow', { who: 'level:known' })],
      trust: 'known',
      effect: 'allow',
      by: ['a']
    },
    {
      id: 'a level fits those above',
      rules: [rule('a', 'allow', { who: 'level:known' })],
      trust: 'owner',
      effect: 'allow',
      by: ['a']
    },
    {
      id: 'a level does not fit those below',
      rules: [rule('a', 'allow', { who: 'level:known' })],
      trust: 'unknown',
      effect: 'deny',
      by: []
    },
    {
      id: 'of several levels the lowest counts',
      rules: [rule('a', 'allow', { who: ['level:owner', 'level:known'] })],
      trust: 'trusted',
      effect: 'allow',
      by: ['a']
    },
    {
      id: 'a peer or a level',
      rules: [rule('a', 'allow', { who: ['level:owner', ALICE] })],
      effect: 'allow',
      by: ['a']
    },
    {
      id: 'a denied level includes the owner',
      rules: [rule('a', 'allow'), rule('b', 'deny', { who: 'level:known' })],
      trust: 'owner',
      effect: 'deny',
      by: ['b']
    },
    {
      id: 'a blocked peer matches no allow by star',
      rules: [rule('a', 'allow')],
      trust: 'blocked',
      effect: 'deny',
      by: []
    },
    {
      id: 'a blocked peer matches no allow by name',
      rules: [rule('a', 'allow', { who: ALICE })],
      trust: 'blocked',
      effect: 'deny',
      by: []
    }
  ])('$id', ({ rules, peer = ALICE, trust = 'unknown', effect, by }) => {
    expect(decideBy(rules)(callerOf(peer, trust), 'tool.call', 'tool:fs/read')).toMatchObject({ effect, rules: by })
  })
})

describe('the reason', () => {
  const judge = decideBy([
    rule('no-shell', 'deny', { res: 'tool:shell/*' }),
    rule('reads', 'allow', { res: 'tool:fs/read' })
  ])
  const many = decideBy(['a', 'b', 'c', 'd', 'e'].map((id) => rule(id, 'deny')))

  it.each([
    {
      id: 'names the rule that denies',
      action: 'tool.call',
      resource: 'tool:shell/run',
      reason: 'rule no-shell denies tool.call on tool:shell/run'
    },
    {
      id: 'names the rule that allows',
      action: 'tool.call',
      resource: 'tool:fs/read',
      reason: 'rule reads allows tool.call on tool:fs/read'
    },
    {
      id: 'names the command that would allow it',
      action: 'tool.call',
      resource: 'tool:fs/write',
      reason: `no rule allows tool.call on tool:fs/write for ${ALICE}; its owner can: pryx-mesh agents update fs --allow ${ALICE}`
    },
    {
      id: 'points to the file where no command would do',
      action: 'record.read',
      resource: 'agent:fs',
      reason: `no rule allows record.read on agent:fs for ${ALICE}; its owner can add a rule to policy.json`
    },
    {
      id: 'never makes a command of a name that a shell would run',
      action: 'tool.call',
      resource: 'tool:$(reboot)/x',
      reason: `no rule allows tool.call on tool:$(reboot)/x for ${ALICE}; its owner can add a rule to policy.json`
    },
    {
      id: 'shows no control characters',
      action: 'tool.call',
      resource: 'x\u001b[2J\u202e',
      reason: `no rule allows tool.call on x?[2J? for ${ALICE}; its owner can add a rule to policy.json`
    }
  ])('$id', ({ action, resource, reason }) => {
    expect(judge(callerOf(ALICE), action, resource).reason).toBe(reason)
  })

  it('says that a caller is blocked', () => {
    expect(judge(callerOf(ALICE, 'blocked'), 'tool.call', 'tool:fs/read').reason).toBe(
      `${ALICE} is blocked by the owner`
    )
  })

  it('names at most three rules', () => {
    expect(many(callerOf(ALICE), 'tool.call', 'tool:fs/x').reason).toBe(
      'rules a, b, c and 2 more deny tool.call on tool:fs/x'
    )
  })

  it('is bounded whatever a peer asks for', () => {
    const { reason } = judge(callerOf(ALICE), 'a'.repeat(100_000), 'r'.repeat(100_000))
    expect(reason.length).toBeLessThan(1_000)
  })
})

const WIDTH = { deny: 0, ask: 1, allow: 2 }

describe('for any rules and any request', () => {
  const names = fc.constantFrom('fs', 'shell')
  const glob = fc.constantFrom('*', 'tool:*', 'tool:fs/*', 'tool:shell/*', 'tool:fs/read', '*/read', 'agent:*')
  const who = fc.constantFrom('*', ALICE, BOB, 'level:unknown', 'level:known', 'level:trusted', 'level:owner')
  const oneOrMore = <T>(item: fc.Arbitrary<T>) => fc.oneof(item, fc.array(item, { minLength: 1, maxLength: 3 }))
  const body = fc.record({
    effect: fc.constantFrom<Rule['effect']>('allow', 'ask', 'deny'),
    who: oneOrMore(who),
    act: oneOrMore(fc.constantFrom('*', '*.call', ...ACTIONS)),
    res: oneOrMore(glob)
  })
  const ruleSet = fc
    .array(body, { maxLength: 12 })
    .map((bodies) => bodies.map((rest, n): Rule => ({ id: `r${n}`, ...rest })))
  const resource = fc.oneof(
    fc.tuple(names, fc.constantFrom('read', 'write')).map(([agent, name]) => `tool:${agent}/${name}`),
    names.map((agent) => `agent:${agent}`)
  )
  const request = fc.record({
    caller: fc
      .tuple(fc.constantFrom(ALICE, BOB), fc.constantFrom(...TRUST_LEVELS))
      .map(([peer, trust]) => callerOf(peer, trust)),
    action: fc.constantFrom(...ACTIONS),
    resource
  })
  type Request = typeof request extends fc.Arbitrary<infer T> ? T : never
  const decide = (rules: readonly Rule[], { caller, action, resource: res }: Request) =>
    decideBy(rules)(caller, action, res)

  it('their order never matters', () => {
    const shuffled = ruleSet.chain((rules) =>
      fc.tuple(fc.constant(rules), fc.shuffledSubarray(rules, { minLength: rules.length }))
    )
    fc.assert(
      fc.property(shuffled, request, ([rules, other], asked) => {
        expect(decide(other, asked)).toEqual(decide(rules, asked))
      }),
      { numRuns: 1_000 }
    )
  })

  it('one more deny never widens', () => {
    fc.assert(
      fc.property(ruleSet, body, request, (rules, extra, asked) => {
        const before = decide(rules, asked).effect
        const after = decide([...rules, { id: 'extra', ...extra, effect: 'deny' }], asked).effect
        expect(WIDTH[after]).toBeLessThanOrEqual(WIDTH[before])
      }),
      { numRuns: 1_000 }
    )
  })

  it('one more allow never lifts a deny by rule', () => {
    fc.assert(
      fc.property(ruleSet, body, request, (rules, extra, asked) => {
        const before = decide(rules, asked)
        const after = decide([...rules, { id: 'extra', ...extra, effect: 'allow' }], asked)
        const isDeniedByRule = before.effect === 'deny' && before.rules.length > 0
        expect(isDeniedByRule ? after : before).toEqual(before)
        expect(['allow', before.effect]).toContain(after.effect)
      }),
      { numRuns: 1_000 }
    )
  })

  it('a rule for something else changes nothing', () => {
    fc.assert(
      fc.property(ruleSet, body, request, (rules, extra, asked) => {
        expect(decide([...rules, { id: 'a', ...extra, res: 'tool:elsewhere/*' }], asked)).toEqual(decide(rules, asked))
      }),
      { numRuns: 1_000 }
    )
  })

  it('the decision depends on the rules and the request alone', () => {
    fc.assert(
      fc.property(ruleSet, fc.array(request, { maxLength: 10 }), request, (rules, earlier, asked) => {
        const judge = decideBy(rules)
        for (const { caller, action, resource: res } of earlier) judge(caller, action, res)
        const copy = structuredClone(asked)
        expect(judge(asked.caller, asked.action, asked.resource)).toEqual(decide(structuredClone(rules), copy))
      }),
      { numRuns: 500 }
    )
  })

  it('nothing is allowed without a rule that says so', () => {
    fc.assert(
      fc.property(ruleSet, request, (rules, asked) => {
        const decision = decide(rules, asked)
        const effects = rules.filter(({ id }) => decision.rules.includes(id)).map(({ effect }) => effect)
        expect(effects).toHaveLength(decision.rules.length)
        expect(decision.effect === 'deny' || effects.length > 0).toBe(true)
        expect(effects.every((effect) => effect === decision.effect)).toBe(true)
      }),
      { numRuns: 1_000 }
    )
  })
})
