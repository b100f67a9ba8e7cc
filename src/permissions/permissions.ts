import { MeshError } from '../errors.ts'
import type { Grant, GrantUse } from '../grants/index.ts'
import type { Decision, Policy } from '../policy/index.ts'
import type { Capability } from '../registry/messages.ts'
import { canonicalJson, digest } from '../wire/index.ts'
import { createHooks, type Hooks } from './approver.ts'
import { Asking } from './asking.ts'
import { Book, type Ending } from './book.ts'
import { type Changes, createChanges } from './changes.ts'
import { DEFAULT_TTL_MS, MAX_REASON_LENGTH, MAX_SHOWN_INPUT_BYTES } from './constants.ts'
import { createDefinitions, type Definitions } from './definitions.ts'
import { type Ahead, createEndpoint, statusOf } from './endpoint.ts'
import { checkAnswer, checkOpen, denyRule, newId, termsOf } from './granting.ts'
import type {
  Answer,
  ApproverAnswer,
  PermissionRequest,
  PermissionStatus,
  Permissions,
  PermissionsInit,
  Question
} from './index.ts'
import type { StatusAnswer } from './messages.ts'
import type { Answered, NewRequest } from './rows.ts'
import { createSessions, type Sessions } from './sessions.ts'

export async function createPermissions(init: PermissionsInit): Promise<Permissions> {
  return new OwnerPermissions(init)
}

type By = NonNullable<PermissionRequest['answeredBy']>

class OwnerPermissions implements Permissions {
  readonly #init: PermissionsInit
  readonly #clock: () => number
  readonly #book: Book
  readonly #changes: Changes = createChanges()
  readonly #hooks: Hooks
  readonly #asking: Asking
  readonly #sessions: Sessions
  readonly #definitions: Definitions
  #offRevoke: () => void = () => {}

