import { z } from 'zod'
import type { Binding } from '../auth/index.ts'
import {
  ACTIONS,
  MAX_ALTERNATIVES,
  MAX_PATTERN_LENGTH,
  MAX_RULE_ID_LENGTH,
  MAX_RULES,
  MAX_WHO_LENGTH,
  MAX_WINDOW_MS,
  MIN_WINDOW_MS
} from './constants.ts'
import { compileGlob } from './glob.ts'
import { DURATION, readDuration, readRate } from './quantities.ts'
import { isTimeZone } from './time.ts'

const EFFECTS = ['allow', 'ask', 'deny'] as const
export type Effect = (typeof EFFECTS)[number]

const RULE_BINDINGS = ['local', 'noise', 'dpop', 'mtls', 'hmac', 'secret', 'none'] as const satisfies readonly Binding[]
const REMEMBER = ['once', 'session', 'duration', 'always'] as const
const CAPABILITY_EFFECTS = ['none', 'read', 'write', 'external'] as const

/** Blocked is missing on purpose: no rule can allow a blocked peer anything, and none needs to deny it. */
const WHO = new RegExp(
  `^(?:${[
    '\\*',
    '12D3KooW[1-9A-HJ-NP-Za-km-z]{44}',
    'level:(?:unknown|known|trusted|owner)',
    'alias:[^\\u0000-\\u001f\\u007f]{1,64}',
    'owner:did:key:z[1-9A-HJ-NP-Za-km-z]{10,200}',
    'scope:[\\x21\\x23-\\x5b\\x5d-\\x7e]{1,256}',
    'issuer:https?://[\\x21-\\x7e]+',
    // Callers at an edge who have proven no PeerId, as `auth` names them
    '(?:api-key|oauth|mtls):[\\x21-\\x7e]+'
  ].join('|')})$`
)

const who = z
  .string()
  .max(MAX_WHO_LENGTH)
  .regex(
    WHO,
    'must be *, a PeerId, or level: and one of unknown, known, trusted, owner, or alias:, owner:did:key:, scope:, issuer:https://, api-key:, oauth: or mtls: and what it names'
  )
const glob = z.string().min(1).max(MAX_PATTERN_LENGTH)
const act = glob.refine((pattern) => ACTIONS.some(compileGlob(pattern)), {
  error: `fits no action there is; actions are ${ACTIONS.join(', ')}`
})

const oneOrMore = <T extends z.ZodType>(item: T) => z.union([item, z.array(item).min(1).max(MAX_ALTERNATIVES)])
const some = <T extends z.ZodType>(item: T) => z.array(item).min(1).max(MAX_ALTERNATIVES)

const CLOCK = /^(?:[01]\d|2[0-3]):[0-5]\d$/
const DAY = '(?:mon|tue|wed|thu|fri|sat|sun)'
const DAYS = new RegExp(`^${DAY}(?:-${DAY})?(?:,${DAY}(?:-${DAY})?)*$`)

const time = z
  .strictObject({
    days: z.string().max(64).regex(DAYS, 'must be days such as mon-fri or sat,sun').exactOptional(),
    from: z.string().regex(CLOCK, 'must be a time such as 08:30').exactOptional(),
    to: z.string().regex(CLOCK, 'must be a time such as 18:00').exactOptional(),
    tz: z.string().max(64).refine(isTimeZone, { error: 'must be a time zone such as Europe/Berlin' }).exactOptional()
  })
  .refine(({ days, from, to }) => days !== undefined || from !== undefined || to !== undefined, {
    error: 'needs days, from or to'
  })
  .refine(({ from = '00:00', to = '24:00' }) => from !== to, { error: 'from and to are the same: it would never fit' })
  .describe('local time of `tz` (default UTC), `from` inclusive, `to` exclusive; `from` after `to` goes over midnight')

const when = z
  .strictObject({
    time: time.exactOptional(),
    maxBytes: z.int().min(0).describe('size of the input as JSON').exactOptional(),
    effects: some(z.enum(CAPABILITY_EFFECTS)).exactOptional(),
    binding: some(z.enum(RULE_BINDINGS)).exactOptional(),
    tags: some(z.string().min(1).max(64)).describe('any of these').exactOptional()
  })
  .refine((conditions) => Object.keys(conditions).length > 0, { error: 'has no condition; leave it out' })

const rate = (unit: 'count' | 'bytes' | 'decimal', pattern: RegExp, example: string) =>
  z
    .string()
    .max(64)
    .regex(pattern, `must be an amount and a window such as ${example}`)
    .refine(
      (text) => {
        const { max, windowMs } = readRate(text, unit)
        return Number.isFinite(max) && max > 0 && windowMs >= MIN_WINDOW_MS && windowMs <= MAX_WINDOW_MS
      },
      { error: 'must be more than nothing, in a window from 1s to 366d' }
    )

