import type { Caller } from '../auth/index.ts'
import { MeshError } from '../errors.ts'
import { MAX_CACHED_VERDICTS, MAX_RULES, MAX_SHOWN_LENGTH } from './constants.ts'
import { createDocument, INITIAL_DOCUMENT, parseRules, readDocument, writeDocument } from './document.ts'
import type { AuditLog, Decision, Explanation, Policy, PolicyInit, PolicyRequest } from './index.ts'
import type { PolicyDocument, Rule } from './messages.ts'
import { compileRules, type Judge } from './rules.ts'

/** A decision with the audit row that it leaves each time. */
interface Verdict {
  readonly decision: Decision
  readonly row: string
}

interface CallerVerdicts {
  size: number
  readonly byAction: Map<string, Map<string, Verdict>>
}

/**
 * Loads the owner's rules.
 *
 * @throws {MeshError} INVALID_CONFIG saying what is wrong with the file and where, IO when it can't be read or made
 */
export async function openPolicy(init: PolicyInit): Promise<Policy> {
  const { path, audit } = init
  if (path === undefined) return new RulePolicy(INITIAL_DOCUMENT, undefined, audit)
  return new RulePolicy((await readDocument(path)) ?? (await createDocument(path)), path, audit)
}

class RulePolicy implements Policy {
  readonly #path: string | undefined
  readonly #audit: AuditLog | undefined
  #document: PolicyDocument
  #judge: Judge
  #verdicts = new WeakMap<Caller, CallerVerdicts>()
  #lastChange: Promise<void> = Promise.resolve()

  constructor(document: PolicyDocument, path: string | undefined, audit: AuditLog | undefined) {
    this.#document = document
    this.#judge = compileRules(document.rules)
    this.#path = path
    this.#audit = audit
  }

  get document(): PolicyDocument {
    return this.#document
  }

  decide({ caller, action, resource }: PolicyRequest): Decision {
    const verdict =
      this.#verdicts.get(caller)?.byAction.get(action)?.get(resource) ?? this.#judgeAnew(caller, action, resource)
    this.#audit?.append(verdict.row)
    return verdict.decision
  }

  readonly problem = undefined

  judge({ caller, action, resource }: PolicyRequest): Decision {
    return this.#judge(caller, action, resource)
  }

  reserve(): undefined {
    return undefined
  }

  explain(request: PolicyRequest): Explanation {
    return { decision: this.judge(request), trace: [] }
  }

  async stop(): Promise<void> {}

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
      this.#document = document
      this.#judge = compileRules(rules)
      this.#verdicts = new WeakMap()
    })
    this.#lastChange = change.catch(() => {})
    await change
  }

  #judgeAnew(caller: Caller, action: string, resource: string): Verdict {
    const decision = this.#judge(caller, action, resource)
    const verdict = { decision, row: auditRow(caller, action, resource, decision) }
    if (action.length <= MAX_SHOWN_LENGTH && resource.length <= MAX_SHOWN_LENGTH) {
      this.#remember(caller, action, resource, verdict)
    }
    return verdict
  }

  #remember(caller: Caller, action: string, resource: string, verdict: Verdict): void {
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

function auditRow(caller: Caller, action: string, resource: string, { effect, rules }: Decision): string {
  const cut = (text: string) => text.slice(0, MAX_SHOWN_LENGTH)
  return JSON.stringify({ peer: cut(caller.peer), action: cut(action), resource: cut(resource), effect, rules })
}