  constructor(init: PermissionsInit) {
    const { store, clock = Date.now, log = () => {} } = init
    this.#init = init
    this.#clock = clock
    this.#book = new Book({ store, clock, onExpired: ({ id }) => this.#announce(id) })
    this.#sessions = createSessions(init.on)
    this.#definitions = createDefinitions(init)
    this.#asking = new Asking({ ...init, clock })
    this.#hooks = createHooks({
      approver: init.approver,
      command: init.approverCommand,
      get: (id) => this.get(id),
      onAnswer: (id, answer, by) => this.#byHook(id, answer, by),
      log
    })
  }

  async start(): Promise<void> {
    const { rpc, policy, grants, capabilityOf, tagsOf, log = () => {} } = this.#init
    this.#offRevoke = grants.onRevoke((grant) => this.#asking.tellRevoked(grant))
    for (const answered of this.#book.unfinished()) {
      await this.#takeUp(answered).catch((err: unknown) => {
        // The node is worth more than one answer, which the next start tries again
        log(`permission request ${answered.request.id} got no grant: ${MeshError.from(err).message}`)
      })
    }
    const endpoint = createEndpoint({
      policy,
      grants,
      capabilityOf,
      tagsOf,
      asking: this.#asking,
      changes: this.#changes,
      get: (id) => this.get(id),
      ask: (decision, ahead) => this.#askAhead(decision, ahead),
      allowed: () => ({ id: newId(), state: 'allowed', deadline: new Date(this.#clock()).toISOString() })
    })
    await rpc.handle(endpoint)
    this.#book.start()
    for (const { id } of this.#book.open) this.#hooks.ask(id)
  }

  async stop(): Promise<void> {
    this.#offRevoke()
    this.#hooks.stop()
    this.#asking.stop()
    this.#sessions.stop()
    this.#book.stop()
  }

  get pending(): number {
    return this.#book.size
  }

  async permit(decision: Decision, question: Question): Promise<GrantUse> {
    if (decision.effect === 'deny' && decision.rules.length > 0) throw new MeshError('FORBIDDEN', decision.reason)
    const json = once(() => canonicalJson(question.input))
    const inputDigest = once(() => digest(question.input))
    const use = await this.#use(question, inputDigest)
    if (use !== undefined) return use
    if (decision.effect !== 'ask') throw denied(decision, question, this.#init.policy)
    const open = await this.#ask(decision, question, { ...shownInput(json()), digest: inputDigest() })
    const deadline = new Date(open.deadline).toISOString()
    throw new MeshError('PERMISSION_PENDING', `the owner is asked whether ${question.caller.peer} may do this`, {
      data: { id: open.id, deadline },
      hint: 'wait for the answer, and call again with the same input'
    })
  }

  list(filter: { state?: PermissionRequest['state']; peer?: string } = {}): readonly PermissionRequest[] {
    return this.#book.list(filter)
  }

  get(id: string): PermissionRequest | undefined {
    return this.#book.get(id)
  }

  watch({ signal }: { signal: AbortSignal }): AsyncIterable<PermissionRequest> {
    const pending = [...this.#book.open].map(({ id }) => id)
    const ids = this.#changes.watch(pending, signal)
    const get = (id: string) => this.get(id)
    return (async function* () {
      const told = new Map<string, number>()
      for await (const id of ids) {
        const request = get(id)
        if (request === undefined) continue
        const { state, times } = request
        // One that was being asked at the beginning is among those that wait, and is then told of
        if (state === 'pending' && told.get(id) === times) continue
        if (state === 'pending') told.set(id, times)
        else told.delete(id)
        yield request
      }
    })()
  }

  allow(id: string, answer: Answer): Promise<PermissionRequest> {
    return this.#allow(id, answer, 'owner')
  }

  deny(id: string, options: { forever?: boolean; reason?: string } = {}): Promise<PermissionRequest> {
    return this.#deny(id, options, 'owner')
  }

  async dropPeer(peer: string): Promise<void> {
    const open = [...this.#book.open].filter((each) => each.peer === peer)
    const ending = { state: 'denied', by: 'block', reason: 'the owner has blocked this peer' } as const
    const drop = async ({ id }: { id: string }): Promise<void> => {
      if (await this.#book.settle(id, ending)) this.#announce(id)
    }
    await Promise.all(open.map(drop))
  }

  request(...asked: Parameters<Permissions['request']>): Promise<PermissionStatus> {
    return this.#asking.request(...asked)
  }

  status(...asked: Parameters<Permissions['status']>): Promise<PermissionStatus> {
    return this.#asking.status(...asked)
  }

  present(...asked: Parameters<Permissions['present']>): Promise<void> | undefined {
    return this.#asking.present(...asked)
  }

  expect(peer: string, err: unknown): void {
    this.#asking.expect(peer, err)
  }

  /** A grant that fits, with its use taken. Another call may be faster with the last use; there may be another grant. */
  async #use(question: Question, input: () => string): Promise<GrantUse | undefined> {
    const { caller, session, action, resource, capability } = question
    const asked = { caller, session, action, resource, input, ...(capability && { digest: capability.digest }) }
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const use = this.#init.grants.find(asked)
      if (use === undefined || (await use.take())) return use
    }
    return undefined
  }

  async #ask(decision: Decision, question: Omit<Question, 'input'>, more: Partial<NewRequest>['input'] | Wanted) {
    const asked = this.#newRequest(decision, question, more)
    const { open, isNew } = await this.#book.ask(asked)
    this.#sessions.set(open.id, open.peer, question.session)
    if (isNew) {
      const { peer, action, resource } = asked
      const deadline = new Date(open.deadline).toISOString()
      this.#init.emit('permission:asked', { id: open.id, peer, action, resource, deadline })
      this.#changes.tell(open.id)
      this.#hooks.ask(open.id)
    }
    return open
  }

  #newRequest(
    { rules, ask }: Decision,
    { caller, action, resource, capability }: Omit<Question, 'input'>,
    more: Partial<NewRequest>['input'] | Wanted
  ): NewRequest {
    const { peer, alias, trust } = caller
    const isAhead = more !== undefined && 'wanted' in more
    const inputDigest = isAhead ? null : (more?.digest ?? null)
    const changed = capability && this.#definitions.changed(peer, resource, capability)
    return {
      subject: digest([peer, action, resource, inputDigest, capability?.digest ?? null]),
      ttlMs: ask?.ttlMs ?? DEFAULT_TTL_MS,
      peer,
      trust,
      action,
      resource,
      rules,
      ...(alias === undefined ? {} : { alias }),
      ...(capability === undefined ? {} : { digest: capability.digest }),
      ...(changed === undefined ? {} : { changed }),
      ...(isAhead ? more : more === undefined ? {} : { input: more }),
      remember: ask?.remember ?? ['once', 'session', 'duration', 'always']
    }
  }

  async #askAhead(decision: Decision, { wanted, ...question }: Ahead): Promise<StatusAnswer> {
    const { id, deadline } = await this.#ask(decision, question, { wanted })
    return { id, state: 'pending', deadline: new Date(deadline).toISOString() }
  }

  async #allow(id: string, answer: Answer, by: By): Promise<PermissionRequest> {
    const request = this.#openRequest(id)
    checkAnswer(request, answer)
    const session = answer.remember === 'session' ? this.#sessions.get(id) : undefined
    if (answer.remember === 'session' && session === undefined) {
      throw new MeshError('INVALID_ARGUMENT', 'the connection that asked is gone', {
        hint: `allow it for a time: pryx-mesh approvals allow ${id} --for 1h`
      })
    }
    // First the answer, then what it grants: a crash in between grants once, at the next start
    await this.#settle(id, { state: 'allowed', by, answer })
    let grant: Grant
    try {
      grant = await this.#init.grants.issue({ ...termsOf(request, answer, this.#clock()), ...(session && { session }) })
    } catch (err) {
      await this.#book.reopen(id).catch(() => {}) // the failure to report is the first one
      if (this.#init.trust.of(request.peer).level === 'blocked') await this.dropPeer(request.peer)
      throw err
    }
    await this.#finish(request, grant)
    return this.#announce(id) ?? request
  }

  async #deny(
    id: string,
    { forever = false, reason = 'the owner has denied it' }: { forever?: boolean; reason?: string },
    by: By
  ): Promise<PermissionRequest> {
    const request = this.#openRequest(id)
    // The rule first: what is denied for ever must not be asked again because of a crash
    if (forever) await this.#init.policy.put([denyRule(request)])
    await this.#settle(id, { state: 'denied', by, reason: reason.slice(0, MAX_REASON_LENGTH) })
    return this.#announce(id) ?? request
  }

  /** A late answer after the owner's is none. */
  async #byHook(id: string, answer: ApproverAnswer, by: 'approver' | 'command'): Promise<void> {
    if (this.get(id)?.state !== 'pending') return
    if ('allow' in answer) await this.#allow(id, answer.allow, by)
    else await this.#deny(id, answer.deny, by)
  }

  /** @throws {MeshError} NOT_FOUND, INVALID_ARGUMENT */
  #openRequest(id: string): PermissionRequest {
    const request = this.get(id)
    if (request === undefined) {
      throw new MeshError('NOT_FOUND', `there is no permission request ${id}`, { hint: 'pryx-mesh approvals list' })
    }
    checkOpen(request)
    return request
  }

  /** @throws {MeshError} INVALID_ARGUMENT when another was faster */
  async #settle(id: string, ending: Ending): Promise<void> {
    if (await this.#book.settle(id, ending)) return
    this.#openRequest(id)
    throw new MeshError('INVALID_ARGUMENT', `request ${id} is being answered already`)
  }

  async #finish(request: PermissionRequest, grant: Grant): Promise<void> {
    await this.#book.setGrant(request.id, grant.id, this.#definitions.remember(request, this.#clock()))
  }

  /** Allowed, and then the process ended: its grant may be there already. */
  async #takeUp({ request, answer }: Answered): Promise<void> {
    const { id } = request
    if (answer.remember === 'session') return this.#book.cancel(id, 'the connection that it was allowed for is gone')
    const answeredAt = Date.parse(request.answeredAt ?? request.askedAt)
    const terms = termsOf(request, answer, answeredAt)
    const made = this.#init.grants
      .list()
      .find((grant) => isMadeFor(grant, terms, answeredAt) && !this.#book.isGrantTaken(grant.id))
    if (made === undefined && terms.expiresAt !== undefined && terms.expiresAt <= this.#clock())
      return this.#book.cancel(id, 'the time that it was allowed for is over')
    await this.#finish(request, made ?? (await this.#init.grants.issue(terms)))
    this.#announce(id)
  }

  /** Tells everybody who waits for it. */
  #announce(id: string): PermissionRequest | undefined {
    this.#sessions.drop(id)
    const request = this.get(id)
    if (request === undefined || request.state === 'pending') return request
    const { peer, state, answeredBy = 'owner' } = request
    this.#init.emit('permission:answered', { id, peer, state, by: answeredBy })
    this.#changes.tell(id)
    this.#asking.tell(peer, statusOf(request, this.#init.grants))
    return request
  }
}

