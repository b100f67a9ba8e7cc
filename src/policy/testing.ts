import { z } from 'zod'
import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { problemsOf } from './document.ts'
import type { Facts } from './index.ts'
import { type Effect, type PolicyDocument, policyDocument } from './messages.ts'
import { createRuleSet } from './rules.ts'

/** @returns what is wrong with the text of a policy file, with the place of each; empty when it is good */
export function checkPolicy(text: string): readonly string[] {
  const json = readJson(text)
  if (typeof json === 'string') return [json]
  const parsed = policyDocument.safeParse(json.value)
  return parsed.success ? [] : problemsOf(parsed.error.issues)
}

function readJson(text: string): { readonly value: unknown } | string {
  try {
    return { value: JSON.parse(text) }
  } catch (err) {
    return `is not JSON: ${err instanceof Error ? err.message : String(err)}`
  }
}

const EFFECT = z.enum(['allow', 'ask', 'deny'])
const BINDING = z.enum(['local', 'noise', 'dpop', 'mtls', 'hmac', 'secret', 'none'])

const policyTest = z.strictObject({
  given: z.strictObject({
    caller: z.strictObject({
      peer: z.string().default('12D3KooWTest'),
      level: z.enum(['blocked', 'unknown', 'known', 'trusted', 'owner']).default('unknown'),
      alias: z.string().exactOptional(),
      owner: z.string().exactOptional(),
      scopes: z.array(z.string()).default([]),
      issuer: z.string().exactOptional(),
      binding: BINDING.default('noise')
    }),
    action: z.string(),
    resource: z.string(),
    effects: z.enum(['none', 'read', 'write', 'external']).exactOptional(),
    tags: z.array(z.string()).exactOptional(),
    bytes: z.int().min(0).exactOptional(),
    at: z.iso.datetime({ offset: true }).exactOptional()
  }),
  expect: z.union([EFFECT, z.strictObject({ effect: EFFECT, rules: z.array(z.string()).exactOptional() })])
})
type PolicyTest = z.output<typeof policyTest>

const policyTests = z.strictObject({
  policy: z.union([z.string(), policyDocument]).exactOptional(),
  cases: z.array(policyTest).min(1)
})

/** A file of questions and the answers that the owner expects. */
export interface PolicyTests {
  /** A path, from the folder of the file, or the rules themselves; absent: those of the home. */
  readonly policy?: string | PolicyDocument
  readonly cases: readonly PolicyTest[]
}

/** @throws {MeshError} INVALID_ARGUMENT saying what is wrong with the file and where */
export function readPolicyTests(text: string): PolicyTests {
  const json = readJson(text)
  if (typeof json === 'string') throw new MeshError('INVALID_ARGUMENT', `the test file ${json}`)
  const parsed = policyTests.safeParse(json.value)
  if (parsed.success) return parsed.data
  throw new MeshError('INVALID_ARGUMENT', `the test file: ${problemsOf(parsed.error.issues).join('; ')}`)
}

interface Answer {
  readonly effect: Effect
  readonly rules?: readonly string[]
}

export interface PolicyTestResult {
  readonly ok: boolean
  readonly expected: Answer
  readonly found: Required<Answer>
  readonly reason: string
}

/**
 * Answers each case by the rules alone, without limits.
 *
 * @param nowMs for cases that don't say when, milliseconds since 1970
 */
export function testPolicy(
  { rules }: PolicyDocument,
  cases: readonly PolicyTest[],
  nowMs: number
): readonly PolicyTestResult[] {
  const set = createRuleSet(rules)
  return cases.map(({ given, expect }) => {
    const { action, resource, at } = given
    const question = set.ask({ caller: callerOf(given.caller), action, resource })
    const moment = at === undefined ? nowMs : Date.parse(at)
    const decision = typeof question === 'function' ? question(factsOf(given), moment) : question
    const expected = typeof expect === 'string' ? { effect: expect } : expect
    const wanted = expected.rules && [...expected.rules].sort().join(' ')
    const isAsExpected =
      decision.effect === expected.effect && (wanted === undefined || wanted === decision.rules.join(' '))
    return {
      ok: isAsExpected,
      expected,
      found: { effect: decision.effect, rules: decision.rules },
      reason: decision.reason
    }
  })
}

function factsOf({ effects, tags, bytes }: PolicyTest['given']): Facts {
  return { ...(effects && { effects }), ...(tags && { tags }), ...(bytes !== undefined && { bytes: () => bytes }) }
}

function callerOf({ peer, level, alias, owner, scopes, issuer, binding }: PolicyTest['given']['caller']): Caller {
  const isByToken = issuer !== undefined || scopes.length > 0
  return {
    peer,
    trust: level,
    binding: isByToken ? 'noise' : binding,
    ...(alias === undefined ? {} : { alias }),
    ...(owner === undefined ? {} : { owner }),
    credentials: isByToken
      ? [
          {
            method: 'oauth',
            binding,
            subject: peer,
            scopes,
            ...(issuer === undefined ? {} : { issuer })
          }
        ]
      : []
  }
}
