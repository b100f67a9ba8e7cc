import { join, parse } from 'node:path'
import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { MAX_CACHED_VERDICTS, MAX_RULES, MAX_SHOWN_LENGTH } from './constants.ts'
import {
  createDocument,
  INITIAL_DOCUMENT,
  type Loaded,
  mustBeThere,
  parseRules,
  readDocument,
  writeDocument
} from './document.ts'
import type { AuditLog, Decision, Explanation, Policy, PolicyInit, PolicyRequest } from './index.ts'
import { type Limits, openLimits } from './limits.ts'
import type { PolicyDocument, Rule } from './messages.ts'
import { createRuleSet, NO_FACTS, type Question, type RuleSet } from './rules.ts'
import { type Watching, watchFiles } from './watch.ts'

interface CallerVerdicts {
  size: number
  readonly byAction: Map<string, Map<string, Verdict>>
}

/** What is known of a question, and the audit row of its last decision: the same one comes again and again. */
interface Verdict {
  readonly question: Question
  /** What the shadow's rules say to it. */
  readonly shadow: Question | undefined
  last: Decision | undefined
  lastShadow: Decision | undefined
  row: string
}

/**
 * Loads the owner's rules.
 *
 * @throws {MeshError} INVALID_CONFIG saying what is wrong with the file and where, IO when it can't be read or made
 */
export async function openPolicy(init: PolicyInit): Promise<Policy> {
  const { path, audit, store, onReload = () => {}, onLimit = () => {}, clock = Date.now } = init
  const file = path === undefined ? undefined : ((await readDocument(path)) ?? (await createDocument(path)))
  const limits = openLimits({ store, clock, onLimit })
  const policy = new RulePolicy(file, { path, audit, clock, limits, onReload })
  await policy.start()
  return policy
}

interface PolicyComponents {
  readonly path: string | undefined
  readonly audit: AuditLog | undefined
  readonly clock: () => number
  readonly limits: Limits
  readonly onReload: (problem: MeshError | undefined) => void
}

class RulePolicy implements Policy {
  readonly #path: string | undefined
  readonly #audit: AuditLog | undefined
  readonly #clock: () => number
  readonly #limits: Limits
  readonly #onReload: (problem: MeshError | undefined) => void
  /** What the rules in force were read from. */
  #text: string | undefined
  #document: PolicyDocument
  #rules: RuleSet
  #shadow: RuleSet | undefined
  #problem: MeshError | undefined
  #verdicts = new WeakMap<Caller, CallerVerdicts>()
  #lastChange: Promise<void> = Promise.resolve()
  #watching: Watching | undefined

  constructor(loaded: Loaded | undefined, { path, audit, clock, limits, onReload }: PolicyComponents) {
    this.#document = loaded?.document ?? INITIAL_DOCUMENT
    this.#text = loaded?.text
    this.#rules = createRuleSet(this.#document.rules)
    this.#path = path
    this.#audit = audit
    this.#clock = clock
    this.#limits = limits
    this.#onReload = onReload
  }

  async start(): Promise<void> {
    const path = this.#path
    if (path === undefined) return
    const shadowPath = shadowPathOf(path)
    await this.#readShadow(shadowPath)
    this.#watching = watchFiles([path, shadowPath], (changed) => {
      // Neither fails: what is wrong with a file is told, not thrown
      this.#lastChange = this.#lastChange.then(() =>
        changed === path ? this.#reload(path) : this.#readShadow(shadowPath)
      )
    })
  }

  get document(): PolicyDocument {
    return this.#document
  }

  get problem(): MeshError | undefined {
    return this.#problem
  }

  decide(request: PolicyRequest): Decision {
    const verdict = this.#verdictOf(request)
    const decision = this.#answer(verdict, request)
    if (this.#audit === undefined) return decision
    const shadow = this.#shadowAnswer(verdict, request, decision)
    if (verdict.last !== decision || verdict.lastShadow !== shadow) {
      verdict.last = decision
      verdict.lastShadow = shadow
      verdict.row = auditRow(request, decision, shadow)
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
    this.#watching?.stop()
    await this.#lastChange
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
      const path = this.#path
      const { document } =
        path === undefined ? { document: this.#document } : mustBeThere(await readDocument(path), path)
      const rules = edit(document.rules)
      if (rules.length > MAX_RULES) throw new MeshError('INVALID_ARGUMENT', `a policy has at most ${MAX_RULES} rules`)
      const changed: PolicyDocument = { v: 1, rules }
      this.#apply(changed, path === undefined ? undefined : await writeDocument(path, changed))
    })
    this.#lastChange = change.catch(() => {})
    await change
  }

  #apply(document: PolicyDocument, text: string | undefined): void {
    const wasBroken = this.#problem !== undefined
    this.#problem = undefined
    this.#text = text
    this.#document = document
    this.#rules = createRuleSet(document.rules)
    this.#verdicts = new WeakMap()
    if (wasBroken) this.#onReload(undefined)
  }

  async #reload(path: string): Promise<void> {
    try {
      const { document, text } = mustBeThere(await readDocument(path), path)
      const isMended = this.#problem !== undefined
      if (text === this.#text && !isMended) return
      this.#apply(document, text)
      if (!isMended) this.#onReload(undefined)
    } catch (err) {
      const problem = MeshError.from(err)
      if (problem.message === this.#problem?.message) return
      this.#problem = problem
      this.#onReload(problem)
    }
  }

  async #readShadow(path: string): Promise<void> {
    // A broken one is as none: it decides nothing, and `policy check` says what is wrong with it
    const loaded = await readDocument(path).catch(() => undefined)
    this.#shadow = loaded && createRuleSet(loaded.document.rules)
    this.#verdicts = new WeakMap()
  }

  #shadowAnswer({ shadow }: Verdict, { facts = NO_FACTS }: PolicyRequest, decision: Decision): Decision | undefined {
    if (shadow === undefined) return undefined
    const answer = typeof shadow === 'function' ? shadow(facts, this.#clock()) : shadow
    return answer.effect === decision.effect ? undefined : answer
  }

  #answer({ question }: Verdict, { facts = NO_FACTS }: PolicyRequest): Decision {
    return typeof question === 'function' ? question(facts, this.#clock()) : question
  }

  #verdictOf({ caller, action, resource }: PolicyRequest): Verdict {
    const known = this.#verdicts.get(caller)?.byAction.get(action)?.get(resource)
    if (known !== undefined) return known
    const asked = { caller, action, resource }
    const verdict: Verdict = {
      question: this.#rules.ask(asked),
      shadow: this.#shadow?.ask(asked),
      last: undefined,
      lastShadow: undefined,
      row: ''
    }
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

function auditRow({ caller, action, resource }: PolicyRequest, decision: Decision, shadow?: Decision): string {
  const cut = (text: string) => text.slice(0, MAX_SHOWN_LENGTH)
  return JSON.stringify({
    peer: cut(caller.peer),
    action: cut(action),
    resource: cut(resource),
    effect: decision.effect,
    rules: decision.rules,
    ...(shadow && {
      shadow: {
        effect: shadow.effect,
        rules: shadow.rules
      }
    })
  })
}

/** `policy.shadow.json` beside `policy.json`. */
function shadowPathOf(path: string): string {
  const { dir, name, ext } = parse(path)
  return join(dir, `${name}.shadow${ext}`)
}