/** Grants that one call may find used up by others in the same moment. */
const MAX_ATTEMPTS = 8

type Wanted = Pick<Ahead, 'wanted'>

/** Grants keep whole seconds. */
const ISSUED_SLACK_MS = 1_000

function isMadeFor(grant: Grant, terms: ReturnType<typeof termsOf>, answeredAt: number): boolean {
  return (
    grant.role === 'issued' &&
    grant.holder === terms.holder &&
    grant.act === terms.act &&
    grant.res === terms.res &&
    grant.input === terms.input &&
    grant.digest === terms.digest &&
    grant.issuedAt >= answeredAt - ISSUED_SLACK_MS
  )
}

/** The beginning of a long input; a character is never cut in two. */
function shownInput(json: string): { json: string; bytes: number; isCut: boolean } {
  const bytes = Buffer.byteLength(json)
  if (bytes <= MAX_SHOWN_INPUT_BYTES) return { json, bytes, isCut: false }
  const cut = new TextDecoder().decode(Buffer.from(json).subarray(0, MAX_SHOWN_INPUT_BYTES), { stream: true })
  return { json: cut, bytes, isCut: true }
}

/** What to ask for is said to who may ask. */
function denied({ reason }: Decision, question: Question, policy: Pick<Policy, 'judge'>): MeshError {
  const { caller, resource, agent, capability } = question
  const may = policy.judge({ caller, action: 'permission.request', resource }).effect === 'allow'
  const hint = `pryx-mesh permission request @${agent} ${nameOf(capability, resource)} --for 1h`
  return new MeshError('FORBIDDEN', reason, may ? { hint } : {})
}

function nameOf(capability: Capability | undefined, resource: string): string {
  return capability?.name ?? resource.slice(resource.indexOf('/') + 1)
}

function once<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined
  return () => (made ??= { value: make() }).value
}