const WINDOW = '\\d{1,8}(?:s|m|h|d)'
const limit = z
  .strictObject({
    calls: rate('count', new RegExp(`^\\d{1,12}/${WINDOW}$`), '100/1h').exactOptional(),
    bytes: rate('bytes', new RegExp(`^\\d{1,12}(?:B|KiB|MiB|GiB)?/${WINDOW}$`), '50MiB/1d').exactOptional(),
    concurrent: z.int().min(1).max(100_000).exactOptional(),
    cost: rate('decimal', new RegExp(`^\\d{1,9}(?:\\.\\d{1,6})?/${WINDOW}$`), '5.00/1d').exactOptional(),
    per: z.enum(['caller', 'rule']).exactOptional()
  })
  .refine((quantities) => Object.keys(quantities).some((name) => name !== 'per'), {
    error: 'limits nothing; give calls, bytes, concurrent or cost'
  })

const ask = z.strictObject({
  ttl: z
    .string()
    .regex(DURATION, 'must be a duration such as 10m')
    .refine((text) => readDuration(text) >= 1_000 && readDuration(text) <= 7 * 86_400_000, {
      error: 'must be from 1s to 7d'
    })
    .exactOptional(),
  remember: some(z.enum(REMEMBER)).exactOptional()
})

const rule = z
  .strictObject({
    id: z
      .string()
      .max(MAX_RULE_ID_LENGTH)
      .regex(/^[A-Za-z0-9][A-Za-z0-9._:@/-]*$/, 'must be letters, digits and . _ : @ / -'),
    effect: z.enum(EFFECTS),
    who: oneOrMore(who).describe(
      '`*`, a PeerId, `level:<level>` for that level and those above it, `alias:`, `owner:`, `scope:`, `issuer:`, `api-key:`, `oauth:`, `mtls:`; a list: any of'
    ),
    act: oneOrMore(act).describe('glob over actions; `*` stands for any run of characters, nothing else is special'),
    res: oneOrMore(glob).describe('glob over resources, `tool:<agent>/<capability>` or `agent:<agent>`'),
    when: when.exactOptional(),
    limit: limit.exactOptional(),
    ask: ask.exactOptional(),
    exp: z.iso.datetime({ offset: true, error: 'must be a time such as 2030-01-31T12:00:00Z' }).exactOptional(),
    fallback: z.boolean().describe('speaks only when no rule without it matches').exactOptional()
  })
  .superRefine(({ effect, ...rest }, context) => {
    const misplaced = (member: 'limit' | 'ask', message: string) =>
      context.addIssue({ code: 'custom', path: [member], message })
    if (effect === 'deny' && rest.limit !== undefined) misplaced('limit', 'a deny has no limit')
    if (effect !== 'ask' && rest.ask !== undefined) misplaced('ask', `only a rule with effect ask has it`)
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

/** How an owner's yes may be remembered. */
export type Remember = (typeof REMEMBER)[number]

/** Local time of `tz`, an IANA name, default UTC: from `from` (default 00:00) until before `to` (default midnight). */
export interface TimeWindow {
  /** `mon-fri`, `sat,sun`; default all. Of a window over midnight, the day on which it begins. */
  readonly days?: string
  readonly from?: string
  readonly to?: string
  readonly tz?: string
}

/** All of them must hold. One about something that isn't known fits a deny and an ask, never an allow. */
export interface Conditions {
  readonly time?: TimeWindow
  /** Size of the input as JSON, in bytes. */
  readonly maxBytes?: number
  readonly effects?: readonly (typeof CAPABILITY_EFFECTS)[number][]
  readonly binding?: readonly Binding[]
  /** Any of these. */
  readonly tags?: readonly string[]
}

/** Windows are fixed and begin with the first use. */
export interface Limit {
  /** `100/1h`. */
  readonly calls?: string
  /** Input and output, `50MiB/1d`. */
  readonly bytes?: string
  readonly concurrent?: number
  /** In the agents' unit, `5.00/1d`. */
  readonly cost?: string
  /** Counted for each caller, or for all of them together; default caller. */
  readonly per?: 'caller' | 'rule'
}

/**
 * One statement of the owner. Order doesn't matter: deny wins over ask, ask over allow, and nothing is allowed that no rule
 * allows.
 */
export interface Rule {
  /** Unique; letters, digits, `.`, `_`, `:`, `@`, `/`, `-`; at most 128. */
  readonly id: string
  readonly effect: Effect
  /**
   * `*`, a PeerId, `level:<trust level>` (that level and every one above it, in a deny too), `alias:<name>`,
   * `owner:<did:key>`, `scope:<scope>`, `issuer:<URL>`; a list means any of them. Blocked callers never match an allow.
   */
  readonly who: string | readonly string[]
  /** Glob over actions; `*` stands for any run of characters, nothing else is special. */
  readonly act: string | readonly string[]
  /** Glob over resources. */
  readonly res: string | readonly string[]
  readonly when?: Conditions
  /** Not of a deny. */
  readonly limit?: Limit
  /** Of an ask only: how long the owner has (default `10m`) and how a yes may be remembered (default all). */
  readonly ask?: { readonly ttl?: string; readonly remember?: readonly Remember[] }
  /** RFC 3339; the rule says nothing from then on. */
  readonly exp?: string
  /** True: it speaks only when no rule without it matches. */
  readonly fallback?: boolean
}

export interface PolicyDocument {
  readonly v: 1
  readonly rules: readonly Rule[]
}

export const ALL_REMEMBER: readonly Remember[] = REMEMBER
