import { z } from 'zod'
import { ACTIONS, MAX_ALTERNATIVES, MAX_PATTERN_LENGTH, MAX_RULE_ID_LENGTH, MAX_RULES } from './constants.ts'
import { compileGlob } from './glob.ts'

const RULE_EFFECTS = ['allow', 'deny'] as const
export type Effect = (typeof RULE_EFFECTS)[number] | 'ask'

/** Blocked is missing on purpose: no rule can allow a blocked peer anything, and none needs to deny it. */
const WHO = /^(?:\*|12D3KooW[1-9A-HJ-NP-Za-km-z]{44}|level:(?:unknown|known|trusted|owner))$/

const who = z.string().regex(WHO, 'must be *, a PeerId, or level: and one of unknown, known, trusted, owner')
const glob = z.string().min(1).max(MAX_PATTERN_LENGTH)
const act = glob.refine((pattern) => ACTIONS.some(compileGlob(pattern)), {
  error: `fits no action there is; actions are ${ACTIONS.join(', ')}`
})

const oneOrMore = <T extends z.ZodType>(item: T) => z.union([item, z.array(item).min(1).max(MAX_ALTERNATIVES)])

const rule = z.strictObject({
  id: z
    .string()
    .max(MAX_RULE_ID_LENGTH)
    .regex(/^[A-Za-z0-9][A-Za-z0-9._:@/-]*$/, 'must be letters, digits and . _ : @ / -'),
  effect: z.enum(RULE_EFFECTS, {
    error: ({ input }) => (input === 'ask' ? 'ask is not supported by this version; it is allow or deny' : undefined)
  }),
  who: oneOrMore(who).describe('`*`, a PeerId, or `level:<level>` for that level and those above it; a list: any of'),
  act: oneOrMore(act).describe('glob over actions; `*` stands for any run of characters, nothing else is special'),
  res: oneOrMore(glob).describe('glob over resources, `tool:<agent>/<capability>` or `agent:<agent>`')
})

/** What `policy.json` holds. Members it doesn't know are refused, so that a misspelt condition never widens a rule. */
export const policyDocument = z.strictObject({
  v: z.literal(1),
  rules: z
    .array(rule)
    .max(MAX_RULES)
    .superRefine((rules, context) => {
      const seen = new Set<string>()
      rules.forEach(({ id }, index) => {
        if (seen.has(id)) context.addIssue({ code: 'custom', path: [index, 'id'], message: `${id} is used twice` })
        seen.add(id)
      })
    })
})

/**
 * One statement of the owner. Order doesn't matter: any deny that fits wins over every allow, and nothing is allowed that
 * no rule allows.
 */
export interface Rule {
  /** Unique; letters, digits, `.`, `_`, `:`, `@`, `/`, `-`; at most 128. */
  readonly id: string
  readonly effect: 'allow' | 'deny'
  /**
   * `*`, a PeerId, or `level:<trust level>`, which means that level and every one above it, in a deny too; a list means any
   * of them. Blocked callers never match an allow.
   */
  readonly who: string | readonly string[]
  /** Glob over actions; `*` stands for any run of characters, nothing else is special. */
  readonly act: string | readonly string[]
  /** Glob over resources. */
  readonly res: string | readonly string[]
}

export interface PolicyDocument {
  readonly v: 1
  readonly rules: readonly Rule[]
}
