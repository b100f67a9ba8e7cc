import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { MAX_CACHED_VERDICTS, MAX_RULES, MAX_SHOWN_LENGTH } from './constants.ts'
import { createDocument, INITIAL_DOCUMENT, parseRules, readDocument, writeDocument } from './document.ts'
import type { AuditLog, Decision, Explanation, Policy, PolicyInit, PolicyRequest } from './index.ts'
import { type Limits, openLimits } from './limits.ts'
import type { PolicyDocument, Rule } from './messages.ts'
import { createRuleSet, NO_FACTS, type Question, type RuleSet } from './rules.ts'

interface CallerVerdicts {
  size: number
  readonly byAction: Map<string, Map<string, Verdict>>
}

/** What is known of a question, and the audit row of its last decision: the same one comes again and again. */
interface Verdict {
  readonly question: Question
  last?: Decision
  row: string
}

/**
 * Loads the owner's rules.
 *
 * @throws {MeshError} INVALID_CONFIG saying what is wrong with the file and where, IO when it can't be read or made
 */
export async function openPolicy(init: PolicyInit): Promise<Policy> {
  const { path, audit, store, onLimit = () => {}, clock = Date.now } = init
  const document = path === undefined ? INITIAL_DOCUMENT : ((await readDocument(path)) ?? (await createDocument(path)))
  return new RulePolicy(document, { path, audit, clock, limits: openLimits({ store, clock, onLimit }) })
}

interface PolicyComponents {
  readonly path: string | undefined
  readonly audit: AuditLog | undefined
  readonly clock: () => number
  readonly limits: Limits
}

class RulePolicy implements Policy {
  readonly #path: string | undefined
  readonly #audit: AuditLog | undefined
  readonly #clock: () => number
  readonly #limits: Limits
  #document: PolicyDocument
  #rules: RuleSet
  #verdicts = new WeakMap<Caller, CallerVerdicts>()
  #lastChange: Promise<void> = Promise.resolve()

  constructor(document: PolicyDocument, { path, audit, clock, limits }: PolicyComponents) {
    this.#document = document
    this.#rules = createRuleSet(document.rules)
    this.#path = path
    this.#audit = audit
    this.#clock = clock
    this.#limits = limits
  }

  get document(): PolicyDocument {
    return this.#document
  }

  readonly problem = undefined

  decide(request: PolicyRequest): Decision {
    const verdict = this.#verdictOf(request)
    const decision = this.#answer(verdict, request)
    if (this.#audit === undefined) return decision
    if (verdict.last !== decision) {
      verdict.last = decision
      verdict.row = auditRow(request, decision)
    }
    this.#audit.append(verdict.row)
    return decision
  }

  judge(request: PolicyRequest): Decision {
    return this.#answer(this.#verdictOf(request), request)
  }

  reserve({ limited }: Decision, { caller, facts }: PolicyRequest): ReturnType<Policy['reserve']> {
    if (limited === undefined || caller.trust === 'owner') return undefined
    const needsBytes = limited.some(({ limit }) => limit?.bytes !== undefined)
    return this.#limits.take(limited, caller, needsBytes ? (facts?.bytes?.() ?? 0) : 0)
  }

  explain(request: PolicyRequest): Explanation {
    const { caller, action, resource, facts = NO_FACTS } = request
    const looked = this.#rules.look({ caller, action, resource }, facts, this.#clock())
    const trace = looked.map(({ rule, failed }) => ({
      rule,
      matched: failed === undefined,
      ...(failed === undefined ? {} : { failed }),
      ...(rule.limit === undefined ? {} : { limits: this.#limits.usage(rule, caller) })
    }))
    return { decision: this.judge(request), trace }
  }

  async stop(): Promise<void> {
    await this.#limits.stop()
  }

  async put(rules: readonly Rule[]): Promise<void> {
    const added = parseRules(rules)
    const ids = new Set(added.map(({ id }) => id))
    await this.#change((present) => [...present.filter(({ id }) => !ids.has(id)), ...added])
  }

  async remove(ids: readonly string[]): Promise<void> {
    await this.#change((present) => present.filter(({ id }) => !ids.includes(id)))
  }

  /** One change at a time, each on what the file holds now: the owner may have edited it. */
  async #change(edit: (rules: readonly Rule[]) => readonly Rule[]): Promise<void> {
    const change = this.#lastChange.then(async () => {
      const present = this.#path === undefined ? this.#document : await readDocument(this.#path)
      if (present === undefined) {
        throw new MeshError('INVALID_CONFIG', `${this.#path} is gone`, { hint: 'restart the node to get a new one' })
      }
      const rules = edit(present.rules)
      if (rules.length > MAX_RULES) throw new MeshError('INVALID_ARGUMENT', `a policy has at most ${MAX_RULES} rules`)
      const document: PolicyDocument = { v: 1, rules }
      if (this.#path !== undefined) await writeDocument(this.#path, document)
      this.#apply(document)
    })
    this.#lastChange = change.catch(() => {})
    await change
  }

  #apply(document: PolicyDocument): void {
    this.#document = document
    this.#rules = createRuleSet(document.rules)
    this.#verdicts = new WeakMap()
  }

  #answer({ question }: Verdict, { facts = NO_FACTS }: PolicyRequest): Decision {
    return typeof question === 'function' ? question(facts, this.#clock()) : question
  }

  #verdictOf({ caller, action, resource }: PolicyRequest): Verdict {
    const known = this.#verdicts.get(caller)?.byAction.get(action)?.get(resource)
    if (known !== undefined) return known
    const verdict = { question: this.#rules.ask({ caller, action, resource }), row: '' }
    if (action.length <= MAX_SHOWN_LENGTH && resource.length <= MAX_SHOWN_LENGTH) {
      this.#remember({ caller, action, resource }, verdict)
    }
    return verdict
  }

  #remember({ caller, action, resource }: PolicyRequest, verdict: Verdict): void {
    let verdicts = this.#verdicts.get(caller)
    if (verdicts === undefined || verdicts.size >= MAX_CACHED_VERDICTS) {
      verdicts = { size: 0, byAction: new Map() }
      this.#verdicts.set(caller, verdicts)
    }
    const byResource = verdicts.byAction.get(action) ?? new Map<string, Verdict>()
    verdicts.byAction.set(action, byResource.set(resource, verdict))
    verdicts.size++
  }
}

function auditRow({ caller, action, resource }: PolicyRequest, { effect, rules }: Decision): string {
  const cut = (text: string) => text.slice(0, MAX_SHOWN_LENGTH)
  return JSON.stringify({ peer: cut(caller.peer), action: cut(action), resource: cut(resource), effect, rules })
}
